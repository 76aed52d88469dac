package cluster

import "fmt"

// Taken tells whether backups are taken at all.
func (b Backup) Taken() bool { return b.Directory != "" }

// Proven tells whether the newest backup is restored on trial from time to time.
func (b Backup) Proven() bool { return b.Taken() && b.Prove != Never }

// ProveAt is when that happens, "HH:MM": two hours after the backup begins.
func (b Backup) ProveAt() string {
	var hour, minute int
	_, _ = fmt.Sscanf(b.At, "%d:%d", &hour, &minute) // valid
	return fmt.Sprintf("%02d:%02d", (hour+2)%24, minute)
}
