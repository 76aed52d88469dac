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
    environment_vars = ["META_DATA=${data.pgbake-seed.db1.meta_data}", "ISO=${data.pgbake-seed.db1.iso}"]
    inline           = ["printf '%s\\n' \"$META_DATA\" \"$ISO\""]
  }
}
