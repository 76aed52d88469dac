// Package processor tells what this process costs.
package processor

import (
	"syscall"
	"time"
)

// Time is what this process has used of the processors since it began. On a busy machine much more time passes meanwhile.
func Time() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
