package native

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"time"
)

// workers is how many packages are read at a time: each has a decompressor of its own beside it.
func workers() int { return max(2, runtime.NumCPU()) }

// entry is one member of a package.
type entry struct {
	*tar.Header
	// name is relative and clean: "usr/bin/env"; "." is the root itself.
	name string
	body io.Reader
}

// contents reads the files of a package, in its order.
func contents(ctx context.Context, deb string, each func(entry) error) error {
	return archive(ctx, deb, "--fsys-tarfile", each)
}

// contents reads the package's files, from where they lie decompressed or else from the package.
func (d *deb) contents(ctx context.Context, each func(entry) error) error {
	f, err := os.Open(d.tar)
	if errors.Is(err, fs.ErrNotExist) {
		return contents(ctx, d.path, each)
	}
	if err != nil {
		return err
	}
	// Nobody needs it twice: what was not written to the disk yet never will be.
	return errors.Join(readTar(f, each), f.Close(), os.Remove(d.tar))
}

// control reads the control files of a package by name: control, conffiles, postinst, … with their modes.
func control(ctx context.Context, deb string) (map[string]controlFile, error) {
	files := map[string]controlFile{}
	err := archive(ctx, deb, "--ctrl-tarfile", func(e entry) error {
		if e.Typeflag != tar.TypeReg {
			return nil
		}
		if strings.Contains(e.name, "/") {
			return fmt.Errorf("control file %q is in a directory", e.name)
		}
		body, err := io.ReadAll(e.body)
		files[e.name] = controlFile{body, fs.FileMode(e.Mode & 0o777), e.ModTime} //nolint:gosec // nine bits
		return err
	})
	return files, err
}

type controlFile struct {
	body []byte
	mode fs.FileMode
	time time.Time
}

// archive streams one of the tars of a package through dpkg-deb, which knows every compression that packages have.
// The runner is not used: it would keep all of the output.
func archive(ctx context.Context, deb, which string, each func(entry) error) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", which, deb)
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var ours error
	readErr := readTar(out, func(e entry) error {
		if ours = context.Cause(ctx); ours == nil {
			ours = each(e)
		}
		return ours
	})
	if readErr != nil {
		// It, and the decompressor that is a process of its own, wait for a reader.
		readErr = errors.Join(readErr, out.Close())
		_ = cmd.Process.Kill()
	} else if _, err := io.Copy(io.Discard, out); err != nil { // the padding behind the last member
		readErr = err
	}
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case ours == nil && talk.Len() > 0 && waitErr != nil:
		return fmt.Errorf("run dpkg-deb %s %s: %w: %s", which, deb, waitErr, strings.TrimSpace(talk.String()))
	case readErr != nil:
		return fmt.Errorf("read %s: %w", deb, readErr)
	case waitErr != nil:
		return fmt.Errorf("run dpkg-deb %s %s: %w", which, deb, waitErr)
	}
	return nil
}

func readTar(r io.Reader, each func(entry) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			name = "."
		}
		if err := each(entry{h, name, t}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}
