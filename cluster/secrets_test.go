package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func example(t testing.TB, name string) *Cluster {
	t.Helper()
	c, err := Load(filepath.Join("../examples", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func initSecrets(t testing.TB, c *Cluster) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	if _, err := InitSecrets(dir, c, now); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInitSecrets(t *testing.T) {
	c := example(t, "global")
	dir := filepath.Join(t.TempDir(), "secrets")
	made, err := InitSecrets(dir, c, now)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range made {
		names = append(names, filepath.Base(m))
	}
	if diff := cmp.Diff([]string{"secrets.yaml", "ca.key", "ca.crt", "operator.key", "operator.pub"}, names); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if mode := modeOf(t, dir); mode != 0o700 {
		t.Errorf("the folder has mode %#o", mode)
	}
	for _, name := range names {
		if mode := modeOf(t, filepath.Join(dir, name)); mode != 0o600 {
			t.Errorf("%s has mode %#o", name, mode)
		}
	}
	s, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(c); err != nil {
		t.Error(err)
	}
	word := regexp.MustCompile(`^[A-Z2-7]{26}$`)
	seen := map[string]bool{}
	for _, v := range []string{s.Replicator, s.Rewind, s.REST, s.Stats, s.Users["global"], s.Users["admin"]} {
		if !word.MatchString(v) || seen[v] {
			t.Errorf("a password of %d letters is no fresh random word", len(v))
		}
		seen[v] = true
	}
	if len(s.VRRP) != 8 {
		t.Errorf("keepalived's word has %d letters, want 8", len(s.VRRP))
	}
	before := snapshot(t, dir)
	made, err = InitSecrets(dir, c, now)
	if err != nil || len(made) != 0 {
		t.Errorf("the second run made %v, %v", made, err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Error("the second run changed a file")
	}
}

// TestInitSecretsAdds: a user who came later gets a password; everything else, comments too, stays.
func TestInitSecretsAdds(t *testing.T) {
	dir := initSecrets(t, example(t, "quickstart"))
	path := filepath.Join(dir, "secrets.yaml")
	old, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(readFile(t, path)), "users:", "# ours\nusers:", 1)
	if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	later := example(t, "global")
	if err := old.Check(later); err == nil || !strings.Contains(err.Error(), `"global"`) || !strings.Contains(err.Error(), "pgbake init") {
		t.Errorf("users without a password: %v", err)
	}
	if err := old.Check(later, Proxy); err != nil {
		t.Errorf("a proxy needs no user's password: %v", err)
	}
	made, err := InitSecrets(dir, later, now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{path + ": users.global", path + ": users.admin"}, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	s, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Users["app"] != old.Users["app"] || s.Replicator != old.Replicator || s.Check(later) != nil {
		t.Error("an old password changed, or a new one is missing")
	}
	if !strings.Contains(string(readFile(t, path)), "# ours") || modeOf(t, path) != 0o600 {
		t.Error("the comment or the mode is gone")
	}
}

// TestSecretsAreRefused: what others can read, and what is damaged, with what to do and without a secret.
func TestSecretsAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"folder open", func(d string) error { return os.Chmod(d, 0o755) }, "chmod 700 "},
		{"file open", func(d string) error { return os.Chmod(d+"/secrets.yaml", 0o640) }, "chmod 600 "},
		{"file gone", func(d string) error { return os.Remove(d + "/secrets.yaml") }, "pgbake init"},
		{"folder gone", os.RemoveAll, "pgbake init"},
		{"unknown key", rewrite("rest: x\nhunter: two\n"), `unknown key "hunter"`},
		{"number", rewrite("rest: 424242\n"), "rest: this is a number to YAML, not a text (write it in quotes)"},
		{"shape", rewrite("rest: [hunter2]\n"), "rest: a list where a text belongs"},
		{"syntax", rewrite("rest: \"hunter2\" hunter3\n"), "secrets.yaml:1:1"},
		{"text", rewrite("hunter2\n"), "a text where keys belong"},
		{"empty", rewrite(""), "the file is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := initSecrets(t, example(t, "quickstart"))
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := LoadSecrets(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
			for _, secret := range []string{"hunter2", "hunter3", "424242"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the secret: %v", err)
				}
			}
			if c.name == "folder gone" || c.name == "file gone" {
				return
			}
			before := snapshot(t, dir)
			if _, err := InitSecrets(dir, example(t, "quickstart"), now); err == nil {
				t.Error("InitSecrets goes on with it")
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Error("InitSecrets changed a damaged file")
			}
		})
	}
}

func rewrite(body string) func(string) error {
	return func(dir string) error { return os.WriteFile(dir+"/secrets.yaml", []byte(body), 0o600) }
}

