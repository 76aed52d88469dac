package agent

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A look each half second; a letter each.
func TestWhoIsShutDownForGood(t *testing.T) {
	const shutdown, other = "desc: CHECKPOINT_SHUTDOWN redo 0/1000028", "desc: COMMIT"
	looks := map[rune]elsewhere{
		's': {streams: true, leads: true, answers: itRuns},                      // it streams
		'r': {leads: true, record: shutdown, answers: itRefuses},                // shut down, and its port refuses
		'q': {leads: true, record: shutdown, answers: nobodyThere},              // shut down, and no answer
		'a': {leads: true, record: shutdown, answers: itRuns},                   // shut down, and PostgreSQL answers
		'k': {leads: true, record: other, answers: itRefuses},                   // killed
		'e': {leads: true, err: errors.New("just written"), answers: itRefuses}, // the record cannot be read
		'm': {record: shutdown, answers: itRefuses},                             // another member leads
	}
	for _, tt := range []struct {
		name, seen string
		done       int // after so many looks; 0: never
		moved      bool
		want       string // what is said last
	}{
		{"shut down for good", "sss" + strings.Repeat("r", 20), 3 + 11, false, ""},
		{"a restart of three seconds", "sss" + strings.Repeat("r", 6) + "aaa" + strings.Repeat("s", 20), 0, false, "still streams"},
		{"a restart that was over between two looks", "sssrra" + strings.Repeat("s", 20), 0, false, "still streams"},
		{"it starts, and does not stream yet", "sssrr" + strings.Repeat("a", 200), 0, false, "PostgreSQL answers there"},
		{"two restarts, then for good", "sss" + strings.Repeat("r", 8) + "as" + strings.Repeat("r", 8) + "as" + strings.Repeat("r", 20), 3 + 10 + 10 + 11, false, ""},
		{"its machine is switched off", "sss" + strings.Repeat("q", 100), 3 + 61, false, ""},
		{"its machine boots", "sss" + strings.Repeat("r", 4) + strings.Repeat("q", 50) + "a" + strings.Repeat("s", 9), 0, false, "still streams"},
		{"killed", "sss" + strings.Repeat("k", 200), 0, false, "not that it was shut down"},
		{"a record that is just being written", "ssse" + strings.Repeat("r", 20), 4 + 11, false, ""},
		{"another member leads", "sssrrm", 0, true, "another member"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f farewell
			now := time.Unix(0, 0)
			why, moved := "", false
			for i, letter := range tt.seen {
				var done bool
				if done, why, moved = f.see("old", looks[letter], now.Add(time.Duration(i)*time.Second/2)); done {
					if i+1 != tt.done {
						t.Errorf("done after %d looks, want %d", i+1, tt.done)
					}
					return
				}
			}
			if tt.done > 0 || moved != tt.moved || !strings.Contains(why, tt.want) {
				t.Errorf("not done: %q, moved: %t; want %d, %q, %t", why, moved, tt.done, tt.want, tt.moved)
			}
		})
	}
}
