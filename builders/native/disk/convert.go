package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/images"
)

// meta is what a format may want to know besides the disk's bytes.
type meta struct {
	seed string
	at   time.Time
	name string // the file's
}

func (m meta) id(thing string) images.UUID { return images.ID(m.seed, thing) }

// writers turn a raw disk into images.Formats of the same name.
var writers = map[string]func(ctx context.Context, raw, out *os.File, m meta) error{
	"qcow2":      writeQcow2,
	"qcow2-zstd": writeQcow2Zstd,
	"vmdk":       writeVMDK,
	"vhdx":       writeVHDX,
	"ova":        writeOVA,
}

// Convert writes the raw disk as format to out. Raw disks and tars come from Write and Tar.
func Convert(ctx context.Context, format, raw, out string, l Layout) error {
	write := writers[format]
	if write == nil {
		return fmt.Errorf("convert %s: no format %q is made of a raw disk", raw, format)
	}
	in, err := os.Open(raw)
	if err != nil {
		return fmt.Errorf("convert to %s: %w", format, err)
	}
	return errors.Join(
		whole(out, func(f *os.File) error { return write(ctx, in, f, meta{l.Seed, l.Time, filepath.Base(out)}) }),
		in.Close(),
	)
}
