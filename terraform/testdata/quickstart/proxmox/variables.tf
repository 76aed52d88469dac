variable "endpoint" {
  type        = string
  description = "https://HOST:8006/"
}

variable "insecure" {
  type        = bool
  description = "Take any certificate from it."
  default     = false
}

variable "ssh_username" {
  type        = string
  description = "Who may log in to the hosts, by a key that ssh-agent has, and run qm."
  default     = "root"
}

variable "host" {
  type        = string
  description = "The host of every machine that hosts does not name."
}

variable "hosts" {
  type        = map(string)
  description = "The hosts of machines, by the machines' names. A host that fails takes its machines with it: give members different ones."
  default     = {}
}

variable "file_store" {
  type        = string
  description = "The storage for images and seeds; it must allow the content ISO image."
  default     = "local"
}

variable "disk_store" {
  type        = string
  description = "The storage of the machines' disks."
  default     = "local-lvm"
}

variable "bridge" {
  type        = string
  description = "The hosts' bridge into 10.20.0.0/24."
  default     = "vmbr0"
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
