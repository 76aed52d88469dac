package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/step"
)

// meta is what a format may want to know besides the disk's bytes.
type meta struct {
	seed string
	at   time.Time
	name string // the file's
	pack newPacker
}

func (m meta) id(thing string) images.UUID { return images.ID(m.seed, thing) }

// writer turns a raw disk into one of images.Formats.
type writer struct {
	write func(ctx context.Context, raw, out *os.File, m meta) error
	// packing is how it compresses chunks, and pack does it; none when empty. Formats of one packing share what layers keep.
	packing string
	pack    newPacker
}

// writers are by the format's name.
var writers = map[string]writer{
	"qcow2":      {writeQcow2, "deflate", newDeflate},
	"qcow2-zstd": {writeQcow2Zstd, "zstd", newZstd},
	"vmdk":       {writeVMDK, "zlib", newZlib},
	"vhdx":       {writeVHDX, "", nil},
	"ova":        {writeOVA, "zlib", newZlib},
}

// Convert writes the raw disk as format to out. Raw disks and tars come from Write and Tar. The chunks of the tree's
// layers that have a cache are compressed once.
func Convert(ctx context.Context, format, raw, out string, l Layout) error {
	w, ok := writers[format]
	if !ok {
		return fmt.Errorf("convert %s: no format %q is made of a raw disk", raw, format)
	}
	m := meta{l.Seed, l.Time, filepath.Base(out), w.pack}
	if w.packing != "" {
		var known kept
		defer known.close()
		for _, layer := range l.Tree {
			if err := Pack(ctx, layer, format); err != nil {
				return fmt.Errorf("convert to %s: %w", format, err)
			}
			known.open(layer, w)
		}
		m.pack = known.before(w.pack)
	}
	step.Note(ctx, "writes it")
	in, err := os.Open(raw)
	if err != nil {
		return fmt.Errorf("convert to %s: %w", format, err)
	}
	return errors.Join(
		whole(out, func(f *os.File) error { return w.write(ctx, in, f, m) }),
		in.Close(),
	)
}
