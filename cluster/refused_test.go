package cluster

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// TestNoEchoes spoils every key and every value of specifications that are right, one at a time. There is one complaint each
// time, that of the first gate: whatever the second one says of such a file is an echo.
func TestNoEchoes(t *testing.T) {
	for _, file := range append(glob(t, "testdata/good/*.yaml"), append(glob(t, "../examples/*.yaml"), "testdata/echoes.yaml")...) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "anchors" { // what is spoilt there is at two places
			continue
		}
		t.Run(name, func(t *testing.T) {
			var doc yaml.Node
			if err := yaml.Unmarshal(readFile(t, file), &doc); err != nil {
				t.Fatal(err)
			}
			try := func(what string) {
				text, err := yaml.Marshal(&doc)
				if err != nil {
					t.Fatal(err)
				}
				_, err = Parse("cluster.yaml", text)
				var problems Problems
				if !errors.As(err, &problems) || len(problems) != 1 {
					t.Errorf("%s: %d complaints, want one:\n%v", what, len(problems), err)
				}
			}
			eachNode("", doc.Content[0], func(path string, key, value *yaml.Node) {
				if key != nil && !strings.HasPrefix(path, "postgres.parameters.") {
					right := key.Value
					key.Value += "x"
					try(path + " misspelt")
					key.Value = right
				}
				right := *value
				if value.Kind == yaml.MappingNode {
					*value = yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "x"}}}
				} else {
					*value = yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "x"}, {Kind: yaml.ScalarNode, Value: "y"}}}
				}
				try(path + " of the wrong kind")
				*value = right
			})
		})
	}
}

// TestUnknownKeyHidesNothing: beside a key that nobody knows, every complaint of a bad file is there as without it.
func TestUnknownKeyHidesNothing(t *testing.T) {
	for _, path := range glob(t, "testdata/bad/*.yaml") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			var doc yaml.Node
			if yaml.Unmarshal(readFile(t, path), &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
				t.Skip("no keys")
			}
			complaints := func() (all []string) {
				text, err := yaml.Marshal(&doc)
				if err != nil {
					t.Skip("no YAML: ", err)
				}
				_, err = Parse("cluster.yaml", text)
				var problems Problems
				if err != nil && !errors.As(err, &problems) {
					t.Fatalf("Parse returned %v, want Problems", err)
				}
				for _, p := range problems {
					all = append(all, p.Path+": "+p.Message)
				}
				slices.Sort(all)
				return all
			}
			before := complaints()
			switch {
			case len(before) == 0:
				t.Skip("what is wrong is the file's text, and not its keys")
			case len(before) > maxProblems:
				t.Skip("too many already")
			}
			root := doc.Content[0]
			root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "vlan"}, &yaml.Node{Kind: yaml.ScalarNode, Value: "7"})
			want := slices.Concat(before, []string{`: unknown key "vlan"`})
			slices.Sort(want)
			if diff := cmp.Diff(want, complaints()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// eachNode calls f for every value below n with its path, and its key where it has one.
func eachNode(path string, n *yaml.Node, f func(path string, key, value *yaml.Node)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			sub := join(path, n.Content[i].Value)
			f(sub, n.Content[i], n.Content[i+1])
			eachNode(sub, n.Content[i+1], f)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			sub := path + "[" + string(rune('0'+i)) + "]"
			f(sub, nil, item)
			eachNode(sub, item, f)
		}
	}
}
