# Written by pgbake export terraform from the specification of "lone"; it writes it anew. README.md says how to go on.

terraform {
  required_version = ">= 1.5.0"
  required_providers {
    libvirt = {
      source = "dmacvicar/libvirt"
      # 0.9 has other words for everything.
      version = "~> 0.8.3"
    }
  }
}

provider "libvirt" {
  uri = var.uri
}

locals {
  machines = {
    "n1" = { role = "db", address = "10.0.0.1", mac = null, image = "pgbake-trixie-db-amd64" }
  }
  databases = { for name, m in local.machines : name => m if m.role == "db" }
}

# An image is uploaded once. Each machine has a disk of its own over it.
resource "libvirt_volume" "image" {
  for_each = toset([for m in local.machines : m.image])

  name   = "${each.key}.qcow2"
  pool   = var.pool
  source = "${path.module}/${var.dist}/images/${each.key}/${each.key}.qcow2"
  format = "qcow2"
}

resource "libvirt_volume" "root" {
  for_each = local.machines

  name           = "${each.key}-root.qcow2"
  pool           = var.pool
  base_volume_id = libvirt_volume.image[each.value.image].id
  size           = var.root_size * pow(1024, 3)
  format         = "qcow2"
}

resource "libvirt_volume" "data" {
  for_each = local.databases

  name   = "${each.key}-data.qcow2"
  pool   = var.pool
  size   = var.data_size * pow(1024, 3)
  format = "qcow2"

  lifecycle {
    # A database is on it.
    prevent_destroy = true
  }
}

# A seed holds its machine's secrets. Only its path is in the state; the pool's directory is for root alone.
resource "libvirt_volume" "seed" {
  for_each = local.machines

  name   = "${each.key}-seed.iso"
  pool   = var.pool
  source = "${path.module}/${var.dist}/seeds/${each.key}.iso"
  format = "raw"
}

resource "libvirt_domain" "machine" {
  for_each = local.machines

  name      = each.key
  memory    = var.memory[each.value.role]
  vcpu      = var.cpus[each.value.role]
  autostart = true

  cpu {
    mode = "host-passthrough"
  }

  disk {
    volume_id = libvirt_volume.root[each.key].id
  }

  # A disk, not a CD: Debian's cloud kernel has no driver for AHCI.
  disk {
    volume_id = libvirt_volume.seed[each.key].id
  }

  # /dev/vdc
  dynamic "disk" {
    for_each = each.value.role == "db" ? [libvirt_volume.data[each.key].id] : []
    content {
      volume_id = disk.value
    }
  }

  # The address is the seed's.
  network_interface {
    bridge = var.bridge
    mac    = each.value.mac
  }

  console {
    type        = "pty"
    target_type = "serial"
    target_port = "0"
  }
}
