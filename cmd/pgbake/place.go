package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// staged is a folder of files that are to be placed in another one, all of them or none.
type staged struct {
	// Dir takes the files: a folder inside of the other, so that both are on one disk.
	Dir, to string
}

// stageDir is its name. It is fixed, so that a killed run leaves one behind, which the next takes.
const stageDir = ".pgbake-new"

// stage makes an empty folder in to, for its owner alone.
func stage(to string) (staged, error) {
	s := staged{filepath.Join(to, stageDir), to}
	if err := os.MkdirAll(to, 0o755); err != nil { //nolint:gosec // the secrets are in the files
		return s, err
	}
	return s, errors.Join(os.RemoveAll(s.Dir), os.MkdirAll(s.files(), 0o700), os.Mkdir(s.before(), 0o700))
}

func (s staged) files() string  { return filepath.Join(s.Dir, "files") }
func (s staged) before() string { return filepath.Join(s.Dir, "before") }

// remove takes the folder away.
func (s staged) remove() error { return os.RemoveAll(s.Dir) }

// place puts every file into the other folder, in the place of an older one; what is the same already it leaves as it is. When one
// cannot be placed, those before it are taken back.
func (s staged) place() (err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	return filepath.WalkDir(s.files(), func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.files(), from)
		if err != nil || name == "." {
			return err
		}
		to := filepath.Join(s.to, name)
		if d.IsDir() {
			// The folder may be older than we are, and its mode another.
			if err := os.MkdirAll(to, 0o700); err != nil {
				return err
			}
			return os.Chmod(to, 0o700) //nolint:gosec // a directory needs its x
		}
		back := filepath.Join(s.before(), strconv.Itoa(len(undo)))
		before, err := os.Lstat(to)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			undo = append(undo, func() error { return ignoreAbsent(os.Remove(to)) })
		case err != nil:
			return err
		case before.IsDir():
			return fmt.Errorf("write %s: a directory is there", to)
		case same(from, to):
			return nil
		default:
			// Where a disk knows no second name for a file, the old one is away for a moment.
			if os.Link(to, back) != nil {
				if err := os.Rename(to, back); err != nil {
					return err
				}
			}
			undo = append(undo, func() error { return os.Rename(back, to) })
		}
		return os.Rename(from, to)
	})
}

// same tells whether two files have the same bytes and the same mode.
func same(a, b string) bool {
	first, err := os.Lstat(a)
	second, also := os.Lstat(b)
	if err != nil || also != nil || first.Mode() != second.Mode() || first.Size() != second.Size() {
		return false
	}
	one, err := os.ReadFile(a)
	other, also := os.ReadFile(b)
	return err == nil && also == nil && bytes.Equal(one, other)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
