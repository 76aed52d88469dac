package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// cannotStart breaks a replica's data and the other one's configuration, both so that PostgreSQL cannot start: the first is set
// aside and copied anew without a command, the second is left as it is.
func (l *lab) cannotStart(t *testing.T) {
	l = l.on(t)
	s := l.healthy(2 * time.Minute)
	data, configuration := s.replicas()[0], s.replicas()[1]
	const dir = "D=$(ls -d /var/lib/postgresql/*/main); "
	l.sh(data, dir+"systemctl stop patroni; printf xxxxxxxx | dd of=$D/global/pg_control bs=1 seek=40 conv=notrunc status=none; systemctl start patroni")
	l.sh(configuration, dir+"systemctl stop patroni; echo 'shared_preload_libraries = nothere' >>$D/postgresql.auto.conf; systemctl start patroni")

	l.eventually("the broken data to be set aside", 6*time.Minute, func() bool {
		_, code := l.exec(data, "sh", "-c", "ls -d /var/lib/postgresql/*/main.aside-*")
		return code == 0
	})
	l.eventually("the copy to stream", 2*time.Minute, func() bool {
		s, err := l.status()
		return err == nil && slices.ContainsFunc(s.Members, func(m member) bool { return m.Name == data && m.State == "streaming" })
	})
	l.eventually("who looks at the state to be told", 2*time.Minute, func() bool {
		out, _ := l.exec(s.primary(), "pgha", "status")
		return strings.Contains(out, "PostgreSQL of "+data+" could not go on with its data (incorrect checksum in control file), which was set aside at ") &&
			strings.Contains(out, "on "+data+": rm -r /var/lib/postgresql/")
	})
	l.sh(data, "rm -r /var/lib/postgresql/*/main.aside-*")

	l.eventually("an end of the look at the other's data", 6*time.Minute, func() bool {
		_, code := l.exec(configuration, "systemctl", "is-failed", "-q", "pgha-recopy")
		return code == 0
	})
	l.says(configuration, 0, "journalctl -u pgha-recopy -o cat; ls /var/lib/postgresql/*", "PostgreSQL fails to start, and not for its data, which is left alone")
	l.sh(configuration, dir+"! ls -d $D.aside-* 2>/dev/null; sed -i /nothere/d $D/postgresql.auto.conf; systemctl reset-failed pgha-recopy")
	l.healthy(2 * time.Minute)
}
