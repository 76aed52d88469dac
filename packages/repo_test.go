package packages

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// archive builds the packages into a repository and returns its directory and key.
func archive(t *testing.T) (string, *Key) {
	t.Helper()
	key, err := EnsureKey(filepath.Join(t.TempDir(), "secrets", "repository.key"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Repository(context.Background(), dir, mustBuild(t, options(t)), key, epoch); err != nil {
		t.Fatal(err)
	}
	return dir, key
}

// apt asks the host's apt, in directories of its own, what it makes of the repository.
func apt(t *testing.T, dir, keyFile string, args ...string) (string, error) {
	t.Helper()
	tool(t, "apt-get")
	root := t.TempDir()
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "etc/sources.list.d", "etc/trusted.gpg.d", "etc/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := fmt.Sprintf("deb [signed-by=%s arch=amd64] file:%s %s %s\n", keyFile, dir, Suite, Component)
	for name, body := range map[string]string{"etc/sources.list": source, "state/status": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf := []string{
		"-o", "Dir::Etc=" + root + "/etc", "-o", "Dir::State=" + root + "/state", "-o", "Dir::State::status=" + root + "/state/status",
		"-o", "Dir::Cache=" + root + "/cache", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64",
		"-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any",
	}
	out, err := exec.Command("apt-get", append(conf, "update")...).CombinedOutput()
	if err != nil || len(args) == 0 {
		return string(out), err
	}
	out, err = exec.Command(args[0], append(conf, args[1:]...)...).CombinedOutput()
	return string(out), err
}

func TestRepository(t *testing.T) {
	dir, _ := archive(t)
	out, err := apt(t, dir, filepath.Join(dir, KeyFile), "apt-cache", "policy", "pgha-common", "pgha-node", "pgha-proxy")
	if err != nil {
		t.Fatalf("apt: %v\n%s", err, out)
	}
	if n := strings.Count(out, "Candidate: 1.0.0"); n != len(Names) {
		t.Errorf("apt sees %d of the packages:\n%s", n, out)
	}
}

func TestRepositoryRefused(t *testing.T) {
	t.Run("another key", func(t *testing.T) {
		dir, _ := archive(t)
		other, err := EnsureKey(filepath.Join(t.TempDir(), "key"), epoch)
		if err != nil {
			t.Fatal(err)
		}
		public, err := other.Public()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "other.asc")
		if err := os.WriteFile(file, public, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := apt(t, dir, file); err == nil {
			t.Errorf("apt took a repository that another key signed:\n%s", out)
		}
	})
	t.Run("a changed index", func(t *testing.T) {
		dir, _ := archive(t)
		err := filepath.WalkDir(filepath.Join(dir, "dists"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.Contains(path, "binary-amd64") {
				return err
			}
			body := read(t, path)
			return os.WriteFile(path, append(body, '\n'), 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := apt(t, dir, filepath.Join(dir, KeyFile)); err == nil {
			t.Errorf("apt took a changed index:\n%s", out)
		}
	})
}

func TestRepositorySameBytes(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "key")
	debs := mustBuild(t, options(t))
	var dirs [2]string
	for i := range dirs {
		dirs[i] = t.TempDir()
		key, err := EnsureKey(keyFile, epoch.Add(time.Duration(i)*time.Hour)) // made, then read
		if err != nil {
			t.Fatal(err)
		}
		if err := Repository(context.Background(), dirs[i], debs, key, epoch); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := filepath.WalkDir(dirs[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		twin := filepath.Join(dirs[1], strings.TrimPrefix(path, dirs[0]))
		if !bytes.Equal(read(t, path), read(t, twin)) {
			t.Errorf("%s differs between two repositories", twin)
		}
		return nil
	})
	if err != nil || n != 3+12+4 { // packages; three indices of two architectures, each also by its hash; what vouches
		t.Errorf("%d files (%v)", n, err)
	}
}

func TestKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key, err := EnsureKey(file, epoch)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
	}
	if s := fmt.Sprintf("%v %+v %#v", key, key, key); strings.Contains(s, "PrivateKey") {
		t.Errorf("the key prints itself: %s", s)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureKey(file, epoch); err == nil || !strings.Contains(err.Error(), "others may read it") {
		t.Errorf("a key that others may read: %v", err)
	}
}

// TestOldTime: SOURCE_DATE_EPOCH may be older than the key; a signature may not.
func TestOldTime(t *testing.T) {
	tool(t, "gpgv")
	dir, key := archive(t)
	if err := Repository(context.Background(), dir, nil, key, epoch.AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if out, err := apt(t, dir, filepath.Join(dir, KeyFile)); err != nil {
		t.Errorf("apt: %v\n%s", err, out)
	}
}

func TestForeignPackage(t *testing.T) {
	key, err := EnsureKey(filepath.Join(t.TempDir(), "key"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "!<arch>\n", "!<arch>\ncontrol.tar.gz  0           0     0     100644  99999     `\n"} {
		file := filepath.Join(t.TempDir(), "x.deb")
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Repository(context.Background(), t.TempDir(), []string{file}, key, epoch)
		if err == nil || !strings.Contains(err.Error(), "not a Debian package") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestAFileThatCannotBePutIntoPlaceLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a.deb", "in the way"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, "a.deb", []byte("body")); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}
