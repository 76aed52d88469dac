// Package rootfs is files as they will lie on a machine: what each is, how they are written, what would change.
//
// In come Files; out come bytes below a root directory, which is "/" on a machine and a temporary
// directory in a test. It writes only what differs, each file at once (a temporary name, then a rename),
// and never removes anything.
package rootfs

import "io/fs"

// File is one file as it will lie on a machine.
type File struct {
	// Path is absolute on the machine: /etc/patroni/config.yml.
	Path string
	// Mode is the permission bits.
	Mode fs.FileMode
	// Owner is "user" or "user:group", by name, looked up on the machine; root when empty.
	Owner string
	// Unit is the systemd unit that reads the file; none when empty.
	Unit string
	// Restart says that the unit must restart to see a change; a reload is enough otherwise.
	Restart bool
	// Body is the content.
	Body []byte
}
