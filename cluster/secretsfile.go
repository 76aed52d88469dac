package cluster

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/yaml.v3"
)

// passwordLength is what rand.Text gives: 26 letters and digits of base 32, 130 bits. None of them needs quoting in
// a URL, in .pgpass, in YAML, in SQL or in a shell.
const passwordLength = 26

// The files in secrets/.
const (
	secretsFile   = "secrets.yaml"
	verifiersFile = "verifiers.json"
	caCertFile    = "ca.crt"
	caKeyFile     = "ca.key"
	ignoreFile    = ".gitignore"
)

const secretsHead = `# The passwords of cluster %q, made by pgbake init. Whoever reads this file owns the databases:
# keep it at mode 0600, out of version control, and backed up where few can look.
# A password changed here reaches the machines with their next seed or pgha apply.
`

// InitSecrets makes in dir what the cluster needs and is not there: the folder (0700), the passwords, the certificate
// authority and the operator's key (0600). What exists it never overwrites; to an existing secrets.yaml it adds what is
// missing, such as the password of a user who came later. It returns what it made, one line each.
func InitSecrets(dir string, c *Cluster, now time.Time) (made []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := private(dir); err != nil {
		return nil, err
	}
	made, err = initPasswords(filepath.Join(dir, secretsFile), c)
	if err != nil {
		return made, err
	}
	more, err := initCA(dir, c, now)
	if made = append(made, more...); err != nil {
		return made, err
	}
	more, err = initOperator(dir)
	if made = append(made, more...); err != nil {
		return made, err
	}
	// Beside cluster.yaml and pgbake.lock, which belong there, they would be committed.
	if err := create(filepath.Join(dir, ignoreFile), []byte("*\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return made, err
	}
	return made, nil
}

func initPasswords(path string, c *Cluster) (made []string, err error) {
	body := fmt.Appendf(nil, secretsHead, c.Scope)
	old, err := os.ReadFile(path)
	exists := err == nil
	if exists {
		// Read it as every other command will, so that a damaged file stops here, untouched.
		if _, err := operatorSecrets(path, nil); err != nil {
			return nil, err
		}
		body = old
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	body, added, err := addMissing(body, c)
	switch {
	case err != nil:
		return nil, fmt.Errorf("add to %s: %w", path, err)
	case len(added) == 0:
		return nil, nil
	case !exists:
		return []string{path}, create(path, body)
	}
	for _, key := range added {
		made = append(made, fmt.Sprintf("%s: %s", path, key))
	}
	return made, replace(path, body, true)
}

// addMissing adds a random value for each secret that the YAML does not hold, and keeps its comments and its order.
func addMissing(body []byte, c *Cluster) (out []byte, added []string, err error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return nil, nil, errors.New("not YAML")
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, HeadComment: string(bytes.TrimSpace(body)), Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	root := doc.Content[0]
	for _, s := range new(Secrets).slots() {
		if setMissing(root, s.key, rand.Text()[:s.length]) {
			added = append(added, s.key)
		}
	}
	users := child(root, "users")
	if users == nil && len(c.Postgres.Users) > 0 {
		users = &yaml.Node{Kind: yaml.MappingNode}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "users"}, users)
	}
	for _, u := range c.Postgres.Users {
		if setMissing(users, u.Name, rand.Text()) {
			added = append(added, "users."+u.Name)
		}
	}
	out, err = encodeNode(&doc)
	return out, added, err
}

func encodeNode(doc *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, errors.New("cannot be written as YAML") // the library would quote it
	}
	return b.Bytes(), enc.Close()
}

