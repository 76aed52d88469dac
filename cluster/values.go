package cluster

import (
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Value is one key, or one item of a list, of a YAML file that is not a specification: Patroni's, etcd's.
type Value struct {
	// Parent is the path of what holds it ("bootstrap.dcs", empty at the top), Key its key there, or "[2]".
	Parent, Key string
	// Text is the value when it is one word; Single tells that it is, and not a list, more keys or nothing at all.
	Text   string
	Single bool
	// Line and Column are where the key stands, or the item; ValueLine and ValueColumn where the value does.
	Line, Column, ValueLine, ValueColumn int
}

// Path is the value's place in the tree: bootstrap.dcs.ttl, postgresql.pg_hba[0].
func (v Value) Path() string { return pathTo(v.Parent, v.Key) }

func pathTo(parent, key string) string {
	if parent == "" || key[:min(1, len(key))] == "[" {
		return parent + key
	}
	return parent + "." + key
}

// References make a small file a huge tree.
const (
	maxValues = 20_000
	maxDepth  = 64
)

// Values lists every key of a YAML file in the file's order. What is wrong with its text comes back as Problems.
func Values(name string, data []byte) ([]Value, error) {
	s, root, err := read(name, data, true) // may hold passwords: no line is quoted
	if err != nil {
		var problems Problems
		if errors.As(err, &problems) && problems[0].Line == 0 {
			problems[0].Hint = "" // of pgbake's own files
		}
		return nil, err
	}
	l := &lister{source: s}
	if err := l.list(root, "", 0); err != nil {
		return nil, err
	}
	return l.all, nil
}

type lister struct {
	*source
	all []Value
}

func (l *lister) list(n *yaml.Node, path string, depth int) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if depth > maxDepth || len(l.all) > maxValues {
		return l.fail(n.Line, n.Column, "", fmt.Sprintf("more than %d keys, or %d levels of them", maxValues, maxDepth))
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Tag == "!!merge" {
				if err := l.list(n.Content[i+1], path, depth+1); err != nil {
					return err
				}
				continue
			}
			if err := l.one(path, k.Value, k, n.Content[i+1], depth); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			if err := l.one(path, fmt.Sprintf("[%d]", i), item, item, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// one lists a key and what is below it.
func (l *lister) one(parent, key string, at, value *yaml.Node, depth int) error {
	v := Value{Parent: parent, Key: key, Line: at.Line, Column: at.Column, ValueLine: value.Line, ValueColumn: value.Column}
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	if value.Kind == yaml.ScalarNode && !isNull(value) {
		v.Text, v.Single = value.Value, true
	}
	l.all = append(l.all, v)
	return l.list(value, v.Path(), depth+1)
}
