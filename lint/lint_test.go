package lint

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the golden files anew")

// read is a folder's files, named by their paths below it.
func read(t *testing.T, dir string) (files []File) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		files = append(files, File{Name: strings.TrimPrefix(path, dir+"/"), Body: body})
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files: %v", dir, len(files), err)
	}
	return files
}

// TestGolden: each folder of testdata is one cluster's files, and NAME.findings what is said of them together.
// manual/ is the manual's own text, with the indentation that its printed form has lost; flat/ is without.
func TestGolden(t *testing.T) {
	for _, name := range []string{"manual", "flat"} {
		found, err := Check(read(t, "testdata/"+name))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, f := range found {
			b.WriteString(f.String() + "\n")
		}
		golden := "testdata/" + name + ".findings"
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s: run with -update and read the difference (-want +got):\n%s", name, d)
		}
		for _, password := range []string{"StrongPassword", "12345", "adminpass", "globalpass", "1234"} {
			for _, f := range found {
				if strings.Contains(f.String(), password) {
					t.Errorf("%s quotes a password: %s", name, f)
				}
			}
		}
	}
}

// TestManualDefects: every number of the manual's list that a file can show is found in the manual.
func TestManualDefects(t *testing.T) {
	found, err := Check(read(t, "testdata/manual"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if r.id[0] == 'D' && r.id != "D16" && r.id != "D21" && !slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == r.id }) {
			t.Errorf("%s is not found in the manual", r.id)
		}
	}
}

// TestRules: each file of testdata/rules is one number, with folders of files that have the mistake (bad) and of
// corrected ones (good), which that number has nothing to say of. Every row of the table must be met.
func TestRules(t *testing.T) {
	met := map[string]bool{}
	paths, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		id := strings.TrimSuffix(filepath.Base(path), ".txtar")
		folders := map[string][]File{}
		for _, f := range archive.Files {
			folder, name, _ := strings.Cut(f.Name, "/")
			folders[folder] = append(folders[folder], File{Name: name, Body: f.Data})
		}
		good := false
		for folder, files := range folders {
			found, err := Check(files)
			if err != nil {
				t.Errorf("%s: %s: %v", id, folder, err)
			}
			found = slices.DeleteFunc(found, func(f Finding) bool { return f.Rule != id })
			for _, f := range found {
				met[id+f.Why] = true
			}
			good = good || strings.HasPrefix(folder, "good")
			switch bad := strings.HasPrefix(folder, "bad"); {
			case bad && len(found) == 0:
				t.Errorf("%s: %s: nothing found", id, folder)
			case !bad && len(found) > 0:
				t.Errorf("%s: %s: %v", id, folder, found)
			}
		}
		if !good {
			t.Errorf("%s: no corrected file", id)
		}
	}
	for _, r := range rules {
		if !met[r.id+r.why] && r.id != "D16" { // which is not in the text: TestModes
			t.Errorf("%s (%s): no file has it", r.id, r.why)
		}
	}
}

func TestModes(t *testing.T) {
	body := []byte("postgresql:\n  authentication:\n    replication: {username: r, password: of-our-own-making}\n")
	for name, want := range map[string]int{"/etc/patroni/config.yml": 1, "copies/config.yml": 0} {
		found, err := Check([]File{{Name: name, Mode: 0o644, Body: body}})
		if err != nil || len(found) != want {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
	if found, err := Check([]File{{Name: "/etc/patroni/config.yml", Mode: 0o600, Body: body}}); err != nil || len(found) != 0 {
		t.Errorf("0600: %v %v", found, err)
	}
}

// Names of members are known when their files are there.
func TestStandbyNamesAcrossFiles(t *testing.T) {
	conf := File{Name: "postgresql.conf", Body: []byte("synchronous_standby_names = 'ANY 1 (replica1, node2)'\n")}
	member := func(name string) File {
		return File{Name: name + ".yml", Body: fmt.Appendf(nil, "scope: c\nname: %s\npostgresql: {}\nwatchdog: {}\n", name)}
	}
	for want, files := range map[string][]File{
		"synchronous_standby_names is set by hand, and names none of the members: they are called node1, node3": {conf, member("node1"), member("node3")},
		"synchronous_standby_names is set by hand":                                                              {conf, member("node1"), member("node2")},
	} {
		found, err := Check(files)
		if err != nil || len(found) != 1 || found[0].Message != want {
			t.Errorf("%v %v, want %s", found, err, want)
		}
	}
}

func TestBroken(t *testing.T) {
	for want, f := range map[string]File{
		"read notes.txt: what kind of file this is cannot be told by its content or name\n      hint: --kind patroni|haproxy|etcd|etcd-yaml|unit|keepalived|hba|postgresql|script|versions": {Name: "notes.txt", Body: []byte("milk, bread\n")},
		"patroni.yml:2:2: a tab in the indentation (YAML indents by spaces)": {Name: "patroni.yml", Body: []byte("restapi:\n \tlisten: a\n")},
		"read patroni.yml: larger than 256 KiB: no configuration is":         {Name: "patroni.yml", Body: make([]byte, 1<<21)},
		"patroni.yml: the file is empty":                                     {Name: "patroni.yml"},
	} {
		_, err := Check([]File{f})
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

// Whatever a file holds, it is read without a panic, and every finding has a place in it.
func FuzzCheck(f *testing.F) {
	for _, dir := range []string{"testdata/manual", "testdata/flat"} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				body, _ := os.ReadFile(path)
				f.Add("", path, body)
			}
			return nil
		})
	}
	for _, kind := range Kinds() {
		f.Add(kind, "x", []byte("a: [b, {c: d}]\n[e\nf = 'g # h\ni { j }\n}} { <<EOF\nhost all all all trust\n\\"))
	}
	f.Fuzz(func(t *testing.T, kind, name string, body []byte) {
		if kind != "" && !slices.Contains(Kinds(), kind) {
			return
		}
		found, _ := Check([]File{{Name: name, Kind: Kind(kind), Body: body}, {Name: "b", Kind: Kind(kind), Body: body}})
		lines := strings.Count(string(body), "\n") + 1
		for _, x := range found {
			if x.Line < 1 || x.Column < 1 || x.Line > lines {
				t.Errorf("%d lines, and a finding at %d:%d: %s", lines, x.Line, x.Column, x)
			}
		}
	})
}
