package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// seededFile holds a digest of every secret that the newest seeds carry, in the operator's secrets/: secrets do not travel in a
// generation, so nothing else says which of them the machines do not have yet.
const seededFile = "seeded.json"

// NewSecrets names the secrets that the newest seeds, of dir, do not carry as they are now: "rest", "users.app". Role is who
// needs them; all of them where it is empty. It names none where it is not known what the seeds carry.
func (s Sealed) NewSecrets(dir string, r Role) (names []string, err error) {
	path := filepath.Join(dir, seededFile)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var had map[string]string
	if err := json.Unmarshal(body, &had); err != nil {
		return nil, fmt.Errorf("read %s: %w\n      hint: remove it, and the next pgbake seed writes it anew", path, err)
	}
	share := s.Secrets
	if r != "" {
		share = s.For(r)
	}
	for name, sum := range share.digests() {
		if had[name] != sum {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// CountSecrets notes what the newest seeds carry.
func (s Sealed) CountSecrets(dir string) error {
	body, err := json.MarshalIndent(s.digests(), "", "  ")
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, seededFile), append(body, '\n'), true)
}

// digests are SHA-256 of each secret that is there, by its key in secrets.yaml.
func (s Secrets) digests() map[string]string {
	all := map[string]string{}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		key := keyOf(v.Type().Field(i))
		if users, ok := v.Field(i).Interface().(map[string]string); ok {
			for _, name := range slices.Sorted(maps.Keys(users)) {
				all[join(key, name)] = digest([]byte(users[name]))
			}
			continue
		}
		if text := v.Field(i).String(); text != "" {
			all[key] = digest([]byte(text))
		}
	}
	return all
}
