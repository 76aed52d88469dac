package cloudinit

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/rootfs"
)

func volume(t *testing.T) []rootfs.File {
	t.Helper()
	return []rootfs.File{
		{Path: "/user-data", Mode: 0o600, Body: bytes.Repeat([]byte("#cloud-config, several hundred KiB of it\n"), 10_000)},
		{Path: "/network-config", Mode: 0o600, Body: []byte("version: 2\n")},
		{Path: "/meta-data", Mode: 0o600, Body: bytes.Repeat([]byte("x"), sector)},
		{Path: "/empty", Mode: 0o640},
	}
}

func writeVolume(t *testing.T) string {
	t.Helper()
	image, err := ISO("cidata", seedTime, volume(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seed.iso")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestISOGolden shows a whole volume: every byte of it is meant.
func TestISOGolden(t *testing.T) {
	small := []rootfs.File{{Path: "/user-data", Mode: 0o600, Body: []byte("#cloud-config\n")}, {Path: "/meta-data", Mode: 0o600, Body: []byte("instance-id: x\n")}}
	image, err := ISO("cidata", seedTime, small)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/golden/volume.hex", hexdump(image))
}

// hexdump leaves out lines of zeros.
func hexdump(b []byte) []byte {
	var d document
	for at := 0; at < len(b); at += 16 {
		if line := b[at:min(at+16, len(b))]; len(bytes.Trim(line, "\x00")) > 0 {
			text := bytes.Clone(line)
			for i, c := range text {
				if c < ' ' || c > '~' {
					text[i] = '.'
				}
			}
			d.line("%06x  % x  |%s|", at, line, text)
		}
	}
	return []byte(d.String())
}

// TestISOReaders asks two readers that know nothing of each other: cdrkit's and libisofs'.
func TestISOReaders(t *testing.T) {
	path := writeVolume(t)
	for _, f := range volume(t) {
		got := tool(t, "isoinfo", "-R", "-i", path, "-x", f.Path)
		if !bytes.Equal(got, f.Body) {
			t.Errorf("isoinfo reads %d bytes of %s, not %d", len(got), f.Path, len(f.Body))
		}
	}
	// Without Rock Ridge too the names are there.
	if got := tool(t, "isoinfo", "-f", "-i", path); !strings.Contains(string(got), "/NETWORK_CONFIG.;1\n") {
		t.Errorf("isoinfo sees:\n%s", got)
	}
	descriptor := string(tool(t, "isoinfo", "-d", "-i", path))
	for _, want := range []string{"Volume id: cidata\n", "Rock Ridge signatures version 1 found"} {
		if !strings.Contains(descriptor, want) {
			t.Errorf("isoinfo does not say %q:\n%s", want, descriptor)
		}
	}

	out := filepath.Join(t.TempDir(), "out")
	tool(t, "xorriso", "-abort_on", "WARNING", "-osirrox", "on", "-indev", path, "-extract", "/", out)
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != len(volume(t)) {
		t.Fatalf("xorriso extracts %v: %v", entries, err)
	}
	for _, f := range volume(t) {
		got, err := os.ReadFile(filepath.Join(out, f.Path))
		if err != nil || !bytes.Equal(got, f.Body) {
			t.Errorf("xorriso reads %d bytes of %s, not %d: %v", len(got), f.Path, len(f.Body), err)
		}
		info, _ := os.Stat(filepath.Join(out, f.Path))
		if info == nil || info.Mode() != f.Mode || !info.ModTime().Equal(seedTime) {
			t.Errorf("xorriso sees %s as %v", f.Path, info)
		}
	}
	if info, _ := os.Stat(out); info.Mode().Perm() != 0o700 {
		t.Errorf("the root directory is %s", info.Mode())
	}
}

// TestISOProbe asks the library that udev, and so ds-identify, asks.
func TestISOProbe(t *testing.T) {
	got := string(tool(t, "blkid", "-p", "-o", "export", writeVolume(t)))
	for _, want := range []string{"LABEL=cidata\n", "TYPE=iso9660\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("blkid does not say %q:\n%s", want, got)
		}
	}
}

func TestISORefuses(t *testing.T) {
	if _, err := ISO("cidata", seedTime, []rootfs.File{{Path: "/a-b"}, {Path: "/a_b"}}); err == nil {
		t.Error("two files of one short name")
	}
	if _, err := ISO("cidata", seedTime, make([]rootfs.File, 1)); err != nil {
		t.Errorf("one file: %v", err)
	}
	if _, err := ISO(strings.Repeat("x", 33), seedTime, nil); err == nil {
		t.Error("a label of 33 bytes")
	}
}

func TestWriteISO(t *testing.T) {
	c, _, _ := testCluster(t, "../examples/global.yaml")
	seed := testSeed(t, "../examples/global.yaml", c.Machines()[0], Options{})
	path := filepath.Join(t.TempDir(), "seed.iso")
	if err := seed.WriteISO(path); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode() != 0o600 {
		t.Errorf("the volume is %s", info.Mode())
	}
	for _, f := range seed.files() {
		if got := tool(t, "isoinfo", "-R", "-i", path, "-x", f.Path); !bytes.Equal(got, f.Body) {
			t.Errorf("%s reads:\n%s", f.Path, got)
		}
	}
}

// tool runs a program of Debian and returns its output.
func tool(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		missing(t, "no %s here: apt install genisoimage xorriso", args[0])
	}
	var stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return out
}

// missing skips a test that this machine cannot run; where CI=true it fails.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
