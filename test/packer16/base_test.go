package packer16

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/test/debian"
)

//go:embed base.sh
var baseScript string

// basePackages are a small cloud image's.
var basePackages = []string{
	"apt", "debian-archive-keyring", "systemd-sysv", "dbus", "libpam-systemd", "udev", "iproute2", "linux-image-cloud-amd64",
	"initramfs-tools", "cloud-init", "cloud-guest-utils", "openssh-server", "sudo", "e2fsprogs", "fdisk", "netbase",
	"ca-certificates", "procps", "kmod", "tzdata", "qemu-guest-agent", "chrony", "systemd-resolved", "nftables",
}

// The archives as machines see them.
const port = "3142"

// baseDisk makes the disk that Packer begins with, and keeps it until something that it is made of changes.
func baseDisk(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var sources, guest []string
	for i, a := range archives(t) {
		sources = append(sources, fmt.Sprintf("deb %s %s main", a.url, a.suite))
		guest = append(guest, fmt.Sprintf("deb http://10.0.2.2:%s/%d %s main", port, i, a.suite))
	}
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat([]string{baseScript}, basePackages, sources, guest), "\n")))
	final := filepath.Join(cache, "pgbake", "test", "packer16", fmt.Sprintf("%x.raw", sum[:6]))
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		t.Fatal(err)
	}
	defer debian.Lock(t, final+".lock")()
	if _, err := os.Stat(final); err == nil {
		return final
	}
	work := final + ".new" // the lock's holder's: what is there is of somebody who was killed
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	for name, lines := range map[string][]string{"sources.list": sources, "sources.guest": guest} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script, err := filepath.Abs("base.sh")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	args := debian.Alone("sh", script, "sources.list", strings.Join(basePackages, ","), "disk.raw")
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = work
	if out, err := debian.Output(cmd); err != nil {
		t.Fatalf("base.sh: %v\n%s", err, out)
	}
	if err := os.Rename(filepath.Join(work, "disk.raw"), final); err != nil {
		t.Fatal(err)
	}
	t.Logf("the base took %.0f s", time.Since(began).Seconds())
	return final
}

// archive is one of Debian 12's.
type archive struct{ url, suite string }

// archives are those that this host's own apt uses.
func archives(t *testing.T) []archive {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []archive
	for _, uri := range slices.Compact(slices.Sorted(strings.FieldsSeq(string(out)))) {
		uri = strings.TrimSuffix(uri, "/")
		switch path.Base(uri) {
		case "debian":
			all = append(all, archive{uri, "bookworm"})
		case "debian-security":
			all = append(all, archive{uri, "bookworm-security"})
		}
	}
	if len(all) == 0 {
		t.Fatal("this host's apt knows no archive of Debian\n      hint: apt-get update")
	}
	return all
}

// serveArchives passes on, from the loopback of a network namespace, what is asked of the archives, and nothing else.
func serveArchives(t *testing.T, namespace string) {
	t.Helper()
	mux := http.NewServeMux()
	for i, a := range archives(t) {
		to, err := url.Parse(a.url)
		if err != nil {
			t.Fatal(err)
		}
		prefix := fmt.Sprintf("/%d", i)
		mux.Handle(prefix+"/", http.StripPrefix(prefix, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}))
	}
	listener, err := listenInside(namespace)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	t.Cleanup(func() { _ = server.Close() })
	go server.Serve(listener) //nolint:errcheck // until it is closed
}

// listenInside opens a port in a network namespace. It stays there, whoever serves it.
func listenInside(namespace string) (net.Listener, error) {
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and nobody else gets it
		fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err != nil {
			done <- result{nil, fmt.Errorf("enter %s: %w", namespace, err)}
			return
		}
		var l net.Listener
		l, err = net.Listen("tcp", "127.0.0.1:"+port)
		done <- result{l, err}
	}()
	r := <-done
	return r.l, r.err
}
