package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

// still is a proxy that says of an archive of Debian what it said the first time: a security update in the middle of a run
// would tell apart two machines that are made of the same packages. It holds the lists' signed heads; what they name by its
// hash, lists and packages, it passes on. What is fetched by https passes it by.
type still struct {
	transport http.RoundTripper
	pass      *httputil.ReverseProxy

	mu   sync.Mutex
	said map[string]answer
}

// answer is what an archive said.
type answer struct {
	body []byte
	// changed is when the archive changed it last; zero when it does not say.
	changed time.Time
}

func newStill() *still {
	transport := http.DefaultTransport.(*http.Transport).Clone() // it is one, by net/http's documentation
	transport.DisableCompression = true
	return &still{
		transport: transport,
		pass:      &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host }},
		said:      map[string]answer{},
	}
}

// serve returns what a line needs in its environment to go by the proxy, which serves until stop is called.
func (s *still) serve() (env []string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go server.Serve(l) //nolint:errcheck // until it is closed
	return []string{"http_proxy=http://" + l.Addr().String()}, func() { _ = server.Close() }, nil
}

func (s *still) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !r.URL.IsAbs() {
		http.Error(w, "this is a proxy", http.StatusBadRequest)
		return
	}
	_, head, found := strings.Cut(r.URL.Path, "/dists/")
	if r.Method != http.MethodGet || !found || strings.Contains(head, "/by-hash/") {
		s.pass.ServeHTTP(w, r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	uri := r.URL.String()
	a, ok := s.said[uri]
	if !ok {
		status, err := s.ask(r, &a)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		if status != http.StatusOK {
			http.Error(w, strings.TrimSpace(string(a.body)), status)
			return
		}
		s.said[uri] = a
	}
	http.ServeContent(w, r, "", a.changed, bytes.NewReader(a.body))
}

// ask asks the archive, for the whole.
func (s *still) ask(r *http.Request, a *answer) (status int, err error) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.URL.String(), nil)
	if err != nil {
		return 0, err
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close() //nolint:errcheck // only read
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return 0, err
	}
	if t, err := http.ParseTime(res.Header.Get("Last-Modified")); err == nil {
		a.changed = t
	}
	return res.StatusCode, nil
}
