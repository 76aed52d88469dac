package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What lies beside an image's files under fixed names.
const (
	ManifestName  = "manifest.json"
	SumsName      = "SHA256SUMS"
	SignatureName = "SHA256SUMS.asc"
	BootName      = "BOOT.txt"
)

// Manifest is what lies beside an image: manifest.json. Nothing in it tells builds of the same inputs apart.
type Manifest struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Debian  int       `json:"debian"`
	Arch    string    `json:"arch"`
	Init    Init      `json:"init,omitempty"` // cloud-init when there is none
	Pgbake  string    `json:"pgbake"`
	Key     string    `json:"key"` // the hash of all inputs
	Created time.Time `json:"created"`
	// Inputs are the layers' names and keys, the base first.
	Inputs   []Input   `json:"inputs,omitempty"`
	Files    []Output  `json:"files"`
	Packages []Package `json:"packages"`
}

// Input is one thing that decided the content.
type Input struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// Output is one file of the image. Disk is how large a machine sees it, in bytes; 0 for what is no disk.
type Output struct {
	File   string `json:"file"`
	Format string `json:"format,omitempty"`
	Bytes  int64  `json:"bytes"`
	Disk   int64  `json:"disk,omitempty"`
	SHA256 string `json:"sha256"`
}

// JSON is the manifest as it is written.
func (m Manifest) JSON() ([]byte, error) {
	body, err := json.MarshalIndent(m, "", "  ")
	return append(body, '\n'), err
}

// Measure is what a written file is: its size and hash.
func Measure(name, format string, disk int64) (Output, error) {
	f, err := os.Open(name)
	if err != nil {
		return Output{}, fmt.Errorf("measure image: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return Output{}, fmt.Errorf("measure image: %w", err)
	}
	return Output{filepath.Base(name), format, n, disk, hex.EncodeToString(h.Sum(nil))}, nil
}

// SHA256Sums is the file SHA256SUMS, as sha256sum --check reads it.
func SHA256Sums(outputs []Output) []byte {
	lines := make([]string, len(outputs))
	for i, o := range outputs {
		lines[i] = fmt.Sprintf("%s  %s\n", o.SHA256, o.File)
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	return []byte(strings.Join(lines, ""))
}
