# Written by pgbake packer from cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   pgbake package                # the packages that go into the image, in dist
#   packer init dist/packer/googlecompute
#   packer build dist/packer/googlecompute
#   packer build -only='db.*' dist/packer/googlecompute
#
# Start Packer where you start pgbake: paths count from there. The images (db) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at Google Cloud comes from where its own tools look: gcloud auth application-default login, or the
# machine's account. The machines take their seed as the metadata "user-data".

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

variable "project_id" {
  type        = string
  description = "The project that builds and keeps the image."
}

variable "zone" {
  type        = string
  description = "Where the machine that builds stands, such as europe-west3-a."
}

variable "machine_type" {
  type    = string
  default = "t2a-standard-1"
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

source "googlecompute" "debian" {
  project_id              = var.project_id
  zone                    = var.zone
  machine_type            = var.machine_type
  source_image_family     = "debian-13-arm64"
  source_image_project_id = ["debian-cloud"]
  disk_size               = var.disk_size

  ssh_username              = "packer"
  ssh_clear_authorized_keys = true
}

build {
  name = "db"

  source "googlecompute.debian" {
    image_name        = "pgbake-trixie-db-arm64-${local.stamp}"
    image_family      = "pgbake-trixie-db-arm64"
    image_description = "pgbake: db machines on Debian 13"
    image_labels = {
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

  post-processor "manifest" {
    output     = "dist/packer/googlecompute/manifest.json"
    strip_path = true
  }
}
