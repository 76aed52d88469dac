package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

func image(role Role) Image {
	return Image{Role: role, Release: cluster.Release(12), Arch: "amd64"}
}

func TestID(t *testing.T) {
	a, b := ID("key", "root"), ID("key", "disk")
	if a == b || a != ID("key", "root") || a == ID("other", "root") {
		t.Error("ids are not those of their inputs")
	}
	if s := a.String(); len(s) != 36 || s[14] != '8' || !strings.ContainsRune("89ab", rune(s[19])) {
		t.Errorf("%s is no UUID of version 8", s)
	}
}

func TestAbsent(t *testing.T) {
	for _, c := range []struct {
		name string
		dir  bool
		want bool
	}{
		{"/etc/ssh/ssh_host_ed25519_key", false, true},
		{"/etc/ssh/sshd_config", false, false},
		{"/tmp", true, false},
		{"/tmp/x", true, true},
		{"/dev/null", false, true},
		{"/var/log", true, false},
		{"/var/log/postgresql", true, false},
		{"/var/log/dpkg.log", false, true},
		{"/var/lib/dpkg/status", false, false},
		{"/var/lib/dpkg/status-old", false, true},
		{"/etc/resolv.conf", false, true},
		{"/etc/machine-id", false, false},
	} {
		if got := Absent(c.name, c.dir); got != c.want {
			t.Errorf("Absent(%q) is %v", c.name, got)
		}
	}
}

func TestInstalledAndSBOM(t *testing.T) {
	const status = `Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib (1:1.2.13)
Version: 1:1.2.13.dfsg-1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
`
	packages, err := Installed(strings.NewReader(status))
	if err != nil || len(packages) != 2 || packages[0].Name != "bash" || packages[1].Source != "zlib" {
		t.Fatalf("%v, %v", packages, err)
	}
	body, err := SBOM(image(DB), "0123456789abcdef", time.Unix(1_760_000_000, 0), packages)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat  string `json:"bomFormat"`
		Components []struct{ PURL string }
	}
	if err := json.Unmarshal(body, &bom); err != nil || bom.BOMFormat != "CycloneDX" || len(bom.Components) != 3 {
		t.Fatalf("%s, %v", body, err)
	}
	if got, want := bom.Components[1].PURL, "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12"; got != want {
		t.Errorf("purl %s, want %s", got, want)
	}
}

func TestSums(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.raw")
	if err := os.WriteFile(name, []byte("disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Measure(name, "raw", 4)
	if err != nil {
		t.Fatal(err)
	}
	a := b
	a.File = "a.qcow2"
	want := b.SHA256 + "  a.qcow2\n" + b.SHA256 + "  b.raw\n"
	if got := string(SHA256Sums([]Output{b, a})); got != want {
		t.Errorf("SHA256SUMS:\n%s", got)
	}
}

func TestInstructionsNameOnlyWhatIsThere(t *testing.T) {
	got := string(Instructions(image(DB), []Output{{File: "x.qcow2", Format: "qcow2"}}, "node1.iso"))
	for want, there := range map[string]bool{"x.qcow2": true, "## Proxmox": true, "qemu-system-x86_64": true, "Hyper-V": false, "$FILE": false, "$SEED": false,
		// /dev/vdb, where a data disk is looked for, stays free for it.
		"--virtio1 local-lvm:32": true, "--virtio1 local-lvm:0,import-from": false, "storage.data_disk": true} {
		if strings.Contains(got, want) != there {
			t.Errorf("%q is there: %v\n%s", want, !there, got)
		}
	}
}
