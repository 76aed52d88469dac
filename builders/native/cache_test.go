package native

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func put(t *testing.T, name string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// What a build uses stays; what is asked for goes; all else is left alone.
func TestClear(t *testing.T) {
	cache := t.TempDir()
	layer, deb, lab := filepath.Join(cache, "layers/bookworm-base-1/fs/x"), filepath.Join(cache, "debs/1.deb"), filepath.Join(cache, "roots/x")
	put(t, layer)
	put(t, deb)
	put(t, lab)
	release, err := Use(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	if err := Clear(cache, Kinds); !errors.Is(err, ErrInUse) {
		t.Errorf("cleared while it is in use: %v", err)
	}
	release()
	kept, err := Keeps(cache)
	if err != nil || len(kept) != 2 || kept[0].Kind != "packages" || kept[1].Name != "bookworm-base-1" || kept[1].Bytes == 0 {
		t.Errorf("the cache keeps %+v, %v", kept, err)
	}
	for _, k := range Kinds {
		if k.Name == "layers" {
			if err := Clear(cache, []Kind{k}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, there := range map[string]bool{layer: false, deb: true, lab: true} {
		if _, err := os.Stat(name); (err == nil) != there {
			t.Errorf("%s is there: %v", name, !there)
		}
	}
	if left, err := os.ReadDir(filepath.Join(cache, "work")); err != nil || len(left) > 0 {
		t.Errorf("%d things are left in work (%v)", len(left), err)
	}
}

// What was used long ago goes, what is not known to age stays.
func TestAged(t *testing.T) {
	cache := t.TempDir()
	old := time.Now().Add(-agedTime - time.Hour)
	want := map[string]bool{"debs/old.deb": false, "debs/new.deb": true, "pgha/old/x.deb": false, "layers/old/time": true, "roots/old": true}
	for name := range want {
		put(t, filepath.Join(cache, name))
		if name != "debs/new.deb" {
			if err := errors.Join(os.Chtimes(filepath.Join(cache, name), old, old), os.Chtimes(filepath.Dir(filepath.Join(cache, name)), old, old)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := forgetAged(cache, time.Now().Add(-agedTime)); err != nil {
		t.Fatal(err)
	}
	for name, there := range want {
		if _, err := os.Stat(filepath.Join(cache, name)); (err == nil) != there {
			t.Errorf("%s is there: %v", name, !there)
		}
	}
}

// What a killed build left goes with the next one; what a living one holds stays.
func TestWork(t *testing.T) {
	cache := t.TempDir()
	put(t, filepath.Join(cache, "work/killed/layer/fs/x"))
	one, removeOne, err := Work(cache)
	if err != nil {
		t.Fatal(err)
	}
	two, removeTwo, err := Work(cache)
	if err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{filepath.Join(cache, "work/killed"): false, one: true, two: true} {
		if _, err := os.Stat(name); (err == nil) != there {
			t.Errorf("%s is there: %v", name, !there)
		}
	}
	if err := errors.Join(removeOne(), removeTwo()); err != nil {
		t.Fatal(err)
	}
}
