package join

import (
	"strings"
	"testing"
	"time"
)

// What a machine does about specifications that are older or newer than others', or do not list it.
func TestGenerations(t *testing.T) {
	quorum := &Etcd{ID: 1, Members: []Listed{{ID: 1, Name: "b", Ready: true, Healthy: true}, {ID: 2, Name: "c", Ready: true, Healthy: true}}}
	peers := func(b, c State) []Peer {
		return []Peer{{Name: "b", State: b}, {Name: "c", State: c, Silence: time.Hour}}
	}
	for name, tt := range map[string]struct {
		see  Observation
		want Step
		why  string
	}{
		"a newcomer":                 {Observation{Generation: 2, Newest: 2, Etcd: quorum}, Lock, "joins"},
		"a stale newcomer":           {Observation{Generation: 1, Newest: 2, Etcd: quorum}, Wait, "stale user-data: this machine has generation 1"},
		"stale, nobody has a quorum": {Observation{Generation: 1, Newest: 2, Peers: peers(Fresh, Fresh)}, Wait, "stale user-data"},
		"left out":                   {Observation{Generation: 2, Newest: 2, LeftOut: true, Etcd: quorum}, Stop, "not in the newest generation of the specification, 2"},
		"left out and removed":       {Observation{Generation: 2, Newest: 2, LeftOut: true, Data: Own, Cluster: 1, Running: true, Etcd: quorum}, Stop, "its data is kept"},
		"removed, and told of less":  {Observation{Generation: 1, Newest: 2, Data: Own, Cluster: 1, Running: true, Etcd: quorum}, Wait, "stale user-data"},
		"removed, and listed again":  {Observation{Generation: 2, Newest: 2, Data: Own, Cluster: 1, Running: true, Etcd: quorum}, SetAside, "was removed"},
		"grown, and all are fresh":   {Observation{Generation: 2, Newest: 2, Grown: true, Peers: peers(Fresh, Fresh)}, Found, "none has any data"},
		"grown, and one is silent":   {Observation{Generation: 2, Newest: 2, Grown: true, Since: time.Hour, Peers: peers(Fresh, Silent)}, Wait, "no answer from c; the cluster once had other members"},
		"one is silent":              {Observation{Generation: 1, Newest: 1, Since: time.Hour, Peers: peers(Fresh, Silent)}, Found, "nobody has ever seen this cluster alive"},
	} {
		tt.see.Self = "a"
		if got := Decide(tt.see); got.Do != tt.want || !strings.Contains(got.Why, tt.why) {
			t.Errorf("%s: %s, %s", name, got.Do, got.Why)
		}
	}
}
