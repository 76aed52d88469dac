package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// refuseOtherVersion keeps a machine whose database is of another major version from beginning beside it with an empty
// directory: that would be copied from others, or made. A cluster of Debian's own tools is none of ours.
func (w *work) refuseOtherVersion(context.Context) error {
	own := w.databaseDir()
	if hasDatabase(own) {
		return nil
	}
	theirs := map[string]bool{}
	confs, _ := filepath.Glob(filepath.Join(w.Root, stockConf, "*/*/postgresql.conf")) // the pattern is good
	for _, conf := range confs {
		body, err := os.ReadFile(conf)
		if err != nil {
			return err
		}
		theirs[setting(body, "data_directory", "")] = true
	}
	found, _ := filepath.Glob(filepath.Join(w.Root, dataPath, "*/main/PG_VERSION")) // so is this
	for _, file := range found {
		dir := filepath.Dir(file)
		if dir == own || theirs[w.inside(dir)] {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		major := strings.TrimSpace(string(body))
		return fmt.Errorf("a database of PostgreSQL %s lies in %s, and %s says that this machine has PostgreSQL %d; it is left alone, and none is made beside it\n"+
			"      hint: postgres.version: %[1]s in cluster.yaml, or, when this machine is to begin without that database, move it away: mv %[2]s %[2]s.aside",
			major, w.inside(dir), specFile, w.seed.Cluster.Postgres.Version)
	}
	return nil
}
