# Written by pgbake packer. What the template beside it needs of Packer; apart, for a Packer from before there were plugins.
packer {
  required_version = ">= 1.11.0"
  required_plugins {
    proxmox = {
      source  = "github.com/hashicorp/proxmox"
      version = "~> 1.2"
    }
  }
}
