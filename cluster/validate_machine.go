package cluster

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// port is one TCP port, its key, and whether the program that opens it has only an ordinary user's rights.
type port struct {
	key      string
	number   int
	ordinary bool
}

func (p Ports) of(r Role) []port {
	if r == Proxy {
		// Where a member's etcd listens, a proxy answers members that have no data.
		return []port{{"ssh", p.SSH, false}, {"etcd_peer", p.EtcdPeer, true}, {"read_write", p.ReadWrite, false}, {"read_only", p.ReadOnly, false}, {"stats", p.Stats, false},
			{"pgha", p.PGHA, true}, {"metrics", p.Metrics, true}}
	}
	return []port{{"ssh", p.SSH, false}, {"postgres", p.Postgres, true}, {"patroni", p.Patroni, true},
		{"etcd_client", p.EtcdClient, true}, {"etcd_peer", p.EtcdPeer, true}, {"pgha", p.PGHA, true}, {"metrics", p.Metrics, true}}
}

func portRange(k *checker) {
	for _, p := range append(k.Ports.of(DB), k.Ports.of(Proxy)[2:5]...) {
		switch path := "ports." + p.key; {
		case p.number < 1 || p.number > 65535:
			k.say(path, "1 to 65535", "%d is no port", p.number)
		case p.ordinary && p.number < 1024:
			k.say(path, "1024 or above", "%d may only be opened by root, and this program is not", p.number)
		}
	}
}

func portClash(k *checker) {
	for _, r := range []Role{DB, Proxy} {
		first := map[int]string{}
		for _, p := range k.Ports.of(r) {
			if other := first[p.number]; other != "" {
				key := p.key
				if !k.given("ports." + key) { // blame the one that was written, not our default
					key, other = other, key
				}
				if !k.sound("ports." + other) {
					continue
				}
				k.say("ports."+key, "", "%d is also the port %s, on the same machine", p.number, other)
				continue
			}
			first[p.number] = p.key
		}
	}
}

var diskSyntax = regexp.MustCompile(`^/dev(/[A-Za-z0-9][A-Za-z0-9._:+-]*)+$`)

func dataDisk(k *checker) {
	if d := k.Storage.DataDisk; k.given("storage.data_disk") && d != AnyDisk && !diskSyntax.MatchString(d) {
		k.say("storage.data_disk", "auto, the machine's one blank disk; or such as /dev/vdb or /dev/disk/by-id/…", "%s is no block device below /dev", brief(d))
	}
}

var (
	timeOfDay  = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
	folderPath = regexp.MustCompile(`^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$`)
)

func backup(k *checker) {
	b := k.Backup
	if !b.Wanted && b.Taken() && k.sound("backup.wanted") {
		k.say("backup.wanted", "take it out, or the directory or repository", "backups are not wanted, and it is said where they go")
	}
	if !timeOfDay.MatchString(b.At) {
		hint := "\"HH:MM\", 00:00 to 23:59"
		if timeOfDay.MatchString("0" + b.At) {
			hint = "write 0" + b.At
		}
		k.say("backup.at", hint, "%s is no time of day", brief(b.At))
	}
	if b.Keep < 1 {
		k.say("backup.keep", "1 or more", "keeping %d backups is having none", b.Keep)
	}
	if b.KeepDays < 0 {
		k.say("backup.keep_days", "0 or more", "%d days are none", b.KeepDays)
	}
	var names []string
	for _, db := range k.Postgres.Databases {
		names = append(names, db.Name)
	}
	known := k.sound("postgres.databases[].name")
	for i, name := range b.Dump {
		if known && !slices.Contains(names, name) {
			k.say(fmt.Sprintf("backup.dump[%d]", i), didYouMean(name, names, "see postgres.databases"), "%s is none of the databases", brief(name))
		}
	}
	if len(b.Dump) > 0 && b.Directory == "" && k.sound("backup.directory") {
		k.say("backup.dump", "backup.directory: /var/backups/postgresql", "nothing is dumped without a directory")
	}
}

func backupDirectory(k *checker) {
	const key = "backup.directory"
	dir := k.Backup.Directory
	if !k.given(key) {
		return
	}
	if !folderPath.MatchString(dir) {
		hint := "such as /var/backups/postgresql"
		if clean := path.Clean(dir); clean != dir && folderPath.MatchString(clean) {
			hint = "write " + clean
		}
		k.say(key, hint, "%s is no absolute path of letters, digits, \".\", \"_\" and \"-\"", brief(dir))
		return
	}
	if data := k.DataDir(); (below(dir, data) || below(data, dir)) && k.sound("postgres.version", "debian", "postgres.source") {
		k.say(key, "such as /var/backups/postgresql", "%s is or holds PostgreSQL's data directory %s", dir, data)
	}
	for _, bad := range []string{"/tmp", "/run", "/dev", "/proc", "/sys", "/var/tmp"} {
		if below(dir, bad) {
			k.say(key, "such as /var/backups/postgresql", "what lies in %s does not stay there", bad)
		}
	}
}

// below tells whether a path is the folder or inside it.
func below(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func sshKeys(k *checker) {
	for i, text := range k.SSHKeys {
		path := fmt.Sprintf("ssh_keys[%d]", i)
		if strings.Contains(text, "PRIVATE KEY") {
			k.say(path, "the .pub file beside it is meant", "this is the private key: it must not leave its owner")
			continue
		}
		text = strings.TrimSpace(text)
		switch kind := sshKeyType(text); {
		case strings.Contains(text, "\n"):
			k.say(path, "one item each", "more than one key")
		case kind == "":
			k.say(path, "one line of a .pub file: ssh-ed25519 AAAA… name", "not an OpenSSH public key")
		case kind == "ssh-dss":
			k.say(path, "ssh-keygen -t ed25519", "OpenSSH takes no DSA keys any more")
		}
	}
}

// sshKeyType returns the type of a line as it stands in authorized_keys, options in front allowed; "" when it is none.
// The key itself repeats its type (RFC 4253, 6.6), which tells a torn line. x/crypto/ssh would do the same, and more,
// for half a megabyte in every agent.
func sshKeyType(line string) string {
	f := strings.Fields(line)
	for i := 0; i+1 < len(f); i++ {
		blob, err := base64.StdEncoding.DecodeString(f[i+1])
		if err != nil || len(blob) < 4 {
			continue
		}
		if n := binary.BigEndian.Uint32(blob); uint64(n)+4 < uint64(len(blob)) && string(blob[4:4+n]) == f[i] {
			return f[i]
		}
	}
	return ""
}
