# Written by pgbake packer from cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   pgbake package                # the packages that go into the image, in dist
#   packer init dist/packer/vsphere-clone
#   packer build dist/packer/vsphere-clone
#   packer build -only='db.*' dist/packer/vsphere-clone
#
# Start Packer where you start pgbake: paths count from there. The images (db, proxy) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# It clones a template of Debian that lets the key below in, as a user who may sudo. The machines take their seed as a
# second disk, see BOOT.txt of pgbake image.

variable "specification" {
  type        = string
  description = "The cluster's specification."
  default     = "cluster.yaml"
}

variable "packages" {
  type        = string
  description = "Where pgbake package has put the .debs."
  default     = "dist"
}

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
  description = "The template of Debian 13 to begin with."
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
  name = "db"

  source "vsphere-clone.debian" {
    vm_name = "pgbake-trixie-db-amd64"
    notes   = "pgbake: db machines on Debian 13"
  }

  # Installs the role's packages, lays down what pgbake's own images have, and leaves nothing of this one machine.
  provisioner "pgbake" {
    specification = var.specification
    role          = "db"
    arch          = "amd64"
    packages      = var.packages
  }

  post-processor "manifest" {
    output     = "dist/packer/vsphere-clone/manifest.json"
    strip_path = true
  }
}

build {
  name = "proxy"

  source "vsphere-clone.debian" {
    vm_name = "pgbake-trixie-proxy-amd64"
    notes   = "pgbake: proxy machines on Debian 13"
  }

  # Installs the role's packages, lays down what pgbake's own images have, and leaves nothing of this one machine.
  provisioner "pgbake" {
    specification = var.specification
    role          = "proxy"
    arch          = "amd64"
    packages      = var.packages
  }

  post-processor "manifest" {
    output     = "dist/packer/vsphere-clone/manifest.json"
    strip_path = true
  }
}
