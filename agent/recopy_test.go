package agent

import (
	"testing"
	"time"
)

// What PostgreSQL says when it ends at its start: the damaged control file was seen, the others are from its sources.
func TestDataFault(t *testing.T) {
	const starting = "2026-11-29 10:00:00.000 UTC [7] LOG:  starting PostgreSQL 15.14\n2026-11-29 10:00:00.010 UTC [9] LOG:  entering standby mode\n"
	const ended = "2026-11-29 10:00:00.030 UTC [7] LOG:  startup process (PID 9) exited with exit code 1\n2026-11-29 10:00:00.030 UTC [7] LOG:  aborting startup due to startup process failure\n"
	for log, want := range map[string]string{
		starting + "2026-11-29 10:00:00.020 UTC [9] FATAL:  unexpected timeline ID 7 (should be 6) in checkpoint record, before reaching minimum recovery point 0/5000000 on timeline 6\n" + ended:                                    "unexpected timeline ID 7 (should be 6) in checkpoint record, before reaching minimum recovery point 0/5000000 on timeline 6",
		starting + "2026-11-29 10:00:00.020 UTC [9] PANIC:  could not locate a valid checkpoint record\n2026-11-29 10:00:00.030 UTC [7] LOG:  startup process (PID 9) was terminated by signal 6: Aborted\n":                          "could not locate a valid checkpoint record",
		starting + "2026-11-29 10:00:00.030 UTC [7] LOG:  startup process (PID 9) was terminated by signal 11: Segmentation fault\n":                                                                                                  "startup process (PID 9) ",
		"2026-11-29 01:56:46.362 UTC [3116] FATAL:  incorrect checksum in control file\n2026-11-29 01:56:46.363 UTC [3116] LOG:  database system is shut down\n":                                                                      "incorrect checksum in control file",
		"postgres: could not find the database system\nExpected to find it in the directory \"/var/lib/postgresql/15/main\",\nbut could not open file \"/var/lib/postgresql/15/main/global/pg_control\": No such file or directory\n": "could not find the database system",

		// A copy would be no better.
		"2026-11-29 01:56:46.362 UTC [3116] FATAL:  could not access file \"nothere\": No such file or directory\n":                                                                                "",
		"2026-11-29 01:56:46.362 UTC [3116] LOG:  unrecognized configuration parameter \"x\"\n2026-11-29 01:56:46.362 UTC [3116] FATAL:  configuration file \"postgresql.conf\" contains errors\n": "",
		"2026-11-29 01:56:46.362 UTC [3116] FATAL:  could not map anonymous shared memory: Cannot allocate memory\n":                                                                               "",
		"2026-11-29 01:56:46.362 UTC [3116] FATAL:  database files are incompatible with server\nDETAIL:  The data directory was initialized by PostgreSQL version 15\n":                           "",
		starting + "2026-11-29 10:00:00.020 UTC [9] FATAL:  recovery aborted because of insufficient parameter settings\n" + ended:                                                                 "",
		starting + "2026-11-29 10:00:00.020 UTC [9] FATAL:  could not write to file \"pg_wal/xlogtemp.9\": No space left on device\n" + ended:                                                      "",
		starting + "2026-11-29 10:00:00.030 UTC [7] LOG:  startup process (PID 9) was terminated by signal 9: Killed\n":                                                                            "",
		starting + "2026-11-29 10:00:00.020 UTC [9] FATAL:  could not read file \"base/5/2619\": Input/output error\n" + ended:                                                                     "",
		"": "",
	} {
		if got := dataFault(log); got != want {
			t.Errorf("%q, want %q, of\n%s", got, want, log)
		}
	}
}

// A state each three seconds; a letter each, and what is asked for then.
func TestStartFailures(t *testing.T) {
	states := map[rune]member{
		'f': {State: "start failed", Role: "replica"}, 's': {State: "starting", Role: "replica"}, 'r': {State: "running", Role: "replica"},
		'p': {State: "start failed", Role: "replica", Paused: true}, 'l': {State: "start failed", Role: "primary"}, 'c': {State: "creating replica", Role: "replica"},
		'd': {State: "running", Role: "replica"},
	}
	long := func(s string) (text string) {
		for range 60 {
			text += s
		}
		return text
	}
	for seen, want := range map[string]int{
		"fsfsfs":                        0, // not for long enough
		long("fs"):                      1,
		long("fsrs"):                    1, // it runs for a moment, and ends
		"f" + long("s"):                 0, // one failure, and then it recovers
		long("f"):                       1, // the looks see no try
		long("sssf"):                    1,
		"f" + long("s") + "f":           1, // it fails again, after a long recovery
		"f" + long("c") + "f":           0, // of another copy
		long("c"):                       0,
		long("d"):                       1, // it runs, and cannot follow
		"dddd" + long("r"):              0, // it was rewound
		"dd" + long("s") + "r":          0, // a long rewind
		long("r"):                       0,
		long("ps"):                      0,
		long("ls"):                      0,
		"fsfs" + long("r") + "fs":       0, // it ran meanwhile
		"fsf" + long("c"):               0,
		long("fs") + long("fs"):         1, // not again so soon
		long("fsfsfsfs") + long("fsfs"): 4, // 36 minutes: after two, and then every ten
	} {
		var f startFailures
		now, got := time.Unix(1e9, 0), 0
		for _, c := range seen {
			if f.next(states[c], c == 'd', now) {
				got++
			}
			now = now.Add(followPause)
		}
		if got != want {
			t.Errorf("%.20s…: asked for %d times, want %d", seen, got, want)
		}
	}
}
