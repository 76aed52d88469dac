// Command packer-plugin-pgbake is Packer's plugin: the builder pgbake-image, the provisioner pgbake, the data source
// pgbake-seed. Packer starts it, and it starts itself for a bake.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"
	sdk "github.com/hashicorp/packer-plugin-sdk/version"

	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/image"
	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/provisioner"
	"github.com/pgbake/pgbake/builders/packer-plugin-pgbake/seed"
)

// version and prerelease are set by the build: Packer wants them apart, "1.2.3" and "dev".
var version, prerelease = "0.1.0", "dev"

func main() {
	if len(os.Args) == 2 && os.Args[1] == image.BakeCommand {
		os.Exit(image.BakeMain())
	}
	set := plugin.NewSet()
	set.SetVersion(sdk.NewPluginVersion(version, prerelease, ""))
	set.RegisterBuilder("image", &image.Builder{Version: version})
	set.RegisterProvisioner(plugin.DEFAULT_NAME, &provisioner.Provisioner{})
	set.RegisterDatasource("seed", &seed.Datasource{})
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "packer-plugin-pgbake:", err)
		os.Exit(1)
	}
}
