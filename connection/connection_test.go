package connection

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specs are the examples and what only a test wants; a new case is a new file.
func specs(t *testing.T) map[string]*cluster.Cluster {
	t.Helper()
	all := map[string]*cluster.Cluster{}
	for _, pattern := range []string{"../examples/*.yaml", "testdata/specs/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, path := range paths {
			c, err := cluster.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			all[strings.TrimSuffix(filepath.Base(path), ".yaml")] = c
		}
	}
	return all
}

func files(t *testing.T, c *cluster.Cluster, dir string) map[string]rootfs.File {
	t.Helper()
	in := Input{CA: []byte("the certificate\n"), Passwords: map[string]string{}, Dir: dir}
	for _, u := range c.Postgres.Users {
		in.Passwords[u.Name] = "secret:of\\" + u.Name
	}
	list, err := Files(c, in)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]rootfs.File{}
	for _, f := range list {
		all[f.Path] = f
	}
	return all
}

func TestGolden(t *testing.T) {
	const golden = "testdata/golden"
	want, got := map[string]string{}, map[string]string{}
	for name, c := range specs(t) {
		for path, f := range files(t, c, "/etc/app") {
			if filepath.Ext(path) != ".sql" && path != "/ca.crt" {
				got[filepath.Join(golden, name, path)] = string(f.Body)
			}
		}
	}
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		for path, body := range got {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := filepath.WalkDir(golden, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		want[path] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("run with -update and read the difference (-want +got):\n%s", d)
	}
}

func TestPasswordsAreOnlyWhereNobodyElseReads(t *testing.T) {
	for name, c := range specs(t) {
		for path, f := range files(t, c, "/etc/app") {
			if strings.Contains(string(f.Body), "secret:of") && f.Mode != 0o600 || strings.Contains(string(f.Body), `secret\:of`) && f.Mode != 0o600 {
				t.Errorf("%s%s: %04o, and there is a password in it", name, path, f.Mode)
			}
		}
	}
}

// An absent password is said, not written as an empty one.
func TestAbsentPassword(t *testing.T) {
	_, err := Files(specs(t)["lone"], Input{Dir: "/etc/app"})
	if err == nil || !strings.Contains(err.Error(), `password of user "app" is missing`) {
		t.Error(err)
	}
}

// The strings are read back by a driver that is not ours, from a folder whose name needs every kind of escape.
func TestStringsReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `it's a\folder+100%&more?`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ca, err := cluster.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, caFile), ca.Certificate(), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range specs(t) {
		for _, l := range Logins(c) {
			for kind, s := range map[string]string{"libpq": Libpq(c, l, dir), "url": URL(c, l, dir)} {
				got, err := pgconn.ParseConfig(s)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, kind, err)
				}
				first := doors(c, l.ReadOnly)[0]
				if got.User != l.User || got.Database != l.Database || got.Host != first.Addr().String() || got.Port != first.Port() ||
					got.TLSConfig == nil || got.TLSConfig.InsecureSkipVerify || got.TLSConfig.RootCAs == nil || len(got.Fallbacks) != len(doors(c, l.ReadOnly))-1 {
					t.Errorf("%s: %s: %s\nreads back as %+v", name, kind, s, got)
				}
			}
		}
	}
}

// The parameters of PostgreSQL's driver for Java, as it documents them; what it does not know it ignores without a word.
func TestJDBCParametersExist(t *testing.T) {
	documented := regexp.MustCompile(`^(targetServerType=(primary|preferSecondary)|(hostRecheckSeconds|connectTimeout|loginTimeout)=\d+|(tcpKeepAlive|loadBalanceHosts)=true|channelBinding=require|sslmode=verify-full|sslrootcert=/\S+)$`)
	for name, c := range specs(t) {
		for _, l := range Logins(c) {
			_, parameters, ok := strings.Cut(JDBC(c, l, "/etc/app"), "?")
			for p := range strings.SplitSeq(parameters, "&") {
				if !ok || !documented.MatchString(p) {
					t.Errorf("%s: %s", name, p)
				}
			}
		}
	}
}

func TestGlobalServerAndDBeaverAreWellFormed(t *testing.T) {
	for name, c := range specs(t) {
		all := files(t, c, "/etc/a<b>\"&c")
		var section struct {
			Database []struct {
				Alias string `xml:"alias,attr"`
				URL   string `xml:"url,attr"`
				User  []struct {
					Name     string `xml:"name,attr"`
					Password string `xml:"password,attr"`
				} `xml:"users>user"`
			} `xml:"database"`
		}
		if err := xml.Unmarshal([]byte("<databases>"+string(all["/globalserver.xml"].Body)+"</databases>"), &section); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(section.Database) != len(c.Postgres.Databases) {
			t.Errorf("%s: %d databases", name, len(section.Database))
		}
		for i, d := range c.Postgres.Databases {
			got := section.Database[i]
			if got.Alias != d.Name || got.URL != JDBC(c, Login{User: d.Owner, Database: d.Name}, "/etc/a<b>\"&c") || got.User[0].Name != d.Owner || got.User[0].Password != "secret:of\\"+d.Owner {
				t.Errorf("%s: %+v", name, got)
			}
		}
		var project struct {
			Connections map[string]source
		}
		if err := json.Unmarshal(all["/dbeaver/data-sources.json"].Body, &project); err != nil || len(project.Connections) != len(Logins(c)) {
			t.Errorf("%s: %d connections: %v", name, len(project.Connections), err)
		}
	}
}
