# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/vsphere-clone'
#   packer build '/srv/it'\''s ${out}/packer/vsphere-clone'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/vsphere-clone'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# It clones a template of Debian that lets the key below in, as a user who may sudo. The machines take their seed as a
# second disk, see BOOT.txt of pgbake image.

variable "vcenter_server" {
  type        = string
  description = "The vCenter's name."
}

variable "vcenter_username" {
  type = string
}

variable "vcenter_password" {
  type        = string
  description = "Better than in a file: PKR_VAR_vcenter_password in the environment."
  sensitive   = true
}

variable "datacenter" {
  type = string
}

variable "cluster" {
  type        = string
  description = "The cluster of hosts that builds."
}

variable "datastore" {
  type = string
}

variable "network" {
  type        = string
  description = "One with DHCP and a way to the archives of packages."
}

variable "template" {
  type        = string
  description = "The template of Debian 12 to begin with."
}

variable "ssh_username" {
  type    = string
  default = "debian"
}

variable "ssh_private_key_file" {
  type        = string
  description = "The key that the template lets in; the image keeps the template's authorized_keys."
}

source "vsphere-clone" "debian" {
  vcenter_server = var.vcenter_server
  username       = var.vcenter_username
  password       = var.vcenter_password
  datacenter     = var.datacenter
  cluster        = var.cluster
  datastore      = var.datastore
  network        = var.network

  template            = var.template
  CPUs                = 2
  RAM                 = 2048
  convert_to_template = true

  ssh_username         = var.ssh_username
  ssh_private_key_file = var.ssh_private_key_file
  shutdown_command     = "sudo systemctl poweroff"
}

build {
  name = "all"

  source "vsphere-clone.debian" {
    vm_name = "pgbake-bookworm-all-amd64"
    notes   = "pgbake: all machines on Debian 12"
  }

  provisioner "shell" {
    # It is an error when somebody else has made it.
    inline = ["mkdir -m 0700 /tmp/pgbake"]
  }

  provisioner "file" {
    source      = "${path.root}/files/all/"
    destination = "/tmp/pgbake"
  }

  # Installs the role's packages, lays down what pgbake's own images have, and leaves nothing of this one machine.
  provisioner "shell" {
    inline = [
      "if [ \"$(id -u)\" = 0 ]; then sh /tmp/pgbake/pgbake-provision.sh; else sudo -n sh /tmp/pgbake/pgbake-provision.sh; fi",
      "rm -rf /tmp/pgbake",
    ]
  }

  post-processor "manifest" {
    output     = "/srv/it's $${out}/packer/vsphere-clone/manifest.json"
    strip_path = true
  }
}
