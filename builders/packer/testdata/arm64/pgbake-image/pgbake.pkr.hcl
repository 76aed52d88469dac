# Written by pgbake packer from cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   pgbake package                # the packages that go into the image, in dist
#   packer build dist/packer/pgbake-image
#   packer build -only='db.*' dist/packer/pgbake-image
#
# Start Packer where you start pgbake: paths count from there. The images (db) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).

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

variable "formats" {
  type        = list(string)
  description = "What the files are: qcow2, qcow2-zstd, raw, vmdk, ova, vhdx, tar."
  default     = ["qcow2"]
}

variable "locked" {
  type        = bool
  description = "Refuse to bake without a pgbake.lock: with one, everybody gets the same bits."
  default     = false
}

source "pgbake-image" "debian" {
  specification = var.specification
  packages      = var.packages
  arch          = "arm64"
  formats       = var.formats
  locked        = var.locked
}

build {
  name = "db"

  source "pgbake-image.debian" {
    role             = "db"
    output_directory = "dist/images"
  }

  post-processor "manifest" {
    output     = "dist/packer/pgbake-image/manifest.json"
    strip_path = true
  }
}
