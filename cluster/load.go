package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Load reads a specification, for who writes it. The error is Problems when the file can be read and is wrong.
func Load(path string) (*Cluster, error) {
	data, err := readAll(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// LoadTaken reads the specification that a machine has taken. What is judged for who writes it alone (operators) is not
// judged again: a newer pgha would refuse what has worked for years.
func LoadTaken(path string) (*Cluster, error) {
	data, err := readAll(path)
	if err != nil {
		return nil, err
	}
	return ParseTaken(path, data)
}

func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: no such file (pgbake init writes one)", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}

// Parse makes a Cluster of a specification's bytes; name stands in the complaints.
//
// There are two gates: first spelling and types, then meaning. Each tells everything it finds, but meaning
// is looked for only in what is well written: half of what it would say otherwise were echoes.
func Parse(name string, data []byte) (*Cluster, error) {
	return parseBy(append(slices.Clone(rules), operators...), name, data)
}

// ParseTaken is Parse for a machine, as LoadTaken is Load.
func ParseTaken(name string, data []byte) (*Cluster, error) { return parseBy(rules, name, data) }

func parseBy(rules []rule, name string, data []byte) (*Cluster, error) {
	src, root, err := read(name, data, false)
	if err != nil {
		return nil, err
	}
	c := defaults()
	if err := src.decode(root, c); err != nil {
		return nil, err
	}
	c.complete()
	if err := validate(c, src, rules); err != nil {
		return nil, err
	}
	return c, nil
}

// decode lays the tree over the struct that target points to.
func (s *source) decode(root *yaml.Node, target any) error {
	var problems Problems
	d := decoder{src: s, problems: &problems, open: map[*yaml.Node]bool{}}
	d.value("", root, reflect.ValueOf(target).Elem())
	return problems.err()
}
