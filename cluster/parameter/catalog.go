package parameter

import (
	"cmp"
	"embed"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// What take.sh and take-patroni.py took from the real programs.
//
//go:embed servers debian patroni
var taken embed.FS

// setting is a parameter as pg_settings has it.
type setting struct {
	name string
	// kind is bool, integer, real, enum or string.
	kind, unit string
	min, max   float64
	words      []string
}

// server is one major version of PostgreSQL.
type server struct {
	version int
	// settings by their names in small letters.
	settings  map[string]setting
	libraries []string
	encodings []string
}

// versions are the servers that were asked, the oldest first.
var versions = []int{15, 16, 17, 18}

var servers = sync.OnceValue(func() map[int]*server {
	all := map[int]*server{}
	for _, v := range versions {
		s := &server{version: v, settings: map[string]setting{}}
		for _, f := range rows(fmt.Sprintf("servers/%d.tsv", v)) {
			switch f[0] {
			case "setting":
				s.settings[strings.ToLower(f[1])] = parse(f[1], f[2], f[3], f[4], f[5], f[6])
			case "library":
				s.libraries = append(s.libraries, f[1])
			case "encoding":
				s.encodings = append(s.encodings, f[1])
			}
		}
		all[v] = s
	}
	return all
})

// debians are what each release has: zone and language, by what kind of name they are.
var debians = sync.OnceValue(func() map[int]map[string][]string {
	all := map[int]map[string][]string{}
	for _, release := range []int{12, 13} {
		all[release] = map[string][]string{}
		for _, f := range rows(fmt.Sprintf("debian/%d.tsv", release)) {
			all[release][f[0]] = append(all[release][f[0]], f[1])
		}
	}
	return all
})

// known is what a Patroni takes for a parameter, from one version of PostgreSQL until before another; 0 is no end.
type known struct {
	setting
	from, till int
}

// byPatroni are the parameters that each version of Patroni knows, by their names in small letters.
var byPatroni = sync.OnceValue(func() map[string]map[string][]known {
	all := map[string]map[string][]known{}
	for _, version := range []string{"3.0.2", "4.0.7"} {
		all[version] = map[string][]known{}
		for _, f := range rows("patroni/" + version + ".tsv") {
			k := known{setting: parse(f[0], f[1], f[4], f[5], f[6], f[7])}
			k.from, _ = strconv.Atoi(f[2])
			k.till, _ = strconv.Atoi(f[3])
			name := strings.ToLower(f[0])
			all[version][name] = append(all[version][name], k)
		}
	}
	return all
})

// rows are a file's lines, each cut at its tabs.
func rows(file string) (all [][]string) {
	body, err := taken.ReadFile(file)
	if err != nil {
		panic(err) // it is part of the program
	}
	for line := range strings.Lines(string(body)) {
		all = append(all, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return all
}

func parse(name, kind, unit, least, most, words string) setting {
	s := setting{name: name, kind: kind, unit: unit, min: math.Inf(-1), max: math.Inf(1)}
	if n, err := strconv.ParseFloat(least, 64); err == nil {
		s.min = n
	}
	if n, err := strconv.ParseFloat(most, 64); err == nil {
		s.max = n
	}
	if words != "" {
		s.words = strings.Split(words, "|")
	}
	return s
}

// knownTo is what Patroni has for the parameter of this PostgreSQL.
func knownTo(patroni, name string, postgres int) (known, bool) {
	all := byPatroni()[patroni][strings.ToLower(name)]
	i := slices.IndexFunc(all, func(k known) bool {
		return k.from <= postgres*10000 && (k.till == 0 || postgres*10000 < k.till)
	})
	if i < 0 {
		return known{}, false
	}
	return all[i], true
}

// names are the server's parameters, those of libraries left out.
func (s *server) names() (all []string) {
	for name := range s.settings {
		if !strings.Contains(name, ".") {
			all = append(all, name)
		}
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}
