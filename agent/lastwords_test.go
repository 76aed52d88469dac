package agent

import "testing"

func TestLastWords(t *testing.T) {
	const (
		start   = "2026-11-30 04:58:04.838 UTC [1434] LOG:  starting PostgreSQL 17.6 (Debian 17.6-0+deb13u1)\n"
		memory  = "2026-11-30 04:58:04.838 UTC [1434] FATAL:  could not map anonymous shared memory: Cannot allocate memory\n"
		hint    = "2026-11-30 04:58:04.838 UTC [1434] HINT:  Reduce \"shared_buffers\".\n"
		ready   = "2026-11-30 04:58:05.838 UTC [1434] LOG:  database system is ready to accept connections\n"
		standby = "2026-11-30 04:58:05.838 UTC [1434] LOG:  database system is ready to accept read-only connections\n"
		client  = "2026-11-30 04:58:06.838 UTC [1500] app@app FATAL:  password authentication failed for user \"app\"\n"
		early   = "2026-11-30 04:58:04.838 UTC [1434] FATAL:  the database system is starting up\n"
		patroni = "2026-11-30 04:58:07,123 INFO: no action. I am (db1), a secondary\n"
	)
	const want = `could not map anonymous shared memory: Cannot allocate memory | Reduce "shared_buffers".`
	for _, tt := range []struct{ name, log, want string }{
		{"nothing", "", ""},
		{"it does not start", start + memory + hint + patroni, want},
		{"again and again", memory + hint + patroni + memory + hint + "Traceback (most recent call last):\n", want},
		{"without a hint", start + memory + patroni + hint, "could not map anonymous shared memory: Cannot allocate memory"},
		{"it started since", memory + hint + start + ready, ""},
		{"a standby that started since", memory + hint + start + standby, ""},
		{"clients that came too early", start + memory + hint + early, want},
		{"clients alone", start + ready + client, ""},
		{"another prefix", "db1 postgres[77]: [3-1] PANIC:  could not locate a valid checkpoint record\n", "could not locate a valid checkpoint record"},
		{"a replica without its primary", start + "x FATAL:  could not connect to the primary server: connection refused\n", ""},
		{"a client's words in another line", start + ready + "x LOG:  FATAL:  not so\n", ""},
		{"a client's words in a line of their own", start + ready + "x LOG:  statement: SELECT\nFATAL:  not so\n", ""},
		{"a client that says it serves", memory + hint + "x LOG:  it says: database system is ready to accept connections\n", want},
		{"what controls a terminal", start + "x FATAL:  no \x1b[2Jfile\n", "no ?[2Jfile"},
		{"the archiver alone", start + ready + "x FATAL:  archive command failed with exit code 127\n", ""},
	} {
		words, hint := parseLastWords(tt.log)
		got := words
		if hint != "" {
			got += " | " + hint
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