func child(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func setMissing(m *yaml.Node, key, value string) bool {
	n := child(m, key)
	if n == nil {
		n = &yaml.Node{Kind: yaml.ScalarNode}
		k := &yaml.Node{}
		k.SetString(key)
		m.Content = append(m.Content, k, n)
	}
	if n.Value != "" {
		return false
	}
	n.SetString(value)
	return true
}

// LoadSecrets reads the operator's secrets from dir. It refuses a folder or a file that others can read, and every secret that a
// file on some machine could not carry, with its place: the error is Problems then.
func LoadSecrets(dir string) (Secrets, error) { return LoadSecretsFor(dir, nil) }

// LoadSecretsFor is LoadSecrets, and refuses as well what is missing for the machines of c.
func LoadSecretsFor(dir string, c *Cluster) (Secrets, error) {
	if err := private(dir); err != nil {
		return Secrets{}, err
	}
	return operatorSecrets(filepath.Join(dir, secretsFile), c)
}

func operatorSecrets(path string, c *Cluster) (Secrets, error) {
	s, src, problems, err := readSecrets(path)
	if err != nil {
		return Secrets{}, err
	}
	s.judge(src, &problems)
	if c != nil {
		for _, m := range s.missing(c, DB, Proxy) {
			if !src.inDoubt(m.path) {
				problems.add(src.at(m.path, m.hint, "is missing: "+m.what))
			}
		}
	}
	if err := problems.err(); err != nil {
		return Secrets{}, err
	}
	return s, nil
}

// LoadMachineSecrets reads the share of the secrets that a seed put on a machine. It refuses a file that others can read, and
// judges no secret: what an older pgbake let pass must not keep a machine from its next boot.
func LoadMachineSecrets(path string) (Secrets, error) {
	s, _, problems, err := readSecrets(path)
	if err == nil {
		err = problems.err()
	}
	if err != nil {
		return Secrets{}, err
	}
	return s, nil
}

func readSecrets(path string) (s Secrets, src *source, problems Problems, err error) {
	if err := private(path); err != nil {
		return s, nil, nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return s, nil, nil, err
	}
	src, root, err := read(path, data, true)
	if err != nil {
		return s, nil, nil, err
	}
	problems = src.decode(root, &s)
	return s, src, problems, nil
}

// Seal returns the secrets as they travel. verifier is what PostgreSQL keeps of a password, old what was made before, which
// stays when it is of the same password: the operator's dir keeps them, so that what travels changes only when a password does.
func (s Secrets) Seal(dir string, verifier func(password, old string) (string, error)) (Sealed, error) {
	path := filepath.Join(dir, verifiersFile)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Sealed{}, err
	}
	had, have := map[string]string{}, map[string]string{}
	if err == nil && json.Unmarshal(before, &had) != nil {
		return Sealed{}, fmt.Errorf("read %s: not what pgbake seed wrote\n      hint: remove it, and it is made anew from %s", path, secretsFile)
	}
	for name, password := range s.Users {
		if have[name], err = verifier(password, had[name]); err != nil {
			return Sealed{}, fmt.Errorf("seal the password of user %q: %w", name, err)
		}
	}
	after, err := json.MarshalIndent(have, "", "  ")
	if err != nil {
		return Sealed{}, err
	}
	if after = append(after, '\n'); !bytes.Equal(before, after) {
		if err := replace(path, after, true); err != nil {
			return Sealed{}, err
		}
	}
	s.Users = have
	return Sealed{s}, nil
}

// private refuses what others than its owner can read.
func private(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: no such file (pgbake init makes it)", path)
	}
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		right := "600"
		if info.IsDir() {
			right = "700"
		}
		return fmt.Errorf("read %s: other users can read it, its mode is %#o (chmod %s %s)", path, info.Mode().Perm(), right, path)
	}
	return nil
}

// create writes a new file, complete or not at all, and never over another.
func create(path string, body []byte) error {
	tmp, err := temporary(path, body, true)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) //nolint:errcheck // a leftover temporary file is not worth an error
	return os.Link(tmp, path)
}

// replace writes a file, complete or not at all. Without durable it may be gone after a power cut: right for
// what can be made again.
func replace(path string, body []byte, durable bool) error {
	tmp, err := temporary(path, body, durable)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

// temporary writes the body beside its destination, at mode 0600, and returns the name.
func temporary(path string, body []byte, durable bool) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // CreateTemp's mode is 0600
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(body); err != nil {
		return "", err
	}
	if durable {
		return f.Name(), f.Sync()
	}
	return f.Name(), nil
}
