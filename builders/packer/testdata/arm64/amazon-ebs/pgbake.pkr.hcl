# Written by pgbake packer from cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   pgbake package                # the packages that go into the image, in dist
#   packer init dist/packer/amazon-ebs
#   packer build dist/packer/amazon-ebs
#   packer build -only='db.*' dist/packer/amazon-ebs
#
# Start Packer where you start pgbake: paths count from there. The images (db) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at AWS comes from where its own tools look: AWS_PROFILE, the environment, the instance's role.
# The machines take their seed as user data.

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

variable "region" {
  type        = string
  description = "Where the image is built and kept, such as eu-central-1."
}

variable "instance_type" {
  type    = string
  default = "t4g.medium"
}

variable "subnet_id" {
  type        = string
  description = "Where the machine that builds stands; the default network when empty."
  default     = ""
}

variable "disk_size" {
  type        = number
  description = "GB of the image's root disk. Machines may have larger ones: the root grows."
  default     = 10
}

locals {
  # Clouds keep every image: the moment of the build tells them apart.
  stamp = formatdate("YYYYMMDDhhmmss", timestamp())
}

source "amazon-ebs" "debian" {
  region        = var.region
  instance_type = var.instance_type
  subnet_id     = var.subnet_id

  source_ami_filter {
    filters = {
      name                = "debian-13-arm64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"] # Debian's own account
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = var.disk_size
    volume_type           = "gp3"
    delete_on_termination = true
  }

  # Seeds are user data: only programs that ask for a token first get them.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  ssh_username              = "admin"
  ssh_clear_authorized_keys = true
}

build {
  name = "db"

  source "amazon-ebs.debian" {
    ami_name        = "pgbake-trixie-db-arm64-${local.stamp}"
    ami_description = "pgbake: db machines on Debian 13"
    tags = {
      Name    = "pgbake-trixie-db-arm64"
      Cluster = "shop"
      Role    = "db"
    }
  }

  # Installs the role's packages, lays down what pgbake's own images have, and leaves nothing of this one machine.
  provisioner "pgbake" {
    specification = var.specification
    role          = "db"
    arch          = "arm64"
    packages      = var.packages
  }

  post-processor "manifest" {
    output     = "dist/packer/amazon-ebs/manifest.json"
    strip_path = true
  }
}
