package agent

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A stolen machine answers with the address of another: nobody goes there.
func TestStraight(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
	}))
	defer elsewhere.Close()
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		stolen := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/config", code))
		_, err := straight(time.Minute, http.DefaultTransport).Get(stolen.URL) //nolint:bodyclose // there is none
		if err == nil || !strings.Contains(err.Error(), "it leads on to "+strings.TrimPrefix(elsewhere.URL, "http://")) {
			t.Errorf("%d: %v", code, err)
		}
		stolen.Close()
	}
}

// Every client of the agent is one of those.
func TestEveryClientIsStraight(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		made := strings.Count(string(body), "http.Client{")
		if name == "api.go" {
			made--
		}
		if !strings.HasSuffix(name, "_test.go") && (made != 0 || strings.Contains(string(body), "http.DefaultClient")) {
			t.Errorf("%s makes a client of its own", name)
		}
	}
}
