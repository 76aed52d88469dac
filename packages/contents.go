package packages

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
)

//go:embed copyright all:pgha-common all:pgha-node all:pgha-proxy
var tree embed.FS

// addContents lays out what the package installs: its root/ byte for byte, and what is made:
// the agent, the copyright, the changelog. Policy 12.1 and 12.7 want manual pages and changelogs compressed.
func addContents(info *nfpm.Info, stage, name string, o Options) error {
	add := func(dst string, body []byte) error {
		if strings.HasPrefix(dst, "/usr/share/man/") {
			dst, body = dst+".gz", compress(body)
		}
		src := filepath.Join(stage, "root", dst)
		if err := os.MkdirAll(filepath.Dir(src), 0o700); err != nil {
			return err
		}
		info.Contents = append(info.Contents, &files.Content{
			Source: src, Destination: dst, Type: kind(dst),
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode(dst), MTime: info.MTime},
		})
		return os.WriteFile(src, body, 0o600)
	}
	for _, c := range info.Contents { // the directories that package.yaml names
		c.FileInfo = &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: info.MTime}
	}

	root := name + "/root"
	err := fs.WalkDir(tree, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := tree.ReadFile(p)
		if err != nil {
			return err
		}
		return add(strings.TrimPrefix(p, root), body)
	})
	if err != nil {
		return err
	}
	if name == "pgha-common" {
		if err := add("/usr/bin/pgha", o.Agent); err != nil {
			return err
		}
	}
	copyright, err := tree.ReadFile("copyright")
	if err != nil {
		return err
	}
	if err := add("/usr/share/doc/"+name+"/copyright", copyright); err != nil {
		return err
	}
	return add("/usr/share/doc/"+name+"/changelog.gz", compress(changelog(info)))
}

// kind is that of a file by its place. Policy 10.7.3: what a package has in /etc are conffiles, whose changes dpkg keeps.
func kind(dst string) string {
	if strings.HasPrefix(dst, "/etc/") {
		return files.TypeConfig
	}
	return files.TypeFile
}

// mode is that of a file by its place: programs may be run, the rest may be read.
func mode(dst string) fs.FileMode {
	if dir := path.Dir(dst); dir == "/usr/bin" || dir == "/usr/lib/pgha" && path.Ext(dst) == "" {
		return 0o755
	}
	return 0o644
}

// changelog has one entry: what changed is told by pgbake's own history.
func changelog(info *nfpm.Info) []byte {
	return fmt.Appendf(nil, "%s (%s) stable; urgency=medium\n\n  * pgbake %s.\n\n -- %s  %s\n",
		info.Name, info.Version, info.Version, info.Maintainer, info.MTime.Format(time.RFC1123Z))
}

// compress is gzip -9n.
func compress(body []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	_, _ = w.Write(body) // into memory
	_ = w.Close()
	return b.Bytes()
}

// addScripts lays out the maintainer scripts that the package has.
func addScripts(info *nfpm.Info, stage, name string) error {
	scripts := map[string]*string{
		"preinst":  &info.Scripts.PreInstall,
		"postinst": &info.Scripts.PostInstall,
		"prerm":    &info.Scripts.PreRemove,
		"postrm":   &info.Scripts.PostRemove,
	}
	for script, field := range scripts {
		body, err := tree.ReadFile(name + "/" + script)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		*field = filepath.Join(stage, script)
		if err := os.WriteFile(*field, body, 0o600); err != nil {
			return err
		}
	}
	return nil
}
