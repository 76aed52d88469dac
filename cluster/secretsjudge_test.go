package cluster

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// writeSecret makes secrets that are right, and gives one of them another value.
func writeSecret(t *testing.T, key, value string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := Secrets{Replicator: "one", Rewind: "two", REST: "three", Stats: "four", VRRP: "five", Users: map[string]string{"app": "six"}}
	if user, ok := strings.CutPrefix(key, "users."); ok {
		s.Users[user] = value
	} else {
		*map[string]*string{
			"replicator": &s.Replicator, "rewind": &s.Rewind, "rest": &s.REST, "repository_key": &s.RepositoryKey,
			"repository_key_secret": &s.RepositoryKeySecret, "repository_ssh_key": &s.RepositorySSHKey, "repository_cipher": &s.RepositoryCipher,
			"stats": &s.Stats, "vrrp": &s.VRRP, "webhook": &s.Webhook, "relay": &s.Relay,
		}[key] = value
	}
	if err := os.WriteFile(filepath.Join(dir, secretsFile), s.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// everyKey is every secret: one that is added to Secrets without a judgement is missed here.
func everyKey(t *testing.T) (all []string) {
	t.Helper()
	for _, k := range (Secrets{Users: map[string]string{"app": ""}}).kinds() {
		all = append(all, k.path)
	}
	if n := reflect.TypeFor[Secrets]().NumField(); n != len(all) {
		t.Fatalf("%d secrets are judged, and there are %d", len(all), n)
	}
	return all
}

// TestSecretsAreJudged: what a file on some machine could not carry is refused where it is read, with its place and without the
// value; a machine reads it all the same.
func TestSecretsAreJudged(t *testing.T) {
	type judged struct{ key, value, want string }
	var cases []judged
	for _, key := range everyKey(t) {
		cases = append(cases, judged{key, "hunter2\x00", key + ": "}, judged{key, "hunter2\x7f", key + ": "}, judged{key, "hunter2\u0085x", key + ": "},
			judged{key, strings.Repeat("hunter2", 3000), key + ": "})
		if key != "repository_ssh_key" {
			cases = append(cases, judged{key, "hunter2\n", key + ": "}, judged{key, "hun\nter2", key + ": "}, judged{key, "hunter2\r", key + ": "},
				judged{key, "hunter2\t", key + ": "}, judged{key, "hunter2\uffff", key + ": "})
		}
	}
	cases = append(
		cases,
		judged{"users.app", "hunter2\n", "users.app: a line break in it"},
		judged{"replicator", "hunter$$2", `replicator: "$$" in it`},
		judged{"rewind", "hunter$$2", `rewind: "$$" in it`},
		judged{"replicator", "md5" + strings.Repeat("0123abcd", 4), "replicator: PostgreSQL takes it for a hash"},
		judged{"rest", "hünter2", "rest: a letter outside ASCII"},
		judged{"vrrp", "hunter2345", "vrrp: it must be one to eight letters and digits"},
		judged{"vrrp", "hun ter2", "vrrp: it must be"},
		judged{"vrrp", "hünter2", "vrrp: it must be"},
		judged{"repository_key", "hunter 2", "repository_key: it is no name of an S3 key"},
		judged{"repository_key_secret", "hunter2 ", "repository_key_secret: a blank at its beginning or end"},
		judged{"repository_cipher", " hunter2", "repository_cipher: a blank at its beginning or end"},
		judged{"webhook", "hunter2", "webhook: it is no http or https address"},
		judged{"webhook", "ftp://hunter2.example.org/", "webhook: it is no http or https address"},
		judged{"webhook", "https:///hunter2", "webhook: it is no http or https address"},
		judged{"webhook", "https://hunter2.example.org/a b", "webhook: it is no http or https address"},
		judged{"webhook", "https://hunter2.example.org:99999/", "webhook: it is no http or https address"},
		judged{"repository_ssh_key", "hunter2", "repository_ssh_key: it is no private key"},
		judged{"repository_ssh_key", "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n", "repository_ssh_key: it is no private key"},
		judged{"repository_ssh_key", "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n", "repository_ssh_key: a damaged private key"},
		judged{"repository_ssh_key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNSnWcnRjVgRhpWjHSqrlRQpBIYhQPwI7fwXkzEhqaH op", "repository_ssh_key: this is the public key"},
	)
	for i, c := range cases {
		t.Run(strconv.Itoa(i)+" "+c.key, func(t *testing.T) {
			dir := writeSecret(t, c.key, c.value)
			path := filepath.Join(dir, secretsFile)
			_, err := LoadSecrets(dir)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 || problems[0].File != path || problems[0].Line == 0 || problems[0].Path != c.key ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: got %v, want %q", c.value, err, c.want)
			}
			for _, secret := range []string{"hunter", "hünter", "unter2", "aHVud"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the secret: %v", err)
				}
			}
			if _, err := LoadMachineSecrets(path); err != nil {
				t.Errorf("a machine does not boot with it any more: %v", err)
			}
			before := snapshot(t, dir)
			if _, err := InitSecrets(dir, example(t, "two-proxies"), now); !errors.As(err, &problems) {
				t.Errorf("InitSecrets goes on with it: %v", err)
			}
			if after := snapshot(t, dir); len(after) != len(before) || after[path] != before[path] {
				t.Error("InitSecrets changed a file")
			}
		})
	}
}

