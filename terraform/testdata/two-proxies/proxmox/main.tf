# Written by pgbake export terraform from the specification of "shop"; it writes it anew. README.md says how to go on.

terraform {
  required_version = ">= 1.5.0"
  required_providers {
    proxmox = {
      source  = "bpg/proxmox"
      version = "~> 0.70"
    }
  }
}

# Who you are comes from the environment: PROXMOX_VE_API_TOKEN. Disks are imported on the host, by ssh.
provider "proxmox" {
  endpoint = var.endpoint
  insecure = var.insecure

  ssh {
    agent    = true
    username = var.ssh_username
  }
}

locals {
  declared = {
    "shop-db1"    = { role = "db", address = "10.30.0.11", mac = "52:54:00:30:00:11", image = "pgbake-trixie-db-amd64" }
    "shop-db2"    = { role = "db", address = "10.30.0.12", mac = "52:54:00:30:00:12", image = "pgbake-trixie-db-amd64" }
    "shop-db3"    = { role = "db", address = "10.30.0.13", mac = "52:54:00:30:00:13", image = "pgbake-trixie-db-amd64" }
    "shop-db4"    = { role = "db", address = "10.30.0.14", mac = "52:54:00:30:00:14", image = "pgbake-trixie-db-amd64" }
    "shop-db5"    = { role = "db", address = "10.30.0.15", mac = "52:54:00:30:00:15", image = "pgbake-trixie-db-amd64" }
    "shop-proxy1" = { role = "proxy", address = "10.30.0.21", mac = null, image = "pgbake-trixie-proxy-amd64" }
    "shop-proxy2" = { role = "proxy", address = "10.30.0.22", mac = null, image = "pgbake-trixie-proxy-amd64" }
  }
  machines = { for name, m in local.declared : name => merge(m, { host = lookup(var.hosts, name, var.host) }) }
  # Each host has files of its own: an image goes to those that have a machine of it.
  uploads = { for m in local.machines : "${m.host}/${m.image}" => { host = m.host, image = m.image }... }
}

resource "proxmox_virtual_environment_file" "image" {
  for_each = local.uploads

  content_type = "iso"
  datastore_id = var.file_store
  node_name    = each.value[0].host

  source_file {
    path = "${path.module}/${var.dist}/images/${each.value[0].image}/${each.value[0].image}.qcow2"
    # Proxmox takes a disk among its ISO images under this ending.
    file_name = "${each.value[0].image}.img"
  }
}

# A seed holds its machine's secrets. Only its path is in the state; on the host it lies among the ISO images: see README.md.
resource "proxmox_virtual_environment_file" "seed" {
  for_each = local.machines

  content_type = "iso"
  datastore_id = var.file_store
  node_name    = each.value.host

  source_file {
    path      = "${path.module}/${var.dist}/seeds/${each.key}.iso"
    file_name = "${each.key}-seed.iso"
  }
}

resource "proxmox_virtual_environment_vm" "machine" {
  for_each = local.machines

  name          = each.key
  node_name     = each.value.host
  tags          = ["pgbake", each.value.role]
  on_boot       = true
  scsi_hardware = "virtio-scsi-single"
  boot_order    = ["virtio0"]

  agent {
    enabled = true
  }

  cpu {
    cores = var.cpus[each.value.role]
    type  = "x86-64-v2-AES"
  }

  memory {
    dedicated = var.memory[each.value.role]
  }

  operating_system {
    type = "l26"
  }

  serial_device {}

  disk {
    interface    = "virtio0"
    datastore_id = var.disk_store
    file_id      = proxmox_virtual_environment_file.image["${each.value.host}/${each.value.image}"].id
    size         = var.root_size
    discard      = "on"
  }

  # /dev/vdb
  dynamic "disk" {
    for_each = each.value.role == "db" ? ["virtio1"] : []
    content {
      interface    = disk.value
      datastore_id = var.disk_store
      size         = var.data_size
      file_format  = "raw"
      discard      = "on"
    }
  }

  # A disk, not the CD drive: Debian's cloud kernel has no driver for AHCI.
  disk {
    interface    = "virtio2"
    datastore_id = var.disk_store
    file_id      = proxmox_virtual_environment_file.seed[each.key].id
    size         = 1
  }

  # The address is the seed's.
  network_device {
    bridge      = var.bridge
    model       = "virtio"
    mac_address = each.value.mac
  }

  lifecycle {
    # A database is on it.
    prevent_destroy = true
    # A machine is made of an image and a seed once.
    ignore_changes = [disk]
  }
}
