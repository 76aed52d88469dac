# Shows what a seed gives to a source that boots a machine of the cluster, such as user_data of amazon-ebs.
#
#   pgbake seed

data "pgbake-seed" "db1" {
  specification = "cluster.yaml"
  output        = "dist"
  machine       = "db1"
}

source "null" "show" {
  communicator = "none"
}

build {
  sources = ["source.null.show"]

  provisioner "shell-local" {
    inline = ["echo '${data.pgbake-seed.db1.meta_data}'", "ls ${data.pgbake-seed.db1.iso}"]
  }
}
