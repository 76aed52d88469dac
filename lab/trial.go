package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/step"
)

// Trial is one boot of an image as a lone machine, without a network, to see whether it comes up.
type Trial struct {
	// Image is a disk that QEMU reads; nothing is written to it.
	Image string
	// Seed is an ISO file to attach, or NAME.ign for QEMU's fw_cfg.
	Seed string
	// Machine is what the seed makes of it.
	Machine cluster.Machine
	// Cluster is the seed's.
	Cluster *cluster.Cluster
	// UEFI starts it so, else by BIOS.
	UEFI bool
}

// Try boots the image in the empty directory dir, and calls found with each thing that is as it should be. The first
// that is not is the error. The console's text is in console.log below dir. It needs no root, and the machine ends with it.
func (h Host) Try(ctx context.Context, dir string, t Trial, found func(what string)) (err error) {
	if err := need(virtualPrograms); err != nil {
		return err
	}
	m := &qemu{
		name: t.Machine.Name, label: "pgbake-trial", dir: dir, mac: hardwareAddress(t.Machine.Name), uefi: t.UEFI, leashed: true,
		run: h.Run, kvm: kvm{device: "/dev/kvm", verdict: filepath.Join(h.Cache, "kvm"), patience: kvmTime},
	}
	if err := m.make(ctx, t.Image, t.Seed); err != nil {
		return err
	}
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return err
	}
	defer func() {
		ending, cancel := limit(context.WithoutCancel(ctx), faultTime)
		defer cancel()
		if m.Alive() {
			err = errors.Join(err, m.Kill(ending))
		}
	}()
	noted := began
	for _, c := range t.checks() {
		what := ""
		err := every(ctx, askPause, "see "+c.name, func() (err error) {
			if !m.Alive() {
				return errors.New("the machine went off")
			}
			one, cancel := limit(ctx, enterTime)
			defer cancel()
			if what, err = c.look(one, m); err != nil && time.Since(noted) > noteTime {
				noted = time.Now()
				step.Note(ctx, "%s: %s", c.name, firstLine(err))
			}
			return err
		})
		if err != nil {
			return err
		}
		found(fmt.Sprintf("%s (%.0f s)", what, time.Since(began).Seconds()))
	}
	return nil
}

// noteTime is how often a person is told what is waited for: a console says something ten times a second.
const noteTime = 10 * time.Second

// check is one thing to see; it is looked at until it is as it should be, or time is up.
type check struct {
	name string
	look func(ctx context.Context, m *qemu) (what string, err error)
}

// checks are in the order in which a boot fulfils them.
func (t Trial) checks() []check {
	services := []string{"etcd", "patroni", "ssh", "chrony", "qemu-guest-agent", "pgha-firewall"}
	if t.Machine.Role == cluster.Proxy {
		services = append([]string{"haproxy"}, services[2:]...)
	}
	return []check{
		{"the login prompt", seeLogin},
		{"pgha at its end", t.seeApplied},
		{"its services", func(ctx context.Context, m *qemu) (string, error) {
			out, err := m.output(ctx, append([]string{"systemctl", "is-active"}, services...)...)
			if err != nil {
				return "", fmt.Errorf("of %s: %s", strings.Join(services, ", "), strings.ReplaceAll(out, "\n", ", "))
			}
			return "active: " + strings.Join(services, ", "), nil
		}},
		{"the database or the proxy answer", t.seeAnswer},
		{"the root grown to its disk", seeRoot},
		{"no password taken by ssh", seeKeysOnly},
		{"no failed unit", seeNoFailure},
		{"its kernel again after a reset", seeReset()},
	}
}

func seeLogin(_ context.Context, m *qemu) (string, error) {
	body, err := os.ReadFile(m.Console())
	if err != nil || !strings.Contains(string(body), m.name+" login:") {
		return "", errors.Join(err, errors.New(shown(m.Console())))
	}
	return "login prompt", nil
}

// seeApplied: a member is done; a proxy without members has all but a primary.
func (t Trial) seeApplied(ctx context.Context, m *qemu) (string, error) {
	body, err := m.ReadFile(ctx, cluster.StatusFile)
	if err != nil {
		return "", err
	}
	var s struct{ Step, Waiting, Error string }
	switch err := json.Unmarshal(body, &s); {
	case err != nil:
		return "", err
	case s.Error != "":
		return "", errors.New(s.Error)
	case s.Step == "done":
		return "pgha is done", nil
	case s.Step == "a primary" && t.Machine.Role == cluster.Proxy: // as it says while it waits for one
		return "pgha is done but for a primary", nil
	}
	return "", fmt.Errorf("step %s %s", s.Step, s.Waiting)
}

func (t Trial) seeAnswer(ctx context.Context, m *qemu) (string, error) {
	if t.Machine.Role == cluster.Proxy {
		port := strconv.Itoa(t.Cluster.Ports.ReadWrite)
		conn, err := m.Dial(ctx, "tcp", "127.0.0.1:"+port)
		if err != nil {
			return "", err
		}
		return "HAProxy takes connections at port " + port, conn.Close()
	}
	out, err := m.output(ctx, "env", "--chdir=/", "runuser", "-u", "postgres", "--", "psql", "-p", strconv.Itoa(t.Cluster.Ports.Postgres), "-XAtc", "SELECT pg_catalog.version() WHERE NOT pg_catalog.pg_is_in_recovery()")
	if err != nil || !strings.HasPrefix(out, "PostgreSQL ") {
		return "", errors.Join(fmt.Errorf("psql says %q", out), err)
	}
	return strings.Join(strings.Fields(out)[:2], " ") + " takes writes", nil
}

func seeRoot(ctx context.Context, m *qemu) (string, error) {
	out, err := m.output(ctx, "findmnt", "--bytes", "--noheadings", "--output", "SIZE", "/")
	if err != nil {
		return "", fmt.Errorf("%s: %w", out, err)
	}
	size, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil || size < 9<<30 { // of diskSize; a file system keeps some for itself
		return "", fmt.Errorf("the root has %s bytes of a disk of %s", out, diskSize)
	}
	return fmt.Sprintf("root grown to %.1f GB", float64(size)/1e9), nil
}

// methods are those that an ssh server offers whom it has just refused.
var methods = regexp.MustCompile(`Permission denied \(([^)]*)\)`)

func seeKeysOnly(ctx context.Context, m *qemu) (string, error) {
	// Nobody gets in without a key: that it fails is what is wanted.
	out, _ := m.output(ctx, "ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@127.0.0.1", "true")
	offered := methods.FindStringSubmatch(out)
	if offered == nil || offered[1] != "publickey" {
		return "", fmt.Errorf("ssh says %q", out)
	}
	return "ssh takes keys only", nil
}

func seeNoFailure(ctx context.Context, m *qemu) (string, error) {
	out, err := m.output(ctx, "systemctl", "--failed", "--plain", "--no-legend")
	if err != nil || out != "" {
		return "", errors.Join(fmt.Errorf("failed: %s", out), err)
	}
	return "no failed unit", nil
}

// seeReset: a machine whose power went starts again from the disk that it grew.
func seeReset() func(context.Context, *qemu) (string, error) {
	boots := -1
	return func(ctx context.Context, m *qemu) (string, error) {
		body, err := os.ReadFile(m.Console())
		if err != nil {
			return "", err
		}
		now := strings.Count(string(body), "] Linux version ")
		switch {
		case boots < 0:
			boots = now
			err = m.qmp(ctx, "system_reset", nil, nil)
		case now > boots:
			return "boots again after a reset", nil
		}
		return "", errors.Join(err, errors.New(shown(m.Console())))
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
