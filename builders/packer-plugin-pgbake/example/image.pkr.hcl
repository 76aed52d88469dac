# Bakes an image for each role of cluster.yaml by pgbake's own builder: no machine boots, no hypervisor is needed.
#
#   pgbake init && pgbake package
#   packer plugins install --path packer-plugin-pgbake github.com/pgbake/pgbake
#   packer build -only='*.db' image.pkr.hcl

variable "specification" {
  type    = string
  default = "cluster.yaml"
}

variable "formats" {
  type    = list(string)
  default = ["qcow2"]
}

variable "offline" {
  type    = bool
  default = false
}

source "pgbake-image" "role" {
  specification    = var.specification
  formats          = var.formats
  offline          = var.offline
  output_directory = "dist/images"
}

build {
  source "pgbake-image.role" {
    name = "db"
    role = "db"
  }

  source "pgbake-image.role" {
    name = "proxy"
    role = "proxy"
  }

  post-processor "manifest" {
    output = "dist/packer-manifest.json"
    custom_data = {
      image = build.ImageName
      key   = build.ImageKey
    }
  }
}
