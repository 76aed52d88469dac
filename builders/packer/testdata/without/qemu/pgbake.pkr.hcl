# Written by pgbake packer from my site/cluster.yaml; it writes it anew. What is yours belongs into a file beside it that
# ends in .auto.pkrvars.hcl, one line for each variable below that you want otherwise.
#
# It needs no plugin of pgbake's: what Packer uploads and runs lies in files/ beside it.
#
#   packer init '/srv/it'\''s ${out}/packer/qemu'
#   packer build '/srv/it'\''s ${out}/packer/qemu'
#   packer build -only='all.*' '/srv/it'\''s ${out}/packer/qemu'
#
# Start Packer where you start pgbake: paths count from there. The images (all) have no password and no secret; each
# machine that boots from one becomes what its seed says (pgbake seed).
# It needs QEMU and xorriso. The machine that builds is reached by build.key and build-seed, which are made with this file,
# and which the image knows nothing of in the end.

variable "base" {
  type        = string
  description = "A disk of Debian 12 with cloud-init and sshd, such as Debian's cloud image: a path or an address."
  default     = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
}

variable "base_checksum" {
  type        = string
  description = "sha256:…, or file: and the address of a list of sums."
  default     = "file:https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS"
}

variable "accelerator" {
  type        = string
  description = "kvm, or tcg where there is none, or one that does not work: nested in some clouds /dev/kvm is there, and a machine stops before its kernel."
  default     = "kvm"
}

variable "disk_size" {
  type        = string
  description = "The size of the image's disk. Machines may have larger ones: the root grows."
  default     = "4G"
}

variable "ssh_timeout" {
  type        = string
  description = "How long its start may take; what it says meanwhile is in ROLE-console.log beside this file."
  default     = "10m"
}

source "qemu" "debian" {
  iso_url      = var.base
  iso_checksum = var.base_checksum
  disk_image   = true
  disk_size    = var.disk_size
  format       = "qcow2"

  # On q35 the CD hangs on AHCI, which Debian's cloud kernel has no driver for.
  machine_type = "pc"
  accelerator  = var.accelerator
  cpus         = 2
  memory       = 1024
  headless     = true
  boot_wait    = "1s" # nothing is typed
  # A build that was cut short is begun anew: its disk need not survive the host.
  disk_cache = "unsafe"

  cd_files = ["${path.root}/build-seed/meta-data", "${path.root}/build-seed/user-data"]
  cd_label = "cidata"

  ssh_username         = "debian"
  ssh_private_key_file = "${path.root}/build.key"
  ssh_timeout          = var.ssh_timeout
  # Nobody's key stays in the image: cloud-init gives it to root, too.
  shutdown_command = "sudo sh -c 'rm -rf /home/debian/.ssh /root/.ssh && systemctl poweroff'"
}

build {
  name = "all"

  source "qemu.debian" {
    vm_name          = "pgbake-bookworm-all-amd64.qcow2"
    output_directory = "/srv/it's $${out}/packer/qemu/all"
    qemuargs = [
      ["-cpu", "max"],
      ["-serial", "file:${path.root}/all-console.log"],
    ]
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
    output     = "/srv/it's $${out}/packer/qemu/manifest.json"
    strip_path = true
  }
}
