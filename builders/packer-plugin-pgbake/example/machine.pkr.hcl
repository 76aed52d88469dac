# Makes the image of a role of a Debian machine that answers by ssh. In the place of "null" stands the source that boots
# and keeps yours: amazon-ebs, googlecompute, azure-arm, proxmox-iso, vsphere-iso, qemu …
#
#   pgbake init && pgbake package
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   packer build -var host=192.0.2.10 -var key=~/.ssh/id_ed25519 machine.pkr.hcl

variable "host" {
  type = string
}

variable "port" {
  type    = number
  default = 22
}

variable "key" {
  type = string
}

variable "role" {
  type    = string
  default = "db"
}

source "null" "debian" {
  ssh_host             = var.host
  ssh_port             = var.port
  ssh_username         = "debian"
  ssh_private_key_file = var.key
  ssh_timeout          = "2m"
}

build {
  sources = ["source.null.debian"]

  provisioner "pgbake" {
    specification = "cluster.yaml"
    packages      = "dist"
    role          = var.role
  }
}
