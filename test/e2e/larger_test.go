package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// largerDisks: the hypervisor makes both disks of a member larger while it serves, and `pgha apply` makes room of it. The
// size that PostgreSQL's slots may take follows the data disk's.
func (l *lab) largerDisks(t *testing.T) {
	l = l.on(t)
	const victim, dirs = "db1", "/ /var/lib/postgresql"
	room := func() (sizes []int) {
		for f := range strings.FieldsSeq(l.sh(victim, "df --block-size=1M --output=size "+dirs+" | tail -n +2")) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, n)
		}
		return sizes
	}
	postmaster := l.sh(victim, "head -n 1 /var/lib/postgresql/15/main/postmaster.pid")
	before := room()
	l.resize(victim, "root", 2<<30)
	l.resize(victim, "data", 2<<30)
	out := l.sh(victim, "pgha apply 2>&1")
	after := room()
	if len(before) != 2 || len(after) != 2 || after[0] < before[0]+1500 || after[1] < before[1]+1500 {
		t.Fatalf("%s have %v MiB, and had %v:\n%s", dirs, after, before, out)
	}
	for _, want := range []string{"/ has grown from ", "/var/lib/postgresql has grown from "} {
		if !strings.Contains(out, want) {
			t.Errorf("apply does not say %q:\n%s", want, out)
		}
	}
	if out := l.sh(victim, "pgha apply 2>&1"); strings.Contains(out, "grow") {
		t.Errorf("done again it says:\n%s", out)
	}
	if now := l.sh(victim, "head -n 1 /var/lib/postgresql/15/main/postmaster.pid"); now != postmaster {
		t.Errorf("PostgreSQL was process %s, and is %s", postmaster, now)
	}
	l.healthy(virtualTime)
	// The same by a boot.
	l.pgbake("lab", "fault", "shutdown", victim)
	own := filepath.Join("/var/lib/pgbake/lab", l.scope, victim, "data.qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "resize", "-q", own, "+2G").CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	l.pgbake("lab", "fault", "power-on", victim)
	l.healthy(virtualTime)
	if last := room(); last[1] < after[1]+1500 {
		t.Errorf("after a boot %s have %v MiB, and had %v", dirs, last, after)
	}
}

// resize makes a running machine's disk larger by so many bytes, as a hypervisor does.
func (l *lab) resize(machine, drive string, more int64) {
	l.Helper()
	conn, err := net.DialTimeout("unix", filepath.Join("/var/lib/pgbake/lab", l.scope, machine, "qmp"), 10*time.Second)
	if err != nil {
		l.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	answers := bufio.NewScanner(conn)
	answers.Buffer(nil, 1<<20)
	ask := func(command string, into any) {
		l.Helper()
		if _, err := fmt.Fprintln(conn, command); err != nil {
			l.Fatal(err)
		}
		for answers.Scan() {
			var a struct {
				Return json.RawMessage
				Error  json.RawMessage
			}
			if err := json.Unmarshal(answers.Bytes(), &a); err != nil || a.Error != nil {
				l.Fatalf("%s: %s", command, answers.Bytes())
			}
			if a.Return != nil { // else it greets, or tells of an event
				if err := json.Unmarshal(a.Return, into); err != nil {
					l.Fatal(err)
				}
				return
			}
		}
		l.Fatalf("%s: %v", command, answers.Err())
	}
	var none any
	ask(`{"execute": "qmp_capabilities"}`, &none)
	var blocks []struct {
		Device   string
		Inserted struct {
			Image struct {
				Size int64 `json:"virtual-size"`
			}
		}
	}
	ask(`{"execute": "query-block"}`, &blocks)
	for _, b := range blocks {
		if b.Device == drive {
			ask(fmt.Sprintf(`{"execute": "block_resize", "arguments": {"device": %q, "size": %d}}`, drive, b.Inserted.Image.Size+more), &none)
			return
		}
	}
	l.Fatalf("%s has no drive %s: %+v", machine, drive, blocks)
}
