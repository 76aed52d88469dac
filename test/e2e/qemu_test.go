package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Virtual machines may be translated, each by the tenth of a processor. What they are waited for is long, what they do
// is much: they are booted once.
const virtualTime = 6 * time.Minute

// virtual is the specification of a cluster of so many members in QEMU. Translated machines cannot keep the shorter timers.
func virtual(scope string, members int) string {
	spec := "scope: " + scope + "\nnetwork: 10.42.0.0/24\ndebian: 12\nfailover: safe\nnodes:\n"
	for n := 1; n <= members; n++ {
		spec += fmt.Sprintf("  - {name: db%d, address: 10.42.0.1%[1]d}\n", n)
	}
	return spec + `proxies:
  - {name: proxy1, address: 10.42.0.21}
storage:
  data_disk: /dev/vdc
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
`
}

// The manual's set-up in QEMU, from images and ISO seeds: kernels and disks of their own.
func TestQEMU(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	l := up(t, virtual("virtual", 3), "--kind", "qemu")
	l.healthy(virtualTime)
	t.Run("data disk", l.dataDisk)
	t.Run("cable", l.cable)
	// Its clock stands still, too, unlike that of a container.
	l.hangs(hang{name: "paused", stops: []string{"freeze"}, goesOn: []string{"thaw"}, lasts: 3 * time.Minute, whole: virtualTime}.ledByEtcd())
}

// needQEMU leaves out what translated machines compute for long: each of them wants a processor for minutes, beside which the other
// tests cannot keep their timers. An image is booted in every run: TestImageIsBooted.
func needQEMU(t *testing.T) {
	t.Helper()
	if os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: translated machines take a processor or two for minutes")
	}
}

// One member and its proxy: what needs a kernel, a disk and a watchdog of its own, and no failover.
func TestQEMULone(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	l := up(t, virtual("virtual-lone", 1), "--kind", "qemu")
	l.healthy(virtualTime)
	t.Run("programs", l.virtualPrograms)
	t.Run("data disk is noted", l.notedDisk)
	t.Run("forward", l.forward)
	t.Run("watchdog", l.watchdog)
	t.Run("larger disks", l.largerDisks)
	t.Run("foreign disk", l.foreignDisk)
	t.Run("shutdown", l.shutdown)
}

// virtualPrograms: what a program on a machine says and returns is what the user gets, with a terminal and without.
func (l *lab) virtualPrograms(t *testing.T) {
	l = l.on(t)
	if out, code := l.exec("db1", "sh", "-c", `echo "$1"; exit 7`, "sh", `it's "quoted" $HOME`); code != 7 || !strings.HasPrefix(out, `it's "quoted" $HOME`) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	// script(1) gives pgbake a terminal, as a person has one.
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command",
		fmt.Sprintf("stty rows 40 cols 100; %s -f %s lab exec db1 -- sh -c 'tty; stty size; exit 3'", bin, l.spec), "/dev/null")
	out, _ := cmd.CombinedOutput() // the exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(string(out), "/dev/pts/") || !strings.Contains(string(out), "40 100") {
		t.Errorf("on a terminal: exit code %d\n%s", code, out)
	}
	if out := l.pgbake("lab", "logs", "proxy1"); !strings.Contains(out, "Linux version") || !strings.Contains(out, "haproxy") {
		t.Errorf("the logs have no kernel or no service:\n%.2000s", out)
	}
}

// dataDisk: the second disk was blank, and the database is on it.
func (l *lab) dataDisk(t *testing.T) {
	l = l.on(t)
	for _, m := range members {
		out, code := l.exec(m, "findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,LABEL", "--target", "/var/lib/postgresql/15/main/PG_VERSION")
		if got := strings.Join(strings.Fields(out), " "); code != 0 || got != "/dev/vdc ext4 pgha-data" {
			t.Errorf("%s has its database on %q", m, got)
		}
	}
}

// notedDisk: the disk was noted when it was mounted, its unit goes by its UUID, and before each mount pgha looks at it.
func (l *lab) notedDisk(t *testing.T) {
	l = l.on(t)
	uuid, code := l.exec("db1", "findmnt", "--noheadings", "--output", "UUID", "/var/lib/postgresql")
	uuid = strings.TrimSpace(uuid)
	if note, _ := l.exec("db1", "cat", "/var/lib/pgha/data-disk.json"); code != 0 || uuid == "" || !strings.Contains(note, uuid) {
		t.Errorf("%q is mounted, and noted is %s", uuid, note)
	}
	if what, _ := l.exec("db1", "systemctl", "show", "--property", "What,NeedDaemonReload", "var-lib-postgresql.mount"); !strings.Contains(what, "NeedDaemonReload=no") {
		t.Error(what)
	}
	if unit, _ := l.exec("db1", "systemctl", "cat", "var-lib-postgresql.mount"); !strings.Contains(unit, "What=/dev/disk/by-uuid/"+uuid+"\n") {
		t.Error(unit)
	}
	if out, code := l.exec("db1", "pgha", "diff"); code != 0 {
		t.Errorf("pgha diff: %s", out)
	}
	if out, code := l.exec("db1", "systemctl", "start", "pgha-data-disk.service"); code != 0 {
		t.Errorf("its own disk: %s", out)
	}
}