// TestSecretsThatPass: what every file carries, however odd, is nobody's business.
func TestSecretsThatPass(t *testing.T) {
	const odd = ` it's "odd": \ % $ # @ { } - & * ! | > ~ `
	for _, c := range []struct{ key, value string }{
		{"users.app", odd}, {"users.app", "пароль и 🔑"}, {"users.app", "md5" + strings.Repeat("0123abcd", 4)}, {"users.app", "$$"},
		{"replicator", odd}, {"rewind", "пароль"}, {"rest", odd}, {"stats", odd + "пароль"}, {"relay", odd + "пароль"},
		{"vrrp", "a"}, {"vrrp", "aB3dE6gH"}, {"repository_cipher", "it's a long one: пароль"}, {"repository_key_secret", "a/b+c=="},
		{"repository_key", "AKIAIOSFODNN7EXAMPLE"}, {"webhook", "https://user:word@hooks.example.org:8443/a?b=c#d"}, {"webhook", "http://10.0.0.9/"},
		{"users.app", strings.Repeat("x", maxSecret)},
	} {
		if _, err := LoadSecrets(writeSecret(t, c.key, c.value)); err != nil {
			t.Errorf("%s %q: %v", c.key, c.value, err)
		}
	}
}

// TestSSHKeys are what ssh-keygen makes: every form of a key is taken, with a passphrase none, and cut anywhere none.
func TestSSHKeys(t *testing.T) {
	program, err := exec.LookPath("ssh-keygen")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no ssh-keygen here: ", err)
	}
	for _, form := range [][]string{{"-t", "ed25519"}, {"-t", "rsa", "-b", "2048"}, {"-t", "ecdsa"}, {"-t", "rsa", "-b", "2048", "-m", "PEM"}, {"-t", "ecdsa", "-m", "PEM"}, {"-t", "rsa", "-b", "2048", "-m", "PKCS8"}} {
		for _, passphrase := range []string{"", "hunter2"} {
			file := filepath.Join(t.TempDir(), "key")
			if out, err := exec.Command(program, append(form, "-q", "-N", passphrase, "-f", file)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			key := string(readFile(t, file))
			wrong, _ := sshPrivateKey(key)
			if passphrase == "" && wrong != "" || passphrase != "" && !strings.Contains(wrong, "passphrase") {
				t.Errorf("%q, passphrase %q: %q", form, passphrase, wrong)
			}
			lines := strings.SplitAfter(key, "\n")
			torn := strings.Join(append(append([]string{}, lines[:2]...), lines[3:]...), "") // without one line in the middle
			if wrong, _ := sshPrivateKey(torn); wrong == "" {
				t.Errorf("%q: a line is missing, and nothing is wrong", form)
			}
			if wrong, _ := sshPrivateKey(strings.Join(lines[:3], "")); wrong == "" {
				t.Errorf("%q: the end is missing, and nothing is wrong", form)
			}
			if wrong, _ := sshPrivateKey(string(readFile(t, file+".pub"))); wrong != "this is the public key" {
				t.Errorf("%q: the public key: %q", form, wrong)
			}
		}
	}
}

// TestSecretsMissing: all that is missing is told at once, beside what is wrong, each with the place where it belongs.
func TestSecretsMissing(t *testing.T) {
	c, err := Parse("c.yaml", []byte(`scope: a
network: 10.0.0.0/24
nodes: [{name: db1, address: 10.0.0.1}]
postgres: {users: [{name: app}, {name: late}]}
backup: {repository: {type: s3, path: /b, bucket: bbb, endpoint: s3.example.org, region: eu}}
alerts: {webhook: secret, email: [a@example.org], relay: 'mail.example.org:25', relay_user: pgha}
`))
	if err != nil {
		t.Fatal(err)
	}
	dir := writeSecret(t, "vrrp", "hunter2345")
	_, err = LoadSecretsFor(dir, c)
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	got := map[string]bool{}
	for _, p := range problems {
		got[p.Path] = true
		if p.Line == 0 || p.Hint == "" {
			t.Errorf("without a place or a hint: %s", p)
		}
	}
	for _, want := range []string{"vrrp", "users.late", "repository_key", "repository_key_secret", "webhook", "relay"} {
		if !got[want] {
			t.Errorf("nothing is said of %s", want)
		}
	}
	if len(problems) != 6 {
		t.Errorf("%d complaints:\n%v", len(problems), err)
	}
}
