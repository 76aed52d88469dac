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
		k.say(key+".type", "path or s3", "is missing")
		return
	}
	if k.Backup.Directory != "" {
		k.say("backup.directory", "take it out: the repository has the backups and the WAL", "a directory beside a repository")
	}
	if !folderPath.MatchString(r.Path) {
		k.say(key+".path", "such as /srv/pgbackrest", "%s is no absolute path of letters, digits, \".\", \"_\" and \"-\"", brief(r.Path))
	} else if data := "/var/lib/postgresql"; r.Type == RepositoryPath && below(r.Path, data) {
		k.say(key+".path", "a directory that all members share, such as a mount of NFS", "%s lies beside PostgreSQL's data, and is lost with it", r.Path)
	}
	if r.Type != RepositoryS3 {
		for _, name := range []string{"bucket", "endpoint", "region"} {
			if k.given(key + "." + name) {
				k.say(key+"."+name, "type: s3", "belongs to an S3 store, and the repository is a path")
			}
		}
		return
	}
	if !bucketSyntax.MatchString(r.Bucket) {
		k.say(key+".bucket", "small letters, digits and \"-\", 3 to 63", "%s is no name of a bucket", brief(r.Bucket))
	}
	if !dnsName(r.Endpoint) {
		k.say(key+".endpoint", "such as s3.eu-central-1.amazonaws.com, without https://", "%s is no host name", brief(r.Endpoint))
	}
	if !hostSyntax.MatchString(r.Region) {
		k.say(key+".region", "such as eu-central-1; of your own store, what it says", "%s is no region", brief(r.Region))
	}
}