// forward opens the ports on this host; the certificate is still looked at.
func (l *lab) forward(t *testing.T) {
	l = l.on(t)
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "-f", l.spec, "lab", "forward")
	talk, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	for lines := bufio.NewScanner(talk); !strings.Contains(said, ":7000 leads") && lines.Scan(); {
		said += lines.Text() + "\n"
	}
	psql := exec.CommandContext(t.Context(), "psql", "-XAtc", "SELECT 'by the loopback'",
		fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=5000 dbname=app user=app sslmode=verify-full sslrootcert=%s", l.entry(), filepath.Join(filepath.Dir(l.spec), "secrets", "ca.crt")))
	psql.Env = append(os.Environ(), "PGPASSWORD="+l.password("app"))
	if out, err := psql.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "by the loopback" {
		t.Errorf("%v: %s\n%s", err, out, said)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // Ctrl-C is how it ends
}

// cable: a machine whose cable is pulled still tells what it thinks.
func (l *lab) cable(t *testing.T) {
	l = l.on(t)
	victim := l.healthy(virtualTime).replicas()[0]
	l.pgbake("lab", "fault", "link-cut", victim)
	if out, code := l.exec(victim, "cat", "/sys/class/net/"+l.card(victim)+"/carrier"); code != 0 || strings.TrimSpace(out) != "0" {
		t.Errorf("with its cable pulled: exit code %d: %s", code, out)
	}
	l.pgbake("lab", "fault", "link-restore", victim)
	l.healthy(virtualTime)
}

// card is the name of a machine's network card.
func (l *lab) card(machine string) string {
	l.Helper()
	out, code := l.exec(machine, "sh", "-c", "ls -d /sys/class/net/e*")
	if code != 0 {
		l.Fatal(out)
	}
	return filepath.Base(strings.TrimSpace(out))
}

// watchdog: a Patroni that hangs while it leads is reset with its machine, and nothing that was acknowledged is lost.
func (l *lab) watchdog(t *testing.T) {
	l = l.on(t)
	const victim = "db1"
	boot := func() string {
		out, _ := l.try(t.Context(), "lab", "exec", victim, "--", "cat", "/proc/sys/kernel/random/boot_id") // it may be on its way
		return strings.TrimSpace(out)
	}
	first := boot()
	stop, file := l.write()
	hung := time.Now()
	if out, code := l.exec(victim, "pkill", "--signal", "STOP", "--exact", "patroni"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	l.eventually("a new boot of "+victim, virtualTime, func() bool { now := boot(); return now != "" && now != first })
	t.Logf("booted again %.0f s after Patroni hung", time.Since(hung).Seconds())
	l.healthy(virtualTime)
	stop()
	l.keptAll(l.account(file))
}

// foreignDisk: another machine's data disk, in the place of this one's, is neither mounted nor written to, whatever its label.
func (l *lab) foreignDisk(t *testing.T) {
	l = l.on(t)
	const victim = "db1"
	l.pgbake("lab", "fault", "power-cut", victim)
	own := filepath.Join("/var/lib/pgbake/lab", l.scope, victim, "data.qcow2")
	raw, foreign := filepath.Join(t.TempDir(), "foreign.raw"), filepath.Join(t.TempDir(), "foreign.qcow2")
	host := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	host("truncate", "--size=64M", raw)
	host("mkfs.ext4", "-q", "-L", "pgha-data", raw)
	host("qemu-img", "convert", "-O", "qcow2", raw, foreign)
	host("cp", foreign, own)
	l.pgbake("lab", "fault", "power-on", victim)
	l.eventually("a refusal", virtualTime, func() bool {
		out, _ := l.try(t.Context(), "lab", "status") // its exit code is 3
		return strings.Contains(out, "/dev/vdc has the label pgha-data, and is another disk: its UUID is ")
	})
	if out, _ := l.exec(victim, "findmnt", "--noheadings", "/var/lib/postgresql"); out != "" {
		t.Errorf("mounted all the same: %s", out)
	}
	l.pgbake("lab", "fault", "power-cut", victim)
	host("qemu-img", "compare", "--force-share", foreign, own) // the killed QEMU may still hold its lock
}

func (l *lab) shutdown(t *testing.T) {
	l = l.on(t)
	l.pgbake("lab", "fault", "shutdown", "proxy1")
	if s, err := l.status(); err != nil || s.Healthy {
		t.Errorf("without its proxy: %v, %+v", err, s)
	}
}

// trial is `pgbake image --test` of a proxy's image.
type trial struct {
	*testing.T
	// args are the command's. All that it starts has mark in its environment.
	args []string
	mark string
}

func newTrial(t *testing.T) trial {
	t.Helper()
	spec := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(spec, []byte(example(t, "quickstart.yaml")+"debian: 12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return trial{t, []string{"-f", spec, "-o", dir, "image", "--role", "proxy", "--test"}, "PGBAKE_TEST_IMAGE=" + dir}
}

// nothingRuns complains about a program that the trial has left.
func (r trial) nothingRuns() {
	r.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range environments {
		if body, err := os.ReadFile(name); err == nil && strings.Contains(string(body), r.mark) {
			r.Errorf("still running: %s", name)
		}
	}
}

// An image is booted before anybody trusts it: TestQEMUImage sees it to its end. One that takes too long says what it showed last,
// and Ctrl-C ends it all.
func TestImageIsBooted(t *testing.T) {
	beside(t)
	r := newTrial(t)
	_, talk, err := pgbakeWith(t.Context(), []string{r.mark}, "", append(r.args, "--test-timeout", "4s")...)
	if err == nil || !strings.Contains(talk, "gave up after 4s") || !strings.Contains(talk, "its console said") {
		t.Fatalf("after four seconds: %v\n%s", err, talk)
	}
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	// Translated, and beside four clusters: a guard against what hangs.
	cmd := exec.CommandContext(t.Context(), bin, append(r.args, "--test-timeout", "25m")...)
	cmd.Env = append(os.Environ(), r.mark)
	var said strings.Builder
	cmd.Stderr = &said
	found, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := []string{"login prompt", "pgha is done but for a primary", "active: haproxy, ssh", "HAProxy takes connections at port 5000"}
	for lines := bufio.NewScanner(found); lines.Scan(); {
		if len(want) > 0 && strings.Contains(lines.Text(), " by BIOS: "+want[0]) {
			want = want[1:]
			if len(want) == 0 {
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Error(err)
				}
			}
		}
	}
	_ = cmd.Wait() // its exit code is looked at
	if code := cmd.ProcessState.ExitCode(); len(want) > 0 || code != 1 || !strings.Contains(said.String(), "stopped by SIGINT") {
		t.Errorf("not seen: %q, exit code %d\n%s", want, code, &said)
	}
	r.nothingRuns()
}

// A proxy's image by each firmware, to the end of its trial: four boots, for which a translated machine computes for three minutes.
func TestQEMUImage(t *testing.T) {
	needMachines(t)
	needQEMU(t)
	r := newTrial(t)
	out, talk, err := pgbakeWith(t.Context(), []string{r.mark}, "", append(r.args, "--test-timeout", "25m")...)
	if err != nil {
		t.Fatal(err, out, talk)
	}
	for _, firmware := range []string{"BIOS", "UEFI"} {
		for _, want := range []string{
			"login prompt", "pgha is done but for a primary", "active: haproxy, ssh", "HAProxy takes connections at port 5000",
			"root grown to", "ssh takes keys only", "no failed unit", "boots again after a reset",
		} {
			if !strings.Contains(out, " by "+firmware+": "+want) {
				t.Errorf("by %s: no %q in\n%s", firmware, want, out)
			}
		}
	}
	r.nothingRuns()
}

// BenchmarkQEMU boots an image to its login prompt, and a whole cluster, with whatever this host has for a processor.
func BenchmarkQEMU(b *testing.B) {
	needMachines(b)
	body, err := os.ReadFile("../../examples/quickstart.yaml")
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	file := filepath.Join(dir, "cluster.yaml")
	if err := os.WriteFile(file, append(body, "debian: 12\n"...), 0o600); err != nil {
		b.Fatal(err)
	}
	login := regexp.MustCompile(`(BIOS|UEFI): login prompt \(([0-9]+) s\)`)
	b.Run("image", func(b *testing.B) {
		seen := map[string][]float64{}
		for b.Loop() {
			out, talk, err := pgbake(b.Context(), file, "-o", dir, "image", "--role", "db", "--format", "raw", "--test")
			if err != nil {
				b.Fatal(err, talk)
			}
			for _, m := range login.FindAllStringSubmatch(out, -1) {
				seen[m[1]] = append(seen[m[1]], seconds(b, m[2]))
			}
		}
		b.ReportMetric(0, "ns/op")
		for firmware, all := range seen {
			b.ReportMetric(median(all), "s-login-"+firmware)
			b.Logf("%s: %v", firmware, all)
		}
	})
	b.Run("cluster", func(b *testing.B) {
		var wrote, healthy []float64
		for b.Loop() {
			_, talk, err := pgbake(b.Context(), file, "lab", "up", "--kind", "qemu")
			m := bootFigures.FindStringSubmatch(talk)
			if err != nil || m == nil {
				b.Fatal(err, talk)
			}
			wrote, healthy = append(wrote, seconds(b, m[1])), append(healthy, seconds(b, m[2]))
			if _, talk, err := pgbake(context.Background(), file, "lab", "down"); err != nil {
				b.Fatal(err, talk)
			}
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(median(wrote), "s-first-write")
		b.ReportMetric(median(healthy), "s-healthy")
		b.Logf("first write %v, healthy %v", wrote, healthy)
	})
}
