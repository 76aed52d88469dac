package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The operator's key, with which generations are signed, and the newest generation, in secrets/.
const (
	operatorKeyFile = "operator.key"
	operatorPubFile = "operator.pub"
	generationFile  = "generation.json"
)

// Word is what a seed carries so that its machine can be told something newer later.
type Word struct {
	Generation Generation
	// Operator is the public key that generations are signed with, PEM.
	Operator []byte
}

// NewGeneration signs what the machines of c are to know, with the operator's key in dir; spec is the text that they get, Bare's. Where that is what they were told
// last, it returns the same generation again: the number changes only when something else does. news says what, in words;
// nothing for the first. The number is not counted before CountGeneration has done so.
func NewGeneration(dir string, c *Cluster, spec []byte, identities map[string]Identity, now time.Time) (w Word, news []string, err error) {
	if _, err := initOperator(dir); err != nil {
		return w, nil, err
	}
	key, err := loadOperator(dir)
	if err != nil {
		return w, nil, err
	}
	if w.Operator, err = encodeOperator(key); err != nil {
		return w, nil, err
	}
	g := Generation{Scope: c.Scope, Number: 1, Made: now.UTC().Truncate(time.Second), Specification: spec, Certificates: map[string]Certificates{}}
	for machine, id := range identities {
		g.Authorities = id[caCertFile]
		g.Certificates[machine] = CertificatesOf(id)
	}
	path := filepath.Join(dir, generationFile)
	body, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = g.sign(key)
	case err != nil:
	default:
		var last Generation
		if last, err = ReadGeneration(body, w.Operator); err != nil {
			return w, nil, fmt.Errorf("read %s: %w\n      hint: bring it back from your backup: machines take no number twice", path, err)
		}
		g.Number, g.Grown = last.Number+1, last.Grown || !slices.EqualFunc(nodesOf(last), c.Nodes, func(a, b Node) bool { return a.Address == b.Address })
		if err = g.sign(key); err == nil {
			if news = g.news(last); news == nil {
				w.Generation = last
				return w, nil, nil
			}
		}
	}
	if err != nil {
		return w, nil, err
	}
	if n := len(g.Encode()); n > MaxGeneration {
		return w, nil, fmt.Errorf("with its certificates the specification has %d KiB, %d at most travel from machine to machine\n"+
			"      hint: shorten what is longest in cluster.yaml, without its comments: keys, parameters", (n+1023)>>10, MaxGeneration>>10)
	}
	w.Generation = g
	return w, news, nil
}

// CountGeneration keeps a generation in dir as the newest, whose number no other gets, and calls place, which puts it where people
// find it. When place fails, the number was not counted: nobody has seen it.
func CountGeneration(dir string, g Generation, place func() error) error {
	path := filepath.Join(dir, generationFile)
	before, err := os.ReadFile(path)
	first := errors.Is(err, fs.ErrNotExist)
	if err != nil && !first {
		return err
	}
	body := g.Encode()
	if bytes.Equal(before, body) {
		return place()
	}
	// The other way round, a power cut between the two would leave a number that is used and not counted.
	if err := replace(path, body, true); err != nil {
		return err
	}
	err = place()
	switch {
	case err == nil:
		return nil
	case first:
		return errors.Join(err, os.Remove(path))
	}
	return errors.Join(err, replace(path, before, true))
}

// NewSpecification is the word of news for a changed cluster.yaml, BareSpecification for one that an older pgbake signed with its
// comments.
const (
	NewSpecification  = "the specification"
	BareSpecification = "the specification without its comments, and else the same"
)

// news says in words what g says and last does not; nothing when they say the same.
func (g Generation) news(last Generation) (news []string) {
	for _, machine := range slices.Sorted(maps.Keys(g.certificates)) {
		switch old := last.certificates[machine]; {
		case old == "":
			news = append(news, machine+" is new")
		case old != g.certificates[machine]:
			news = append(news, "certificates of "+machine)
		}
	}
	for _, machine := range slices.Sorted(maps.Keys(last.certificates)) {
		if g.certificates[machine] == "" {
			news = append(news, machine+" is left out")
		}
	}
	if g.authorities != last.authorities {
		news = append(news, "the authorities")
	}
	switch {
	case g.specification == last.specification:
	case g.specification == digest(Bare(last.Specification)):
		news = append(news, BareSpecification) // an older pgbake signed the last one
	default:
		news = append(news, NewSpecification)
	}
	return news
}

// nodesOf are the database machines of a generation; nil when today's pgbake cannot read its specification.
func nodesOf(g Generation) []Node {
	c, err := ParseTaken(generationFile, g.Specification)
	if err != nil {
		return nil
	}
	return c.Nodes
}

// initOperator makes the operator's key when there is none.
func initOperator(dir string) (made []string, err error) {
	keyPath, pubPath := filepath.Join(dir, operatorKeyFile), filepath.Join(dir, operatorPubFile)
	switch {
	case exists(keyPath):
	case exists(pubPath):
		return nil, fmt.Errorf("read %s: no such file, but %s is there: bring the key back from your backup", keyPath, pubPath)
	default:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := create(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
			return nil, err
		}
		made = append(made, keyPath)
	}
	key, err := loadOperator(dir)
	if err != nil {
		return made, err
	}
	public, err := encodeOperator(key)
	if err != nil {
		return made, err
	}
	switch old, err := os.ReadFile(pubPath); {
	case errors.Is(err, fs.ErrNotExist):
		return append(made, pubPath), create(pubPath, public)
	case err != nil:
		return made, err
	case !bytes.Equal(old, public):
		return made, fmt.Errorf("read %s: it does not belong to %s", pubPath, keyPath)
	}
	return made, nil
}

func loadOperator(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, operatorKeyFile)
	for _, p := range []string{dir, path} {
		if err := private(p); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("read %s: no private key in it", path)
	}
	// Never what was given: it may be the key.
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: a damaged private key", path)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read %s: not an Ed25519 key", path)
	}
	return private, nil
}

func encodeOperator(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}
