package adopt

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Setting is one parameter of PostgreSQL as a configuration file sets it.
type Setting struct {
	Value string
	// Place is "file:line".
	Place string
}

// Settings are parameters by name, in small letters.
type Settings map[string]Setting

// mostNested is PostgreSQL's own limit of files that include files.
const mostNested = 10

// ReadConf reads a postgresql.conf and what it includes as PostgreSQL did when they were in use: what stands last counts.
// at says where a file or directory is now.
func ReadConf(path string, at func(path string) string) (Settings, error) {
	r := confReader{at: at, settings: Settings{}}
	return r.settings, r.file(path, 0)
}

type confReader struct {
	at       func(string) string
	settings Settings
}

func (r confReader) file(path string, depth int) error {
	if depth > mostNested {
		return fmt.Errorf("read %s: files that include files, more than %d deep", path, mostNested)
	}
	body, err := os.ReadFile(r.at(path))
	if err != nil {
		return err
	}
	n := 0
	for line := range strings.Lines(string(body)) {
		n++
		name, value, err := parseLine(line)
		if err != nil {
			return fmt.Errorf("read %s:%d: %w", path, n, err)
		}
		switch name {
		case "":
		case "include", "include_if_exists", "include_dir":
			if err := r.include(name, resolve(path, value), depth+1); err != nil {
				return fmt.Errorf("%s:%d: %w", path, n, err)
			}
		default:
			r.settings[name] = Setting{Value: value, Place: fmt.Sprintf("%s:%d", path, n)}
		}
	}
	return nil
}

// resolve makes a path absolute, from the file that names it.
func resolve(from, to string) string {
	if filepath.IsAbs(to) {
		return to
	}
	return filepath.Join(filepath.Dir(from), to)
}

func (r confReader) include(how, path string, depth int) error {
	if how != "include_dir" {
		err := r.file(path, depth)
		if how == "include_if_exists" && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	entries, err := os.ReadDir(r.at(path)) // sorted by name, as PostgreSQL reads them
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		if err := r.file(filepath.Join(path, e.Name()), depth); err != nil {
			return err
		}
	}
	return nil
}

// Over lays later settings over these.
func (s Settings) Over(later Settings) Settings {
	all := maps.Clone(s)
	maps.Copy(all, later)
	return all
}

// Get is a parameter's value, or otherwise where none is set.
func (s Settings) Get(name, otherwise string) string {
	if v, ok := s[name]; ok {
		return v.Value
	}
	return otherwise
}

// confLine is guc-file.l of PostgreSQL: a name, an equals sign or none, and a value with quotes or without.
var confLine = regexp.MustCompile(`^\s*([A-Za-z_\x80-\xff][\w.$\x80-\xff]*)(?:\s*=\s*|\s+)('(?:[^'\\\n]|\\.|'')*'|[^\s'#=][^\s'#]*)\s*(?:#.*)?$`)

// parseLine returns an empty name for a line that sets nothing.
func parseLine(line string) (name, value string, err error) {
	line = strings.TrimRight(line, "\r\n")
	if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
		return "", "", nil
	}
	m := confLine.FindStringSubmatch(line)
	if m == nil {
		return "", "", errors.New("PostgreSQL would not understand this line")
	}
	value = m[2]
	if value[0] == '\'' {
		value = unquote(value[1 : len(value)-1])
	}
	return strings.ToLower(m[1]), value, nil
}

// unquote reads the inside of a quoted value: two quotes are one, and a backslash does what it does in C.
func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			i++ // the second of two
			b.WriteByte('\'')
		case s[i] == '\\' && i+1 < len(s):
			i++
			if at := strings.IndexByte("bfnrt", s[i]); at >= 0 {
				b.WriteByte("\b\f\n\r\t"[at])
				continue
			}
			octal, n := 0, 0
			for ; n < 3 && i+n < len(s) && s[i+n] >= '0' && s[i+n] <= '7'; n++ {
				octal = octal<<3 + int(s[i+n]-'0')
			}
			if n == 0 {
				b.WriteByte(s[i])
				continue
			}
			b.WriteByte(byte(octal))
			i += n - 1
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
