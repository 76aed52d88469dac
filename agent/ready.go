package agent

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Patience of the boot: how long multi-user.target and cloud-init's last stages are held back for the cluster.
// A healthy first boot is done by then; a peer may be days away. A machine that is slow, as one without KVM is, gets as
// long again as it took to come this far, which the unit's TimeoutStartSec must allow.
const bootHold, bootHoldMost = 30 * time.Second, 4 * time.Minute

func hold() time.Duration {
	var up syscall.Sysinfo_t
	if syscall.Sysinfo(&up) != nil {
		return bootHold
	}
	return min(max(bootHold, time.Duration(up.Uptime)*time.Second), bootHoldMost)
}

// Ready returns a function that tells systemd, once, that this boot may go on (sd_notify(3)); it is called when the
// machine is done, and by itself after a while. Outside a unit of Type=notify it does nothing.
func Ready() func() {
	once := sync.OnceFunc(func() {
		socket := os.Getenv("NOTIFY_SOCKET")
		if socket == "" {
			return
		}
		conn, err := net.Dial("unixgram", socket) //nolint:noctx // a local datagram does not wait
		if err != nil {
			return // systemd then ends the unit's start, and says so
		}
		_, _ = conn.Write([]byte("READY=1"))
		_ = conn.Close()
	})
	time.AfterFunc(hold(), once)
	return once
}
