package cluster

import (
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxSecret is how many bytes a secret has at most, maxSSHKey a private key. HAProxy takes 16 KiB of headers, Basic's base64 of the
// password among them, and some clouds take 16 KiB of user-data, with every secret in it.
const maxSecret, maxSSHKey = 1024, 16 << 10

// judgement says what is wrong with a secret, and what to do. It never repeats the secret; "" is nothing.
type judgement func(value string) (wrong, hint string)

// secretKind is one secret of the operator's file, and what the files that will carry it cannot take.
type secretKind struct {
	path   string
	value  string
	judges []judgement
}

// kinds lists every secret.
func (s Secrets) kinds() []secretKind {
	all := []secretKind{
		// path                    value                  carried by
		{"replicator", s.Replicator, []judgement{oneLine, rolePassword}},                // Patroni's YAML, its SQL and its .pgpass
		{"rewind", s.Rewind, []judgement{oneLine, rolePassword}},                        // the same
		{"rest", s.REST, []judgement{oneLine, ascii}},                                   // Patroni's YAML, and HTTP Basic by urllib3
		{"repository_key", s.RepositoryKey, []judgement{oneLine, s3Key}},                // pgbackrest.conf, and the head of S3's requests
		{"repository_key_secret", s.RepositoryKeySecret, []judgement{oneLine, trimmed}}, // pgbackrest.conf
		{"repository_ssh_key", s.RepositorySSHKey, []judgement{sshPrivateKey}},          // a file that libssh2 reads
		{"repository_cipher", s.RepositoryCipher, []judgement{oneLine, trimmed}},        // pgbackrest.conf
		{"stats", s.Stats, []judgement{oneLine}},                                        // haproxy.cfg, in single quotes
		{"vrrp", s.VRRP, []judgement{vrrpWord}},                                         // keepalived.conf, a word
		{"webhook", s.Webhook, []judgement{oneLine, webAddress}},                        // an HTTP request
		{"relay", s.Relay, []judgement{oneLine}},                                        // SMTP's AUTH PLAIN
	}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		// A verifier on the machines; pgpass and XML for the applications.
		all = append(all, secretKind{join("users", name), s.Users[name], []judgement{oneLine}})
	}
	return all
}

// judge complains about each secret that some file could not carry. It is for the operator's file, where a person can mend it: a
// machine has to live with what it was given, and render guards there what would break out of its line.
func (s Secrets) judge(src *source, problems *Problems) {
	for _, k := range s.kinds() {
		for _, j := range k.judges {
			if wrong, hint := j(k.value); k.value != "" && wrong != "" {
				p := src.at(k.path, hint, wrong)
				if strings.ContainsFunc(p.Path, unicode.IsControl) {
					p.Path = "users" // a user's name that is none, with its lines
				}
				problems.add(p)
				break
			}
		}
	}
}

func oneLine(value string) (wrong, hint string) {
	switch {
	case strings.ContainsAny(value, "\n\r"):
		return "a line break in it: it must be one line", `write it behind the colon, in quotes; a text below "|" ends with a line break`
	case strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || r == 0xfffe || r == 0xffff }):
		return "a control character in it, which the files that carry it cannot hold", "letters, digits, blanks and signs"
	case strings.ToValidUTF8(value, "") != value:
		return "it is not UTF-8", "letters, digits, blanks and signs"
	case len(value) > maxSecret:
		return fmt.Sprintf("it has %d bytes, and at most %d are carried everywhere", len(value), maxSecret), ""
	}
	return "", ""
}

// hashedPassword is what PostgreSQL takes for a hash, and not for a password (get_password_type in its crypt.c).
var hashedPassword = regexp.MustCompile(`^(md5[0-9a-f]{32}|SCRAM-SHA-256\$[0-9]+:.*)$`)

// rolePassword is of a role that Patroni makes and logs in as. Patroni puts the password into a DO $$ … $$ (create_or_update_role).
func rolePassword(value string) (wrong, hint string) {
	switch {
	case strings.Contains(value, "$$"):
		return `"$$" in it, which ends the statement that Patroni sets it by`, "another password"
	case hashedPassword.MatchString(value):
		return "PostgreSQL takes it for a hash, and nobody could log in with it", "the password itself, or another one"
	}
	return "", ""
}

