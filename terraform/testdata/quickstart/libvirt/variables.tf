variable "uri" {
  type        = string
  description = "The host: qemu:///system here, qemu+ssh://root@HOST/system elsewhere."
  default     = "qemu:///system"
}

variable "pool" {
  type        = string
  description = "The storage pool of images, disks and seeds (virsh pool-list)."
  default     = "default"
}

variable "bridge" {
  type        = string
  description = "The host's bridge into 10.20.0.0/24."
  default     = "br0"
}

variable "root_size" {
  type        = number
  description = "GiB of a machine's root disk; it grows to it."
  default     = 20
}

variable "memory" {
  type        = map(number)
  description = "MiB of each role's machines."
  default     = { db = 2048, proxy = 1024 }
}

variable "cpus" {
  type        = map(number)
  description = "Processors of each role's machines."
  default     = { db = 2, proxy = 1 }
}

variable "dist" {
  type        = string
  description = "Where pgbake has put images and seeds, from this folder: its -o."
  default     = "../.."
}
