package cluster

import (
	"bytes"
	"reflect"

	"gopkg.in/yaml.v3"
)

// bareHeader tells who opens the file on a machine what it is.
const bareHeader = "# The operator's cluster.yaml without its comments. To change it: change that one, then `pgbake seed`; runbook 5.3.\n"

// Bare returns the text of a specification as machines get it: the keys that the operator wrote, in their order, without the
// comments, which are for who makes the choice, and fill user-data. A change of comments alone is no change of that text.
//
// A key that is absent stays absent: its default is that of the pgha that reads the file, and an older one would refuse a
// key that it does not know. A text that is no specification, or of which the one without comments would say anything else,
// comes back as it is.
func Bare(spec []byte) []byte {
	want, err := ParseTaken("", spec)
	if err != nil {
		return spec
	}
	_, root, err := read("", spec, false)
	if err != nil {
		return spec
	}
	forgetComments(root)
	b := bytes.NewBufferString(bareHeader)
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	if enc.Encode(root) != nil || enc.Close() != nil {
		return spec
	}
	if got, err := ParseTaken("", b.Bytes()); err != nil || !reflect.DeepEqual(want, got) {
		return spec
	}
	return b.Bytes()
}

// forgetComments takes the comments out of a tree. An alias leads to a node that stands elsewhere in it.
func forgetComments(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, item := range n.Content {
		forgetComments(item)
	}
}
