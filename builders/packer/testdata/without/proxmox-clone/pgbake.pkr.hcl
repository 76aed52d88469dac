# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/proxmox-clone'
#   packer build '/srv/it'\''s ${out}/packer/proxmox-clone'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/proxmox-clone'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# It clones a template that was made of Debian's cloud image, with a cloud-init drive (qm importdisk, qm template).
# The machines take their seed as a disk: what the ISO of pgbake seed holds, see BOOT.txt of pgbake image.

variable "proxmox_url" {
  type        = string
  description = "https://HOST:8006/api2/json"
}

variable "proxmox_username" {
  type        = string
  description = "An API token's name: USER@REALM!TOKEN."
}

variable "proxmox_token" {
  type        = string
  description = "The token itself. Better than in a file: PKR_VAR_proxmox_token in the environment."
  sensitive   = true
}

variable "node" {
  type        = string
  description = "The host that builds."
}

variable "clone_vm" {
  type        = string
  description = "The template of Debian 12 to begin with, by name."
}

variable "bridge" {
  type    = string
  default = "vmbr0"
}

variable "address" {
  type        = string
  description = "The address of the machine while it is built, with its network's length, such as 192.0.2.9/24: nobody else's."
}

variable "gateway" {
  type        = string
  description = "The way from there to the archives of packages."
}

variable "name_server" {
  type        = string
  description = "Who knows their names."
}

source "proxmox-clone" "debian" {
  proxmox_url = var.proxmox_url
  username    = var.proxmox_username
  token       = var.proxmox_token
  node        = var.node

  clone_vm   = var.clone_vm
  full_clone = true
  os         = "l26"
  cores      = 2
  memory     = 2048

  scsi_controller = "virtio-scsi-single"
  network_adapters {
    model  = "virtio"
    bridge = var.bridge
  }

  ipconfig {
    ip      = var.address
    gateway = var.gateway
  }
  nameserver = var.name_server

  ssh_host                  = split("/", var.address)[0]
  ssh_username              = "debian"
  ssh_clear_authorized_keys = true
}

build {
  name = "all"

  source "proxmox-clone.debian" {
    template_name        = "pgbake-bookworm-all-amd64"
    template_description = "pgbake: all machines on Debian 12"
    tags                 = "pgbake;all"
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
    output     = "/srv/it's $${out}/packer/proxmox-clone/manifest.json"
    strip_path = true
  }
}
