package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

// Named tells whether there is a repository.
func (r Repository) Named() bool { return r.Type != "" }

// URIStyle is how S3 is asked for a bucket: Amazon has a host for each, others a path.
func (r Repository) URIStyle() string {
	if strings.HasSuffix(r.Endpoint, ".amazonaws.com") {
		return "host"
	}
	return "path"
}

// Taken tells whether backups are taken at all.
func (b Backup) Taken() bool { return b.Directory != "" || b.Repository.Named() }

// NoBackup is what to say of a cluster without backups; nobody says it where cluster.yaml has backup.wanted: false.
const NoBackup = "there is none: replicas follow a DROP TABLE within milliseconds"

// NoBackupHint is what to do about it.
const NoBackupHint = "directory: /var/backups/pgbake, or repository; where that is meant, or others take them: wanted: false"

// Missing tells whether backups are wanted and none is taken.
func (b Backup) Missing() bool { return b.Wanted && !b.Taken() }

// Proven tells whether the newest backup is restored on trial from time to time.
func (b Backup) Proven() bool { return b.Taken() && b.Prove != Never }

// ProveAt is when that happens, "HH:MM": two hours after the backup begins.
func (b Backup) ProveAt() string {
	var hour, minute int
	_, _ = fmt.Sscanf(b.At, "%d:%d", &hour, &minute) // valid
	return fmt.Sprintf("%02d:%02d", (hour+2)%24, minute)
}

var bucketSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func repository(k *checker) {
	const key = "backup.repository"
	r := k.Backup.Repository
	if !k.given(key) {
		return
	}
	if !k.given(key + ".type") {
		k.say(key+".type", "path, s3 or sftp", "is missing")
	}
	if k.Backup.Directory != "" {
		k.say("backup.directory", "take it out: the repository has the backups and the WAL", "a directory beside a repository")
	}
	if !folderPath.MatchString(r.Path) {
		k.say(key+".path", "such as /srv/pgbackrest", "%s is no absolute path of letters, digits, \".\", \"_\" and \"-\"", brief(r.Path))
	} else if data := DatabaseHome; r.Type == RepositoryPath && below(r.Path, data) {
		k.say(key+".path", "a directory that all members share, such as a mount of NFS", "%s lies beside PostgreSQL's data, and is lost with it", r.Path)
	}
	if !k.given(key+".type") || !k.sound(key+".type") {
		return
	}
	for _, own := range []struct {
		key  string
		kind RepositoryType
	}{
		{"bucket", RepositoryS3}, {"endpoint", RepositoryS3}, {"region", RepositoryS3},
		{"host", RepositorySFTP}, {"user", RepositorySFTP}, {"host_key", RepositorySFTP},
	} {
		if r.Type != own.kind && k.given(key+"."+own.key) {
			k.say(key+"."+own.key, "type: "+string(own.kind), "belongs to a repository of type %s, and this one is of type %s", own.kind, r.Type)
		}
	}
	switch r.Type {
	case RepositoryPath:
	case RepositoryS3:
		if !bucketSyntax.MatchString(r.Bucket) {
			k.say(key+".bucket", "small letters, digits and \"-\", 3 to 63", "%s is no name of a bucket", brief(r.Bucket))
		}
		if !dnsName(r.Endpoint) {
			k.say(key+".endpoint", "such as s3.eu-central-1.amazonaws.com, without https://", "%s is no host name", brief(r.Endpoint))
		}
		if !hostSyntax.MatchString(r.Region) {
			k.say(key+".region", "such as eu-central-1; of your own store, what it says", "%s is no region", brief(r.Region))
		}
	case RepositorySFTP:
		if k.Debian < 13 && k.Postgres.Source == SourceDebian && k.sound("debian", "postgres.source") {
			k.say(key+".type", "debian: 13, or postgres.source: pgdg, or a path", "Debian %d's pgBackRest knows no sftp: that came with 2.46", k.Debian)
		}
		if !dnsName(r.Host) {
			k.say(key+".host", "such as backup.example.org", "%s is neither a host name nor an address", brief(r.Host))
		}
		if !identifier.MatchString(r.User) {
			k.say(key+".user", "such as pgbackrest", "%s is no name for a user", brief(r.User))
		}
		if !hostKeySyntax.MatchString(r.HostKey) {
			k.say(key+".host_key", "ssh-keyscan -t ed25519 HOST shows it: \"ssh-ed25519 AAAA…\"", "%s is no server's public key", brief(r.HostKey))
		}
	}
}

var hostKeySyntax = regexp.MustCompile(`^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) AAAA[A-Za-z0-9+/]+={0,2}$`)
