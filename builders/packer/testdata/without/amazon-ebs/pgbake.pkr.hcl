# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/amazon-ebs'
#   packer build '/srv/it'\''s ${out}/packer/amazon-ebs'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/amazon-ebs'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# Who you are at AWS comes from where its own tools look: AWS_PROFILE, the environment, the instance's role.
# The machines take their seed as user data.

variable "region" {
  type        = string
  description = "Where the image is built and kept, such as eu-central-1."
}

variable "instance_type" {
  type    = string
  default = "t3.medium"
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
      name                = "debian-12-amd64-*"
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
  name = "all"

  source "amazon-ebs.debian" {
    ami_name        = "pgbake-bookworm-all-amd64-${local.stamp}"
    ami_description = "pgbake: all machines on Debian 12"
    tags = {
      Name    = "pgbake-bookworm-all-amd64"
      Cluster = "postgres-cluster"
      Role    = "all"
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
    output     = "/srv/it's $${out}/packer/amazon-ebs/manifest.json"
    strip_path = true
  }
}