func TestSecretsFor(t *testing.T) {
	dir := initSecrets(t, example(t, "two-proxies"))
	all, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, proxy := Sealed{all}.For(DB), Sealed{all}.For(Proxy)
	if db.Stats != "" || db.VRRP != "" || db.Rewind != all.Rewind || len(db.Users) != 3 {
		t.Error("a database machine's share is not its own")
	}
	if proxy.Users != nil || proxy.Replicator+proxy.Rewind+proxy.REST != "" || proxy.VRRP != all.VRRP {
		t.Error("a proxy's share is not its own")
	}
	path := filepath.Join(t.TempDir(), "secrets.yaml")
	for _, share := range []Secrets{all, db, proxy} {
		if err := os.WriteFile(path, share.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := LoadMachineSecrets(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Encode(), share.Encode()) {
			t.Error("what Encode wrote reads back as something else")
		}
	}
}

// TestNothingPrintsSecrets: no verb, no encoder, no logger shows what is in secrets, identities or the authority.
func TestNothingPrintsSecrets(t *testing.T) {
	c := example(t, "two-proxies")
	dir := initSecrets(t, c)
	s, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, err := EnsureIdentity(dir, ca, c, c.Machines()[0], now)
	if err != nil {
		t.Fatal(err)
	}
	var hidden []string
	for _, f := range []string{s.Replicator, s.Rewind, s.REST, s.Stats, s.VRRP, s.Users["shop"], ca.key.D.String(),
		ca.key.D.Text(16), "PRIVATE KEY", "BEGIN", "[45 45 45 45"} { // bytes of "----"
		hidden = append(hidden, f, fmt.Sprintf("%x", f), fmt.Sprintf("%v", []byte(f)))
	}
	type carrier struct {
		S  Secrets
		C  CA
		I  Identity
		In any
	}
	for _, v := range []any{
		s, &s, ca, &ca, id, &id, carrier{s, ca, id, s}, &carrier{s, ca, id, &s},
		[]Secrets{s}, map[string]Secrets{"a": s}, []any{ca, id},
	} {
		var out []string
		// Not %p: fmt asks nobody's methods about it, and go vet refuses it for what is no pointer.
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08.3f", "%U", "%T"} {
			out = append(out, fmt.Sprintf(verb, v))
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		out = append(out, string(asJSON), log.String(), fmt.Errorf("wrapped: %v", v).Error())
		for _, text := range out {
			for _, h := range hidden {
				if h != "" && strings.Contains(text, h) {
					t.Fatalf("%T prints a secret (%d characters of output)", v, len(text))
				}
			}
		}
	}
}

func modeOf(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// snapshot is every file below dir.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, path := range append(glob(t, dir+"/*"), dirFiles(dir+"/machines/*/*")...) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			files[path] = string(readFile(t, path))
		}
	}
	return files
}

func dirFiles(pattern string) []string { files, _ := filepath.Glob(pattern); return files }

// What travels of a password is the same each time, until the password changes; the operator's file is left as it is.
func TestSeal(t *testing.T) {
	dir := t.TempDir()
	calls := 0
	verifier := func(password, old string) (string, error) {
		if strings.HasPrefix(old, password+":") {
			return old, nil
		}
		calls++
		return fmt.Sprintf("%s:%d", password, calls), nil
	}
	s := Secrets{REST: "rest", Users: map[string]string{"app": "one"}}
	for _, c := range []struct {
		users map[string]string
		want  map[string]string
	}{
		{map[string]string{"app": "one"}, map[string]string{"app": "one:1"}},
		{map[string]string{"app": "one"}, map[string]string{"app": "one:1"}},
		{map[string]string{"app": "two"}, map[string]string{"app": "two:2"}},
		{map[string]string{"app": "two", "more": "three"}, map[string]string{"app": "two:2", "more": "three:3"}},
		{map[string]string{"more": "three"}, map[string]string{"more": "three:3"}},
	} {
		s.Users = c.users
		sealed, err := s.Seal(dir, verifier)
		if err != nil || !maps.Equal(sealed.For(DB).Users, c.want) || sealed.For(DB).REST != "rest" || len(sealed.For(Proxy).Users) != 0 {
			t.Fatalf("%v: %v, %v", c.users, sealed.Users, err)
		}
		if !maps.Equal(s.Users, c.users) {
			t.Errorf("the operator's own became %v", s.Users)
		}
		if info, err := os.Stat(filepath.Join(dir, verifiersFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, verifiersFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Seal(dir, verifier); err == nil || !strings.Contains(err.Error(), "hint: remove it") {
		t.Errorf("a damaged file: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", Sealed{s}, Sealed{s}, Sealed{s}, Sealed{s}); strings.Contains(text, "three") {
		t.Errorf("it prints as %s", text)
	}
}
