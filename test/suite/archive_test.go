package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// An archive that says something else each time is still behind the proxy; what has failed is asked again.
func TestStill(t *testing.T) {
	asked := 0
	archive := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if asked == 1 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Last-Modified", time.Unix(int64(asked), 0).UTC().Format(http.TimeFormat))
		fmt.Fprintf(w, "%s, answer %d", r.URL.Path, asked)
	}))
	defer archive.Close()
	env, stop, err := newStill().serve()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	address, found := strings.CutPrefix(strings.Join(env, "\n"), "http_proxy=")
	proxy, err := url.Parse(address)
	if !found || err != nil {
		t.Fatalf("the environment is %q: %v", env, err)
	}
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for _, c := range []struct{ path, since, want string }{
		{path: "/debian/dists/bookworm/InRelease", want: "503 Service Unavailable: not now\n"},
		{path: "/debian/dists/bookworm/InRelease", want: "200 OK: /debian/dists/bookworm/InRelease, answer 2"},
		{path: "/debian/dists/bookworm/InRelease", want: "200 OK: /debian/dists/bookworm/InRelease, answer 2"},
		{path: "/debian/dists/bookworm/InRelease", since: time.Unix(2, 0).UTC().Format(http.TimeFormat), want: "304 Not Modified: "},
		{path: "/debian/dists/bookworm/main/by-hash/SHA256/12", want: "200 OK: /debian/dists/bookworm/main/by-hash/SHA256/12, answer 3"},
		{path: "/debian/dists/trixie/InRelease", want: "200 OK: /debian/dists/trixie/InRelease, answer 4"},
		{path: "/debian/pool/main/a/a.deb", want: "200 OK: /debian/pool/main/a/a.deb, answer 5"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, archive.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.since != "" {
			req.Header.Set("If-Modified-Since", c.since)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := fmt.Sprintf("%s: %s", res.Status, body); got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}
