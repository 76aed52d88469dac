package native

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/step"
)

// store keeps .debs by their sha256. What lies under its name is whole: it is checked before it gets there, and
// again before it is used.
type store struct {
	run run.Runner
	dir string
	// work gets what is not whole yet, on the same file system.
	work     string
	progress seen
}

// connections is how many downloads run at a time; one is three times slower on a near mirror (images.md).
const connections = 8

func (s store) path(p Package) string { return filepath.Join(s.dir, p.SHA256+".deb") }

// fill fetches the packages that are missing. Whatever stopped it before, it goes on from there.
func (s store) fill(ctx context.Context, packages []Package, offline bool) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil { //nolint:gosec // packages are for everybody
		return err
	}
	missing, err := s.missing(ctx, packages)
	if err != nil || len(missing) == 0 {
		return err
	}
	if offline {
		return fmt.Errorf("fetch %s and %d more packages: --offline, and they are not in %s\n"+
			"      hint: run once without --offline", missing[0].Name, len(missing)-1, s.dir)
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	total, done := int64(0), atomic.Int64{}
	for _, p := range missing {
		total += p.Size
	}
	step.Note(ctx, "fetches %d packages, %d MB", len(missing), (total+999_999)/1_000_000)
	s.progress = func(n int) { step.Progress(ctx, done.Add(int64(n)), total) }
	return parallel(ctx, connections, missing, func(ctx context.Context, p Package) error {
		if err := s.fetch(ctx, client, p); err != nil {
			return fmt.Errorf("fetch %s %s: %w", p.Name, p.Version, err)
		}
		return nil
	})
}

// missing are the packages that are not there, or no longer what they were. Those are taken away.
func (s store) missing(ctx context.Context, packages []Package) ([]Package, error) {
	var mu sync.Mutex
	var missing []Package
	err := parallel(ctx, workers(), packages, func(_ context.Context, p Package) error {
		sum, err := sumFile(s.path(p))
		if err == nil && sum == p.SHA256 {
			touch(s.path(p))
			return nil
		}
		if err == nil {
			err = os.Remove(s.path(p))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		missing = append(missing, p)
		return nil
	})
	return missing, err
}

// client goes by the host's proxy: apt's when it has one, else the environment's.
func (s store) client(ctx context.Context) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone() // it is one, by net/http's documentation
	t.MaxIdleConnsPerHost = connections
	t.ResponseHeaderTimeout = 30 * time.Second
	for _, scheme := range []string{"http", "https"} {
		out, err := s.run.Output(ctx, run.Command("apt-config", "shell", "PROXY", "Acquire::"+scheme+"::Proxy"))
		if err != nil {
			return nil, err
		}
		value := strings.Trim(strings.TrimPrefix(strings.TrimSpace(string(out)), "PROXY="), "'\"")
		if value == "" || value == "DIRECT" {
			continue
		}
		proxy, err := url.Parse(value)
		if err != nil {
			return nil, fmt.Errorf("parse Acquire::%s::Proxy: %w", scheme, err)
		}
		env := t.Proxy
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == scheme {
				return proxy, nil
			}
			return env(r)
		}
	}
	return &http.Client{Transport: t}, nil
}

// attempts at one package; what answers with an error of its own is not asked again.
const attempts = 3

var errGone = errors.New("the archive no longer has this version\n      hint: pgbake lock takes today's")

func (s store) fetch(ctx context.Context, client *http.Client, p Package) error {
	var err error
	for range attempts {
		if err = s.once(ctx, client, p); err == nil || errors.Is(err, errGone) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (s store) once(ctx context.Context, client *http.Client, p Package) (err error) {
	body, err := open(ctx, client, p.URI)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read
	f, err := os.CreateTemp(s.work, "fetch-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone when all went well
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h, s.progress), io.LimitReader(body, p.Size+1))
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); n != p.Size || sum != p.SHA256 {
		return fmt.Errorf("got %d bytes with sha256 %s from %s, want %d with %s", n, sum, p.URI, p.Size, p.SHA256)
	}
	return os.Rename(f.Name(), s.path(p))
}

// seen is told how many bytes came by.
type seen func(n int)

func (s seen) Write(p []byte) (int, error) {
	s(len(p))
	return len(p), nil
}

func open(ctx context.Context, client *http.Client, uri string) (io.ReadCloser, error) {
	if name, ok := strings.CutPrefix(uri, "file:"); ok {
		name, err := url.PathUnescape(name)
		if err != nil {
			return nil, err
		}
		return os.Open(filepath.Clean(name)) // file:/x and file:///x alike
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res.Body, nil
	case http.StatusNotFound, http.StatusGone:
		err = errGone
	default:
		err = fmt.Errorf("%s answers %s", uri, res.Status)
	}
	return nil, errors.Join(err, res.Body.Close())
}

// parallel calls f for each item, some at a time; the first failure stops the rest.
func parallel[T any](ctx context.Context, n int, items []T, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	go func() {
		defer close(next)
		for _, i := range items {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var wg sync.WaitGroup
	for range min(n, len(items)) {
		wg.Go(func() {
			for i := range next {
				if err := f(ctx, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
