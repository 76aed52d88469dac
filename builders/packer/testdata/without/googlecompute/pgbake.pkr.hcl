# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/googlecompute'
#   packer build '/srv/it'\''s ${out}/packer/googlecompute'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/googlecompute'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at Google Cloud comes from where its own tools look: gcloud auth application-default login, or the
# machine's account. The machines take their seed as the metadata "user-data".

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
  default = "e2-medium"
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
  source_image_family     = "debian-12"
  source_image_project_id = ["debian-cloud"]
  disk_size               = var.disk_size

  ssh_username              = "packer"
  ssh_clear_authorized_keys = true
}

build {
  name = "all"

  source "googlecompute.debian" {
    image_name        = "pgbake-bookworm-all-amd64-${local.stamp}"
    image_family      = "pgbake-bookworm-all-amd64"
    image_description = "pgbake: all machines on Debian 12"
    image_labels = {
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

  post-processor "manifest" {
    output     = "/srv/it's $${out}/packer/googlecompute/manifest.json"
    strip_path = true
  }
}
