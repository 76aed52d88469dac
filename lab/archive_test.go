package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
