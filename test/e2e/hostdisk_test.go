package e2e

import (
	"os"
	"slices"
	"sync"
	"time"
)

// hostDisk is the disk of this host, which all labs and whatever else runs here have in common. While a ledger is written, it
// gets a byte every 200 ms, and tells when that took long.
type hostDisk struct {
	file *os.File

	mu      sync.Mutex
	writers int       // ledgers that are being written
	last    time.Time // when the last byte was on the disk; the zero time while there is no writer
	stalls  []stall
}

// stall is a time in which not even a byte reached the disk.
type stall struct{ from, to time.Time }

// longStall is the shortest stall that counts. A row waits for the disk two or three times, on the primary and then on a
// replica: shorter ones do not make three seconds.
const longStall = time.Second

// watchedDisk is the disk that the labs are on.
var watchedDisk = sync.OnceValues(func() (*hostDisk, error) {
	f, err := os.CreateTemp("/var/lib/pgbake/lab", ".ledger-*")
	if err != nil {
		return nil, err
	}
	// Nobody needs its name, and a test that is killed leaves nothing.
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	d := &hostDisk{file: f}
	go d.watch()
	return d, nil
})

// ledgers says that a ledger is written from now on, or no longer.
func (d *hostDisk) ledgers(more int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writers += more
	switch {
	case d.writers == 0:
		d.note(time.Now())
		d.last = time.Time{}
	case d.last.IsZero():
		d.last = time.Now()
	}
}

func (d *hostDisk) watch() {
	for range time.Tick(200 * time.Millisecond) {
		d.mu.Lock()
		writers := d.writers
		d.mu.Unlock()
		if writers == 0 {
			continue
		}
		// What cannot be written at all excuses nobody: it counts as written.
		_, _ = d.file.WriteAt([]byte{0}, 0)
		_ = d.file.Sync()
		d.mu.Lock()
		d.note(time.Now())
		d.mu.Unlock()
	}
}

// note keeps the time since the last byte, if it is long.
func (d *hostDisk) note(now time.Time) {
	if d.last.IsZero() {
		return
	}
	if now.Sub(d.last) >= longStall {
		d.stalls = append(d.stalls, stall{d.last, now})
	}
	d.last = now
}

// stood is for how long the disk stood still between two moments.
func (d *hostDisk) stood(from, to time.Time) (sum time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stalls := slices.Clone(d.stalls)
	if now := time.Now(); !d.last.IsZero() && now.Sub(d.last) >= longStall {
		stalls = append(stalls, stall{d.last, now}) // it lasts still
	}
	for _, s := range stalls {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		sum += max(0, s.to.Sub(s.from))
	}
	return sum
}
