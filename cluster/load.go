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
// There are two gates, spelling and types, then meaning, and every complaint of both is told at once. The second is silent about
// what the first has refused: that would be an echo.
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
	problems := src.decode(root, c)
	if !src.refused.gaveUp {
		c.complete()
		problems = validate(c, src, problems, rules)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// decode lays the tree over the struct that target points to. What it refuses it leaves as it was there, and marks in s.
func (s *source) decode(root *yaml.Node, target any) Problems {
	var problems Problems
	d := decoder{src: s, problems: &problems, open: map[*yaml.Node]bool{}}
	d.value("", root, reflect.ValueOf(target).Elem())
	return problems
}
