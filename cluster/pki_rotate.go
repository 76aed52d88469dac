package cluster

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// caNextFile is the key of the authority that will sign after the one that does now.
const caNextFile = "ca-next.key"

// Rotation is how far the change from one authority to the next is. No step goes back, and none takes the trust away
// from a certificate that is in use.
type Rotation uint8

// The states, each of which the machines must have before the next one comes.
const (
	Single    Rotation = iota // one authority
	Announced                 // two are trusted, the first one signs
	Succeeded                 // two are trusted, the second one signs
)

// Authority is one of those that are trusted, without its key.
type Authority struct {
	ID     string
	Signs  bool
	From   time.Time
	To     time.Time
	listed *x509.Certificate
}

// Rotation tells how far the authority in dir is, and which ones are trusted.
func (ca CA) Rotation(dir string) (Rotation, []Authority, error) {
	trusted, err := Authorities(ca.pem)
	if err != nil {
		return Single, nil, err
	}
	var all []Authority
	for _, c := range trusted {
		all = append(all, Authority{AuthorityID(c), c.Equal(ca.cert), c.NotBefore, c.NotAfter, c})
	}
	if len(all) == 1 {
		return Single, all, nil // also where a run was stopped between the next key and its certificate
	}
	if exists(filepath.Join(dir, caNextFile)) {
		return Announced, all, nil
	}
	return Succeeded, all, nil
}

// RotateCA takes the next step, and returns which one is reached. It refuses while one of the cluster's machines does
// not have the last one yet, by what they said of themselves. Keys and certificates that are done with stay in dir.
func RotateCA(dir string, c *Cluster, said []Trust, now time.Time) (Rotation, error) {
	ca, err := LoadCA(dir)
	if err != nil {
		return Single, err
	}
	at, all, err := ca.Rotation(dir)
	if err != nil {
		return at, err
	}
	switch at {
	case Announced:
		if err := everyone(c, said, "trust both authorities", func(t Trust) string {
			return lacks(all, t.Trusts, "it trusts only "+list(t.Trusts))
		}); err != nil {
			return at, err
		}
		return Succeeded, ca.succeed(dir)
	case Succeeded:
		if err := everyone(c, said, "have their certificates from "+AuthorityID(ca.cert), func(t Trust) string {
			if slices.Equal(t.SignedBy, []string{AuthorityID(ca.cert)}) {
				return ""
			}
			return "its are from " + list(t.SignedBy)
		}); err != nil {
			return at, err
		}
		return Single, ca.retireOthers(dir, all)
	}
	return Announced, ca.announce(dir, c, now)
}

// everyone complains about the machines that do not have the last step.
func everyone(c *Cluster, said []Trust, what string, problem func(Trust) string) error {
	var not []string
	for _, m := range c.Machines() {
		i := slices.IndexFunc(said, func(t Trust) bool { return t.Machine == m.Name })
		why := "nothing is known of it"
		if i >= 0 {
			why = problem(said[i])
		}
		if why != "" {
			not = append(not, m.Name+": "+why)
		}
	}
	if len(not) == 0 {
		return nil
	}
	return fmt.Errorf("rotate the authority: the next step comes when all machines %s; %s", what, strings.Join(not, "; "))
}

func lacks(all []Authority, has []string, why string) string {
	for _, a := range all {
		if !slices.Contains(has, a.ID) {
			return why
		}
	}
	return ""
}

func list(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// announce adds a second authority to what is trusted. The key first: a stop between the two leaves what the next run
// completes.
func (ca CA) announce(dir string, c *Cluster, now time.Time) error {
	path := filepath.Join(dir, caNextFile)
	if !exists(path) {
		key, err := newKey()
		if err != nil {
			return err
		}
		if err := create(path, key); err != nil {
			return err
		}
	}
	key, err := readKey(path)
	if err != nil {
		return err
	}
	next, err := certify(key, c.Scope, ca.cert.NotBefore.Add(backdate), now)
	if err != nil {
		return err
	}
	return replace(filepath.Join(dir, caCertFile), slices.Concat(ca.pem, next.pem), true)
}

// succeed lets the second authority sign. The first one's key gets its name first: a stop between the two changes nothing.
func (ca CA) succeed(dir string) error {
	path := filepath.Join(dir, caKeyFile)
	if err := os.Link(path, filepath.Join(dir, "ca-"+AuthorityID(ca.cert)+".key")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(filepath.Join(dir, caNextFile), path)
}

// retireOthers ends the trust in all authorities but the one that signs.
func (ca CA) retireOthers(dir string, all []Authority) error {
	for _, a := range all {
		if a.Signs {
			continue
		}
		if err := create(filepath.Join(dir, "ca-"+a.ID+".crt"), encodeCert(a.listed.Raw)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return replace(filepath.Join(dir, caCertFile), encodeCert(ca.cert.Raw), true)
}
