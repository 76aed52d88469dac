package packages

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// debFile is one package as an index knows it.
type debFile struct {
	name    string // below pool/
	body    []byte
	control string // its control file
	arch    string
}

// readDeb reads a package that Build made: an ar archive of debian-binary, control.tar.gz and data.tar.gz (deb(5)).
func readDeb(file string) (debFile, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return debFile{}, err
	}
	control, err := controlOf(body)
	if err != nil {
		return debFile{}, fmt.Errorf("read %s: %w", file, err)
	}
	d := debFile{name: filepath.Base(file), body: body, control: control}
	for line := range strings.Lines(control) {
		if v, ok := strings.CutPrefix(line, "Architecture:"); ok {
			d.arch = strings.TrimSpace(v)
		}
	}
	if d.arch != "all" && !slices.Contains(Architectures, d.arch) {
		return debFile{}, fmt.Errorf("read %s: architecture %q is not one of %q", file, d.arch, Architectures)
	}
	return d, nil
}

func controlOf(deb []byte) (string, error) {
	archive, err := member(deb, "control.tar.gz")
	if err != nil {
		return "", err
	}
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return "", err
	}
	for files := tar.NewReader(zip); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			return "", errors.New("no control file in it")
		}
		if err != nil {
			return "", err
		}
		if path.Clean(head.Name) == "control" {
			text, err := io.ReadAll(files)
			return string(text), err
		}
	}
}

// member finds a file in an ar archive (ar(5)): after "!<arch>\n" come a head of 60 bytes, with the name in the first
// 16 and the size in the ten from 48 on, and the content, padded to an even length.
func member(ar []byte, name string) ([]byte, error) {
	rest, ok := bytes.CutPrefix(ar, []byte("!<arch>\n"))
	for ok && len(rest) >= 60 {
		head := rest[:60]
		size, err := strconv.Atoi(strings.TrimSpace(string(head[48:58])))
		if err != nil || size < 0 || size > len(rest)-60 {
			break
		}
		if strings.TrimRight(string(head[:16]), " /") == name {
			return rest[60 : 60+size], nil
		}
		rest = rest[min(60+size+size%2, len(rest)):]
	}
	return nil, fmt.Errorf("not a Debian package, or none of ours: no %s in it", name)
}

// stanza is the package in the index Packages.
func (d debFile) stanza() string {
	return fmt.Sprintf("%s\nFilename: pool/%s\nSize: %d\nSHA256: %x\n",
		strings.TrimRight(d.control, "\n"), d.name, len(d.body), sha256.Sum256(d.body))
}
