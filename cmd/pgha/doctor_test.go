package main

import (
	"strings"
	"testing"

	"github.com/pgbake/pgbake/agent/doctor"
)

// What is only warned of is said, below what is wrong, and does not count.
func TestWarningsDoNotCount(t *testing.T) {
	wrong := doctor.Finding{What: "etcd.service does not run", Mend: []string{"systemctl start etcd"}}
	warned := doctor.Finding{What: "no backup is configured", Why: "nobody brings the table back", Mend: []string{"edit"}, Warning: true}
	for _, c := range []struct {
		all   []doctor.Finding
		count int
		want  string
	}{
		{[]doctor.Finding{warned}, 0, "nothing found: CHECKS checks\n\nwarning: no backup is configured\n    why:  nobody brings the table back\n    mend: edit\n"},
		{[]doctor.Finding{warned, wrong}, 1, "etcd.service does not run\n    mend: systemctl start etcd\n\nwarning: no backup is configured\n    why:  nobody brings the table back\n    mend: edit\n"},
		{nil, 0, "nothing found: CHECKS checks\n"},
	} {
		found, warnings := split(c.all)
		var b strings.Builder
		findings(&b, found, warnings)
		got := b.String()
		if before, after, ok := strings.Cut(got, " checks\n"); ok {
			got = "nothing found: CHECKS checks\n" + after
			if !strings.HasPrefix(before, "nothing found: ") {
				t.Errorf("it begins with %q", before)
			}
		}
		if found == nil || len(found) != c.count || got != c.want {
			t.Errorf("%d found\n%s\nwant %d\n%s", len(found), got, c.count, c.want)
		}
	}
}
