// Package option is what the plugin's components have in common: how their configuration is read, and what is said of
// a wrong one.
//
// Packer itself refuses keys that HCL templates may not have, with their place and what was probably meant; in JSON
// templates that is done here. A wrong value is refused with the name of its key; Packer adds the place.
package option

import (
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/images"
	"github.com/pgbake/pgbake/internal/suggest"
)

// Decode reads what Packer hands over into a configuration; keys are those that it has.
func Decode(into any, ctx *interpolate.Context, keys []string, raws ...any) error {
	err := config.Decode(into, &config.DecodeOpts{Interpolate: true, InterpolateContext: ctx}, raws...)
	if err == nil {
		return nil
	}
	var all []error
	for _, m := range unknown.FindAllStringSubmatch(err.Error(), -1) {
		all = append(all, fmt.Errorf("unknown key %q%s", m[1], Hint(m[1], keys)))
	}
	if all == nil {
		return err
	}
	return errors.Join(all...)
}

// unknown is how the SDK says that it knows no such key.
var unknown = regexp.MustCompile(`unknown configuration key: '"([^"']*)"'`)

// Keys are the names of a component's own keys, without those that Packer adds to each.
func Keys[V any](spec map[string]V) []string {
	var keys []string
	for k := range spec {
		if !strings.HasPrefix(k, "packer_") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Hint is the line below a complaint about a word that is none of the known ones.
func Hint(word string, known []string) string { return "\n      hint: " + suggest.Hint(word, known) }

// Specification reads cluster.yaml; the default is the one in Packer's working directory.
func Specification(file *string) (*cluster.Cluster, error) {
	if *file == "" {
		*file = "cluster.yaml"
	}
	c, err := cluster.Load(*file)
	if err != nil {
		return nil, fmt.Errorf("specification:\n%w", err)
	}
	return c, nil
}

// Image is the one of a role; arch defaults to this host's. Every complaint names its key.
func Image(c *cluster.Cluster, role string, arch *string) (images.Image, error) {
	if *arch == "" {
		*arch = runtime.GOARCH
	}
	var known []string
	for _, r := range images.Roles {
		known = append(known, string(r))
	}
	var problems []error
	switch {
	case role == "":
		problems = append(problems, fmt.Errorf("role: which one is missing\n      hint: one of %s", strings.Join(known, ", ")))
	case !slices.Contains(known, role):
		problems = append(problems, fmt.Errorf("role: %q is none%s", role, Hint(role, known)))
	}
	if arches := []string{"amd64", "arm64"}; !slices.Contains(arches, *arch) {
		problems = append(problems, fmt.Errorf("arch: %q is none%s", *arch, Hint(*arch, arches)))
	}
	if problems != nil || c == nil {
		return images.Image{}, errors.Join(problems...)
	}
	return images.New(c, images.Role(role), *arch)
}

// Formats are those of the names given.
func Formats(names []string) ([]images.Format, error) {
	var known []string
	for _, f := range images.Formats {
		known = append(known, f.Name)
	}
	var formats []images.Format
	var problems []error
	for i, name := range names {
		f, ok := images.FormatNamed(name)
		switch {
		case !ok:
			problems = append(problems, fmt.Errorf("formats[%d]: %q is none%s", i, name, Hint(name, known)))
		case slices.Contains(names[:i], name):
			problems = append(problems, fmt.Errorf("formats[%d]: %q is there twice", i, name))
		}
		formats = append(formats, f)
	}
	return formats, errors.Join(problems...)
}
