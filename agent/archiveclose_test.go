package agent

import "testing"

func TestWhenTheArchiveIsClosed(t *testing.T) {
	var c closed
	for i, tt := range []struct {
		m    member
		want bool
	}{
		{member{Role: "replica", State: "streaming", Timeline: 1}, false},
		{member{Role: "primary", State: "running", Timeline: 2}, true}, // it has taken over
		{member{Role: "primary", State: "running", Timeline: 2}, false},
		{member{Role: "replica", State: "starting"}, false},
		{member{Role: "replica", State: "streaming", Timeline: 3}, false},
		{member{Role: "primary", State: "starting", Timeline: 4}, false},
		{member{Role: "primary", State: "running", Timeline: 4}, true}, // and again
		{member{Role: "master", State: "running", Timeline: 4}, false},
	} {
		if got := c.next(tt.m); got != tt.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}
