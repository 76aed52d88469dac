// Package ui is how pgbake talks on standard error: what it does, how long it took, what to do next.
//
// Results go to standard output and are none of its business; errors are printed by main.
// Into a pipe or a file it writes plain lines; on a terminal it adds one live line with what is going on.
package ui

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Level is how much is said.
type Level int

// The levels: -q, neither, -v.
const (
	Quiet Level = iota
	Normal
	Verbose
)

// UI writes to one stream; its methods may be called at the same time.
type UI struct {
	mu      sync.Mutex
	w       io.Writer
	level   Level
	live    bool // a terminal that understands control codes
	color   bool
	columns int
	drawn   bool // the live line stands on the screen
	running []*Item
	stop    chan struct{}
}

// New returns a UI on w. The live line needs a terminal, colour also that NO_COLOR is unset (https://no-color.org).
func New(w io.Writer, level Level) *UI {
	u := &UI{w: w, level: level}
	if f, ok := w.(*os.File); ok && level > Quiet && os.Getenv("TERM") != "dumb" {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			u.live, u.columns = true, max(int(size.Col), 20)
			u.color = os.Getenv("NO_COLOR") == ""
		}
	}
	return u
}

// Item is one piece of work that is going on.
type Item struct {
	u     *UI
	name  string
	note  string
	begun time.Time
	// How far it is: done of total, in any unit; total is 0 where nobody knows.
	done, total int64
	result      string
}

// Begin says that a piece of work starts. End it.
func (u *UI) Begin(name string) *Item {
	i := &Item{u: u, name: name, begun: time.Now()}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running = append(u.running, i)
	if !u.live {
		u.line("==> " + name)
	} else if u.stop == nil {
		u.stop = make(chan struct{})
		go u.tick(u.stop)
	}
	u.draw()
	return i
}

// Note says what the work waits for or has reached; the same text again says nothing.
func (i *Item) Note(text string) {
	i.u.mu.Lock()
	defer i.u.mu.Unlock()
	if text == i.note {
		return
	}
	i.note, i.done, i.total = text, 0, 0
	if !i.u.live && text != "" {
		i.u.line("    " + i.name + ": " + text)
	}
	i.u.draw()
}

// Progress says how far the work of the latest note is. Only a terminal shows it.
func (i *Item) Progress(done, total int64) {
	i.u.mu.Lock()
	defer i.u.mu.Unlock()
	i.done, i.total = min(done, total), total // drawn by the next tick: there may be thousands of these
}

// Result is what is said of the work beside its time, when it has ended.
func (i *Item) Result(text string) {
	i.u.mu.Lock()
	defer i.u.mu.Unlock()
	i.result = text
}

// End says how long the work took. What went wrong is said by main.
func (i *Item) End(err error) {
	u, took := i.u, Elapsed(time.Since(i.begun))
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, r := range u.running {
		if r == i {
			u.running = append(u.running[:k], u.running[k+1:]...)
			break
		}
	}
	switch {
	case err != nil:
		took = "failed after " + took
	case i.result != "":
		took += " · " + i.result
	}
	if u.live {
		u.line(u.bold("==>") + " " + i.name + "  " + took)
		if len(u.running) == 0 && u.stop != nil {
			close(u.stop)
			u.stop = nil
		}
	} else {
		u.line("    " + i.name + ": " + took)
	}
	u.draw()
}

// Done says of a piece of work that it was not necessary, and why.
func (u *UI) Done(name, why string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line(u.bold("==>") + " " + name + "  " + why)
	u.draw()
}

// Head begins what belongs together.
func (u *UI) Head(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line(u.bold(text))
	u.draw()
}

// Say writes one line, unless quiet.
func (u *UI) Say(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line(fmt.Sprintf(format, args...))
	u.draw()
}

// Next says what to type next.
func (u *UI) Next(command string) { u.Say("next: %s", command) }

// Trace returns where command lines are shown: nil unless verbose.
func (u *UI) Trace() io.Writer {
	if u.level < Verbose {
		return nil
	}
	return trace{u}
}

type trace struct{ u *UI }

func (t trace) Write(p []byte) (int, error) {
	t.u.mu.Lock()
	defer t.u.mu.Unlock()
	t.u.line(strings.TrimRight(string(p), "\n"))
	t.u.draw()
	return len(p), nil
}

// Elapsed is a duration as people read it: 0.4s, 12.3s, 2m05s.
func Elapsed(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}

// line writes a lasting line where the live one stood. The lock is held here and below.
func (u *UI) line(s string) {
	if u.level == Quiet {
		return
	}
	u.erase()
	fmt.Fprintln(u.w, s)
}

func (u *UI) erase() {
	if u.drawn {
		io.WriteString(u.w, "\r\x1b[K") //nolint:errcheck // nobody is told when the terminal is gone
		u.drawn = false
	}
}

// draw puts the live line: everything that is going on, the oldest piece's time, and of the newest that has something
// to say how far it is, and its note.
func (u *UI) draw() {
	u.erase()
	if !u.live || len(u.running) == 0 {
		return
	}
	names, latest := make([]string, len(u.running)), &Item{}
	for i, r := range u.running {
		names[i] = r.name
		if r.note != "" || r.total > 0 {
			latest = r
		}
	}
	s := fmt.Sprintf("... %s  %s", strings.Join(names, ", "), Elapsed(time.Since(u.running[0].begun)))
	if latest.total > 0 {
		s += "  " + bar(latest.done, latest.total, u.columns)
	}
	if latest.note != "" {
		s += " · " + latest.note
	}
	if r := []rune(s); len(r) >= u.columns {
		s = string(r[:u.columns-2]) + "…"
	}
	io.WriteString(u.w, s) //nolint:errcheck // as above
	u.drawn = true
}

// bar is a fraction as a person sees it, in a fifth of the line; a narrow one has only room for the number.
func bar(done, total int64, columns int) string {
	percent := fmt.Sprintf("%d%%", 100*done/total)
	if columns < 60 {
		return percent
	}
	width := int64(min(columns/5, 20))
	full := width * done / total
	return strings.Repeat("█", int(full)) + strings.Repeat("░", int(width-full)) + " " + percent
}

func (u *UI) tick(stop <-chan struct{}) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			u.mu.Lock()
			u.draw()
			u.mu.Unlock()
		}
	}
}

func (u *UI) bold(s string) string {
	if !u.color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}
