# Written by pgbake packer. What the template beside it needs of Packer; apart, for a Packer from before there were plugins.
packer {
  required_version = ">= 1.11.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.2, >= 1.2.2"
    }
    pgbake = {
      source  = "github.com/pgbake/pgbake"
      version = ">= 0.1.0"
    }
  }
}
