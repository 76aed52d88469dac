# Written by pgbake packer. What the template beside it needs of Packer; apart, for a Packer from before there were plugins.
packer {
  required_version = ">= 1.11.0"
  required_plugins {
    googlecompute = {
      source  = "github.com/hashicorp/googlecompute"
      version = "~> 1.1"
    }
    pgbake = {
      source  = "github.com/pgbake/pgbake"
      version = ">= 0.1.0"
    }
  }
}
