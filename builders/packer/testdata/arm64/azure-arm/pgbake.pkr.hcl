# Written by pgbake packer from cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   pgbake package                # the packages that go into the image, in dist
#   packer init dist/packer/azure-arm
#   packer build dist/packer/azure-arm
#   packer build -only='db.*' dist/packer/azure-arm
#
# Start Packer where you start pgbake: paths count from there. The images (db) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at Azure comes from its own tool: az login. The machines take their seed as custom data.

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

variable "subscription_id" {
  type        = string
  description = "az account show --query id"
}

variable "resource_group" {
  type        = string
  description = "The resource group that keeps the image; it must be there."
}

variable "location" {
  type        = string
  description = "Where the image is built and kept, such as westeurope."
}

variable "vm_size" {
  type    = string
  default = "Standard_B2pls_v2"
}

locals {
  # Clouds keep every image: the moment of the build tells them apart.
  stamp = formatdate("YYYYMMDDhhmmss", timestamp())
}

source "azure-arm" "debian" {
  use_azure_cli_auth = true
  subscription_id    = var.subscription_id
  location           = var.location
  vm_size            = var.vm_size

  os_type         = "Linux"
  image_publisher = "Debian"
  image_offer     = "debian-13"
  image_sku       = "13-arm64"

  managed_image_resource_group_name = var.resource_group

  ssh_username              = "packer"
  ssh_clear_authorized_keys = true
}

build {
  name = "db"

  source "azure-arm.debian" {
    managed_image_name = "pgbake-trixie-db-arm64-${local.stamp}"
    azure_tags = {
      cluster = "shop"
      role    = "db"
    }
  }

  # Installs the role's packages, lays down what pgbake's own images have, and leaves nothing of this one machine.
  provisioner "pgbake" {
    specification = var.specification
    role          = "db"
    arch          = "arm64"
    packages      = var.packages
  }

  # Azure's agent takes the user away that Packer came as. It must be the last.
  provisioner "shell" {
    inline = ["if command -v waagent >/dev/null; then sudo waagent -force -deprovision+user; fi", "sync"]
  }

  post-processor "manifest" {
    output     = "dist/packer/azure-arm/manifest.json"
    strip_path = true
  }
}
