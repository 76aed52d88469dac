package backup

import (
	"strings"
	"testing"
	"time"
)

// What PostgreSQL 15 and 17 log.
func TestReadReached(t *testing.T) {
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339Nano, "2026-11-26T"+s); return v.UTC() }
	for what, tt := range map[string]struct {
		log  string
		want Reached
		says string
	}{
		"to a time": {"2026-11-26 12:31:00.001 UTC [79] LOG:  recovery stopping before commit of transaction 741, time 2026-11-26 12:30:07.25+00\n" +
			"2026-11-26 12:31:00.002 UTC [79] LOG:  redo done at 0/300C850 system usage: CPU: user: 0.00 s\n" +
			"2026-11-26 12:31:00.003 UTC [79] LOG:  last completed transaction was at log time 2026-11-26 12:29:58.123456+00\n",
			Reached{at("12:29:58.123456Z"), at("12:30:07.25Z")}, "the last transaction in it is of 2026-11-26 12:29:58.123456+00:00, and the next one, of 2026-11-26 12:30:07.25+00:00, is not"},
		"before one that was rolled back": {"LOG:  recovery stopping before abort of transaction 741, time 2026-11-26 18:00:07+05:30\n", Reached{Next: at("12:30:07Z")},
			"no transaction was completed since the backup, and the next one, of 2026-11-26 12:30:07+00:00, is not"},
		"to the end of a backup": {"LOG:  recovery stopping after reaching consistency\nLOG:  last completed transaction was at log time 2026-11-26 12:29:58+00\n", Reached{Last: at("12:29:58Z")},
			"the last transaction in it is of 2026-11-26 12:29:58+00:00"},
		"nothing to replay": {"LOG:  redo is not required\n", Reached{}, "no transaction was completed since the backup"},
	} {
		got, err := ReadReached(tt.log)
		if err != nil || got != tt.want || got.Says(time.UTC) != tt.says {
			t.Errorf("%s: %+v, %q, %v", what, got, got.Says(time.UTC), err)
		}
	}
	if _, err := ReadReached("LOG:  last completed transaction was at log time 2026-11-26 12:29:58 MSK\n"); err == nil || !strings.Contains(err.Error(), "is no time") {
		t.Errorf("a zone by its name: %v", err)
	}
	r := Reached{Last: at("12:30:00Z")}
	if got, want := r.Says(time.FixedZone("", 3*3600)), "the last transaction in it is of 2026-11-26 15:30:00+03:00"; got != want {
		t.Errorf("in another zone: %q, want %q", got, want)
	}
	if r.Beyond(at("12:30:00Z")) || !r.Beyond(at("12:29:59.999999Z")) || r.Beyond(time.Time{}) || (Reached{}).Beyond(at("12:00:00Z")) {
		t.Error("what is beyond a moment")
	}
}
