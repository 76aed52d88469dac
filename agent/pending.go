package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const pendingFile = "/var/lib/pgha/pending.json"

// pending are the units whose files changed and that have not seen it yet; true where only a restart shows it.
// It lies on the disk, since an apply may be killed between writing a file and reloading its unit.
type pending struct {
	file string
	need map[string]bool
}

func (p *pending) add(unit string, restart bool) {
	if p.need == nil {
		p.need = map[string]bool{}
	}
	p.need[unit] = p.need[unit] || restart
}

func (p *pending) has(unit string) bool     { _, ok := p.need[unit]; return ok }
func (p *pending) restart(unit string) bool { return p.need[unit] }
func (p *pending) units() []string          { return slices.Sorted(maps.Keys(p.need)) }

// load adds what an earlier run left undone.
func (p *pending) load() error {
	body, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var left map[string]bool
	if err := json.Unmarshal(body, &left); err != nil {
		return fmt.Errorf("read %s: %w\n      hint: remove it and restart the units whose files changed", pendingFile, err)
	}
	for unit, restart := range left {
		p.add(unit, restart)
	}
	return nil
}

func (p *pending) save() error {
	if err := p.load(); err != nil {
		return err
	}
	return p.store()
}

func (p *pending) done(unit string) error {
	if !p.has(unit) {
		return nil
	}
	delete(p.need, unit)
	if len(p.need) == 0 {
		return os.Remove(p.file)
	}
	return p.store()
}

func (p *pending) store() error {
	body, err := json.Marshal(p.need)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.file), 0o755); err != nil { //nolint:gosec // holds unit names
		return err
	}
	return replace(p.file, append(body, '\n'), 0o600)
}
