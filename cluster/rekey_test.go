package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a stolen machine knew is new afterwards, and nothing else; what was before is kept.
func TestRekey(t *testing.T) {
	for name, want := range map[string][]string{"db2": {"replicator", "rewind", "rest"}, "proxy1": {"stats", "vrrp"}} {
		t.Run(name, func(t *testing.T) {
			o := newOperator(t)
			_, _, before := o.seed()
			path := filepath.Join(o.dir, secretsFile)
			commented := strings.Replace(string(readFile(t, path)), "users:", "# ours\nusers:", 1)
			if err := os.WriteFile(path, []byte(commented), 0o600); err != nil {
				t.Fatal(err)
			}
			old := bySlot(t, o.dir)
			r, err := Rekey(o.dir, name, now)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Passwords, want) || (r.Role == Proxy) != (name == "proxy1") {
				t.Errorf("%+v, want %q", r, want)
			}
			for key, value := range bySlot(t, o.dir) {
				if changed := value != old[key]; changed != slices.Contains(want, key) || len(value) != len(old[key]) {
					t.Errorf("%s: changed is %t", key, changed)
				}
			}
			if text := string(readFile(t, path)); !strings.Contains(text, "# ours\nusers:") || modeOf(t, path) != 0o600 {
				t.Errorf("the operator's file has lost its comment, or its mode")
			}
			if kept := readFile(t, filepath.Join(r.Kept, secretsFile)); string(kept) != commented || modeOf(t, r.Kept) != 0o700 || modeOf(t, filepath.Join(r.Kept, secretsFile)) != 0o600 {
				t.Error("what was before is not kept as it was")
			}
			_, _, after := o.seed()
			for machine, files := range after {
				for file, body := range files {
					if same := bytes.Equal(body, before[machine][file]); same == (machine == name && file != caCertFile) {
						t.Errorf("%s of %s: the same is %t", file, machine, same)
					}
				}
			}
			for file, body := range before[name] {
				if file != caCertFile && !bytes.Equal(body, readFile(t, filepath.Join(r.Kept, "keys", file))) {
					t.Errorf("%s is not kept", file)
				}
			}
			if again, err := Rekey(o.dir, name, now.Add(time.Minute)); err != nil || again.Kept == r.Kept {
				t.Errorf("once more: %+v, %v", again, err)
			}
		})
	}
	o := newOperator(t)
	o.seed()
	all := readFile(t, filepath.Join(o.dir, secretsFile))
	for _, name := range []string{"db9", "", ".", "..", "../machines/db1", "db1/"} {
		if _, err := Rekey(o.dir, name, now); err == nil || !strings.Contains(err.Error(), "rekey "+name+": it has no keys in") {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if !bytes.Equal(all, readFile(t, filepath.Join(o.dir, secretsFile))) {
		t.Error("a refusal has changed the passwords")
	}
}

// bySlot are the operator's secrets by their keys, the users' too.
func bySlot(t *testing.T, dir string) map[string]string {
	t.Helper()
	s, err := LoadSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, slot := range s.slots() {
		all[slot.key] = *slot.value
	}
	for name, password := range s.Users {
		all["users."+name] = password
	}
	return all
}
