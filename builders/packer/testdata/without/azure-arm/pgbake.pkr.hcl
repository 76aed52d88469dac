# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/azure-arm'
#   packer build '/srv/it'\''s ${out}/packer/azure-arm'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/azure-arm'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at Azure comes from its own tool: az login. The machines take their seed as custom data.

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
  default = "Standard_B2s"
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
  image_offer     = "debian-12"
  image_sku       = "12-gen2"

  managed_image_resource_group_name = var.resource_group

  ssh_username              = "packer"
  ssh_clear_authorized_keys = true
}

build {
  name = "all"

  source "azure-arm.debian" {
    managed_image_name = "pgbake-bookworm-all-amd64-${local.stamp}"
    azure_tags = {
      cluster = "postgres-cluster"
      role    = "all"
    }
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

  # Azure's agent takes the user away that Packer came as. It must be the last.
  provisioner "shell" {
    inline = ["if command -v waagent >/dev/null; then sudo waagent -force -deprovision+user; fi", "sync"]
  }

  post-processor "manifest" {
    output     = "/srv/it's $${out}/packer/azure-arm/manifest.json"
    strip_path = true
  }
}
