package images

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/cluster"
)

func initImage(t *testing.T, debian int, init Init, configs ...[]byte) Image {
	t.Helper()
	i, err := Image{Role: DB, Release: cluster.Release(debian), Arch: "amd64"}.With(init, configs)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// Each init brings what grows the root and applies the seed, and nothing of the other.
func TestInit(t *testing.T) {
	for _, c := range []struct {
		debian int
		init   Init
		want   []string
	}{
		{12, CloudInit, []string{
			"+cloud-guest-utils", "+cloud-init",
			"/etc/cloud/cloud.cfg.d/95_pgbake.cfg 0644", "/etc/repart.d/50-root.conf 0644",
			"/etc/systemd/system/systemd-repart.service.d/50-pgbake.conf 0644", "mask cloud-config.service",
		}},
		{13, CloudInit, []string{"+cloud-guest-utils", "+cloud-init", "/etc/cloud/cloud.cfg.d/95_pgbake.cfg 0644"}},
		{12, Ignition, append([]string{"+ignition"}, ignitionWants...)},
		{13, Ignition, append([]string{"+ignition", "+systemd-repart"}, ignitionWants...)},
	} {
		i := initImage(t, c.debian, c.init)
		var got []string
		for _, p := range i.initPackages() {
			if !slices.Contains(i.Base(), p) {
				t.Errorf("the base lacks %s", p)
			}
			got = append(got, "+"+p)
		}
		for _, f := range i.initFiles() {
			got = append(got, fmt.Sprintf("%s %04o", f.Path, f.Mode))
		}
		for _, u := range i.initUnits() {
			got = append(got, strings.Join(u, " "))
		}
		slices.Sort(got)
		if diff := cmp.Diff(slices.Sorted(slices.Values(c.want)), got); diff != "" {
			t.Errorf("Debian %d, %s (-want +got):\n%s", c.debian, c.init, diff)
		}
	}
}

var ignitionWants = []string{
	"/etc/repart.d/50-root.conf 0644", "/etc/systemd/system/systemd-repart.service.d/50-pgbake.conf 0644",
	"/etc/selinux/config 0644", "/etc/systemd/system/pgbake-grow.service 0644", "/etc/systemd/system/pgbake-ignition.service 0644",
	"/etc/systemd/system/pgha-apply.service.d/10-ignition.conf 0644",
	"/usr/local/lib/pgbake/bin/setfiles 0755", "/usr/local/lib/pgbake/ignition 0755",
	"enable pgbake-ignition.service pgbake-grow.service",
}

func TestInitNames(t *testing.T) {
	cloud, ign := initImage(t, 12, CloudInit), initImage(t, 12, Ignition, []byte("{}\n"))
	if cloud.Name() != "pgbake-bookworm-db-amd64" || ign.Name() != "pgbake-bookworm-db-ignition-amd64" {
		t.Errorf("%s, %s", cloud.Name(), ign.Name())
	}
	if base, role := ign.Layers(); base != "base-ignition" || role != "db-ignition" {
		t.Errorf("layers %s, %s", base, role)
	}
	if base, role := cloud.Layers(); base != "base" || role != "db" {
		t.Errorf("layers %s, %s", base, role)
	}
	f := ign.Files()[len(ign.Files())-1]
	if f.Path != "/usr/lib/ignition/base.d/01-pgbake.ign" || f.Mode != 0o600 || string(f.Body) != "{}\n" {
		t.Errorf("the operator's own is %s, %04o", f.Path, f.Mode)
	}
	if _, err := cloud.With(CloudInit, [][]byte{nil}); err == nil || !strings.Contains(err.Error(), "hint: --init ignition") {
		t.Errorf("Butane for cloud-init: %v", err)
	}
	if tar, _ := FormatNamed("tar"); ign.Takes(tar) == nil || cloud.Takes(tar) != nil {
		t.Error("a container by Ignition, or none by cloud-init")
	}
	boot := string(Instructions(ign, []Output{{File: "x.qcow2", Format: "qcow2"}}, "node1.ign.iso"))
	if !strings.Contains(boot, "-fw_cfg name=opt/com.coreos/config,file=node1.ign") || !strings.Contains(boot, "file=node1.ign.iso,if=virtio") {
		t.Errorf("BOOT.txt:\n%s", boot)
	}
}
