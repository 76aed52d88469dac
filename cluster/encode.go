package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Encode returns the Cluster as a specification with every default and derived value written out. Parse makes the
// same Cluster of it.
func (c *Cluster) Encode() ([]byte, error) {
	var root yaml.Node
	if err := root.Encode(c); err != nil {
		return nil, fmt.Errorf("encode cluster: %w", err)
	}
	prune(&root)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(&root); err != nil {
		return nil, fmt.Errorf("encode cluster: %w", err)
	}
	return b.Bytes(), enc.Close()
}

// MarshalJSON gives what Encode does, as JSON with the specification's own keys.
func (c *Cluster) MarshalJSON() ([]byte, error) {
	body, err := c.Encode()
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(body, &tree); err != nil {
		return nil, fmt.Errorf("encode cluster: %w", err)
	}
	return json.Marshal(tree)
}

// prune takes out the keys that nobody gave: an empty text or an empty group is no value. An empty list of
// networks is one, "nobody", where absence means the cluster's own network.
func prune(n *yaml.Node) {
	kept := n.Content[:0]
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Value != "parameters" { // an empty parameter is one, too
			prune(value)
		}
		empty := value.Value == "" && len(value.Content) == 0
		if !empty || key.Value == "client_networks" || key.Value == "admin_networks" {
			kept = append(kept, key, value)
		}
	}
	if n.Kind == yaml.MappingNode {
		n.Content = kept
		return
	}
	for _, item := range n.Content {
		prune(item)
	}
}
