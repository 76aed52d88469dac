package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// Who comes gets a place; who has the most gives up its oldest.
func TestPlaces(t *testing.T) {
	for _, c := range []struct{ come, ended string }{
		{"a1 a2 a3", ""},
		{"a1 a2 a3 a4", "a1"},
		{"a1 b1 b2 c1", "b1"},
		{"b1 a1 a2 c1 d1 e1", "a1 b1 a2"},
		{"a1 b1 c1 d1", "a1"},
		{"a1 -a1 a2 a3 a4", ""},
		{"a1 a2 -a1 -a1 a3 a4 a5", "a2"},
		{"a1 a2 a3 b1 -a1 -b1 c1 d1", "a1 a2"},
	} {
		p := &places{limit: 3}
		var ended []string
		leave := map[string]func(){}
		for _, who := range strings.Fields(c.come) {
			if name, ok := strings.CutPrefix(who, "-"); ok {
				leave[name]()
				continue
			}
			address := netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", who[0]))
			leave[who] = p.take(address, func() { ended = append(ended, who) })
		}
		if got := strings.Join(ended, " "); got != c.ended {
			t.Errorf("%s: ended %q, want %q", c.come, got, c.ended)
		}
		if len(p.taken) > p.limit {
			t.Errorf("%s: %d are in", c.come, len(p.taken))
		}
	}
}
