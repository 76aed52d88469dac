package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopkg.in/yaml.v3"
)

const (
	machinesDir = "machines"
	// stolenDir keeps what was given up, below it a folder for each time.
	stolenDir = "stolen"
)

// Rekeyed is what Rekey has done.
type Rekeyed struct {
	Role Role
	// Kept is the folder that has the keys and passwords of before.
	Kept string
	// Passwords are the keys in secrets.yaml that have new values.
	Passwords []string
}

// Rekey gives up all that a stolen machine knew and that can be made anew here: its keys, which the next EnsureIdentity makes,
// and the passwords of its role. The machine may be one that the specification has no more. What was before is kept.
//
// The stolen keys are trusted until the authority that has signed their certificates is not: RotateCA, three times.
func Rekey(dir, name string, now time.Time) (r Rekeyed, err error) {
	if err := private(dir); err != nil {
		return r, err
	}
	folder := filepath.Join(dir, machinesDir, name)
	if name != filepath.Base(folder) || !exists(folder) { // "..", or a path
		return r, fmt.Errorf("rekey %s: it has no keys in %s", name, filepath.Join(dir, machinesDir))
	}
	r.Role = DB
	if exists(filepath.Join(folder, "proxy.key")) {
		r.Role = Proxy
	}
	path := filepath.Join(dir, secretsFile)
	if _, err := operatorSecrets(path, nil); err != nil {
		return r, err
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	r.Kept = filepath.Join(dir, stolenDir, name+"-"+now.UTC().Format("20060102T150405Z"))
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.Kept), 0o700), os.Mkdir(r.Kept, 0o700)); err != nil {
		return r, fmt.Errorf("rekey %s: %w", name, err)
	}
	if err := create(filepath.Join(r.Kept, secretsFile), body); err != nil {
		return r, err
	}
	if body, r.Passwords, err = renew(body, r.Role); err != nil {
		return r, fmt.Errorf("rekey %s: %w", name, err)
	}
	if err := replace(path, body, true); err != nil {
		return r, err
	}
	return r, os.Rename(folder, filepath.Join(r.Kept, "keys"))
}

// renew gives the passwords of a role new values, and keeps the file's comments and its order.
func renew(body []byte, role Role) (out []byte, keys []string, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil || len(doc.Content) == 0 {
		return nil, nil, errors.New(secretsFile + " is not YAML") // the library would quote it
	}
	for _, s := range new(Secrets).slots() {
		if n := child(doc.Content[0], s.key); n != nil && slices.Contains(s.roles, role) {
			n.SetString(rand.Text()[:s.length])
			keys = append(keys, s.key)
		}
	}
	out, err = encodeNode(&doc)
	return out, keys, err
}