// ascii is for what Patroni sends by urllib3, which knows Latin-1 only, and compares with UTF-8.
func ascii(value string) (wrong, hint string) {
	if strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "a letter outside ASCII in it, which Patroni cannot send", "English letters, digits and signs"
	}
	return "", ""
}

// trimmed is for pgbackrest.conf, where blanks at both ends of a value are lost.
func trimmed(value string) (wrong, hint string) {
	if strings.TrimSpace(value) != value {
		return "a blank at its beginning or end, which pgBackRest would leave out", "take the blank out"
	}
	return "", ""
}

func s3Key(value string) (wrong, hint string) {
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > unicode.MaxASCII }) {
		return "it is no name of an S3 key: there is a blank or a letter outside ASCII in it", "the access key, as who runs the store says; its secret is repository_key_secret"
	}
	return "", ""
}

var vrrpSyntax = regexp.MustCompile(`^[A-Za-z0-9]{1,8}$`)

func vrrpWord(value string) (wrong, hint string) {
	if !vrrpSyntax.MatchString(value) {
		return "it must be one to eight letters and digits: keepalived sends no more", "take the line out, and pgbake init makes another"
	}
	return "", ""
}

func webAddress(value string) (wrong, hint string) {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(value, " \t") ||
		u.Port() != "" && !isPort(u.Port()) {
		return "it is no http or https address", "such as https://alerts.example.org/hook"
	}
	return "", ""
}

// sshPrivateKey looks at the key's text as far as it tells a torn one, a public one and one that wants a passphrase.
func sshPrivateKey(value string) (wrong, hint string) {
	const make = "ssh-keygen -t ed25519 -N '' -f key makes one; its text, below \"repository_ssh_key: |\""
	text := strings.TrimSpace(value)
	switch {
	case len(value) > maxSSHKey:
		return fmt.Sprintf("it has %d bytes, and a private key at most %d", len(value), maxSSHKey), make
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\r' }):
		return "a control character in it", make
	case sshKeyType(text) != "" && !strings.Contains(text, "\n"):
		return "this is the public key", "the file beside it, whose name has no .pub"
	case !strings.HasPrefix(text, "-----BEGIN "):
		return "it is no private key: that begins with -----BEGIN", make
	}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		sound, locked := privateKey(block)
		switch {
		case locked:
			return "it wants a passphrase, and nobody is there to type it", "ssh-keygen -p -N '' -f key takes the passphrase off"
		case !sound:
			return "a damaged private key: some of it is missing", make
		}
		return "", ""
	}
	return "it is no private key that can be read: a line of it is damaged or missing", make
}

// privateKey tells whether a key is whole, as far as its lengths say, and whether it is encrypted.
func privateKey(block *pem.Block) (sound, locked bool) {
	if block.Type != "OPENSSH PRIVATE KEY" {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true, true
		}
		var key asn1.RawValue
		_, err := asn1.Unmarshal(block.Bytes, &key)
		return err == nil && key.Tag == asn1.TagSequence, false
	}
	// PROTOCOL.key of OpenSSH: the magic, then strings with their lengths: cipher, kdf, its options; how many keys; public, private.
	rest, ok := strings.CutPrefix(string(block.Bytes), "openssh-key-v1\x00")
	next := func() (text string) {
		if ok = ok && len(rest) >= 4; !ok {
			return ""
		}
		n := uint64(binary.BigEndian.Uint32([]byte(rest)))
		if ok = uint64(len(rest)) >= 4+n; !ok {
			return ""
		}
		text, rest = rest[4:4+n], rest[4+n:]
		return text
	}
	cipher := next()
	next()
	next()
	if ok = ok && len(rest) >= 4; ok {
		rest = rest[4:]
	}
	next()
	private := next()
	return ok && private != "", ok && cipher != "none"
}
