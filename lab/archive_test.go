package lab

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgbake/pgbake/internal/run"
)

func TestSourcesFollowTheHost(t *testing.T) {
	for name, tc := range map[string]struct {
		targets string
		want    []string
	}{
		"another release of the same archive": {
			`http://mirror.example/debian/ bookworm main Debian
http://mirror.example/debian/ bookworm contrib Debian
http://mirror.example/debian/ bookworm-updates main Debian
http://mirror.example/security/ bookworm-security main Debian
`,
			[]string{
				"deb http://mirror.example/debian/ trixie main",
				"deb http://mirror.example/debian/ trixie-updates main",
				"deb http://mirror.example/security/ trixie-security main",
			},
		},
		"others that call their suite as Debian does": {
			`https://packages.example/apt bookworm main Grafana
http://mirror.example/debian/ bookworm main Debian
http://back.example/debian bookworm-backports main Debian
`,
			[]string{"deb http://mirror.example/debian/ trixie main", "deb http://mirror.example/debian/ trixie-updates main"},
		},
		"before the first apt-get update": {
			`https://packages.example/apt bookworm main
http://mirror.example/debian/ bookworm main
`,
			[]string{"deb http://mirror.example/debian/ trixie main", "deb http://mirror.example/debian/ trixie-updates main"},
		},
		"by the name that moves": {
			"http://mirror.example/debian stable main Debian\n",
			[]string{"deb http://mirror.example/debian trixie main", "deb http://mirror.example/debian trixie-updates main"},
		},
		"another distribution": {"http://archive.example/ubuntu noble main Ubuntu\n", nil},
		"a directory":          {"file:/srv/debian/ bookworm main Debian\n", nil},
		"nothing":              {"", nil},
	} {
		if diff := cmp.Diff(tc.want, sourcesFrom(tc.targets, "trixie")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Where PGDG is, only Debian's own script knows; a mirror is a source of ours.
func TestAddArchive(t *testing.T) {
	for name, tc := range map[string]struct {
		archive       archive
		lines, source string
	}{
		"Debian": {archive{}, "apt-get update\n", ""},
		"PGDG": {
			archive{Suite: "bookworm-pgdg"},
			"apt-get update\napt-get install postgresql-common\n" + pgdgScript + " -y\napt-get update\n", "",
		},
		"a mirror": {
			archive{URL: "http://mirror.example.org/pgdg", Suite: "bookworm-pgdg", Key: "key"},
			"apt-get update\n",
			"Types: deb\nURIs: http://mirror.example.org/pgdg\nSuites: bookworm-pgdg\nComponents: main\nSigned-By: /etc/apt/keyrings/pgbake.asc\n",
		},
	} {
		var lines bytes.Buffer
		s := site{overlay: overlay{Dir: t.TempDir()}, run: run.Recorder{W: &lines}}
		if err := s.addArchive(t.Context(), tc.archive); err != nil {
			t.Fatal(err)
		}
		// What starts a program in the root, and how apt is quieted, is the same each time.
		got := regexp.MustCompile(`(?m)^.* DEBIAN_FRONTEND=noninteractive | -\S+=\S+| --(yes|quiet|no-install-recommends)\b`).ReplaceAllString(lines.String(), "")
		if diff := cmp.Diff(tc.lines, got); diff != "" {
			t.Errorf("%s runs (-want +got):\n%s", name, diff)
		}
		source, _ := os.ReadFile(filepath.Join(s.root(), mirrorSource)) // none is empty
		if diff := cmp.Diff(tc.source, string(source)); diff != "" {
			t.Errorf("%s as a source (-want +got):\n%s", name, diff)
		}
	}
}
