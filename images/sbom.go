package images

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Package is one installed Debian package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// Source is the source package's name, which security notices go by.
	Source string `json:"source"`
}

// Installed reads what dpkg says is installed: the tree's /var/lib/dpkg/status. Sorted by name.
func Installed(status io.Reader) ([]Package, error) {
	var all []Package
	var p Package
	var ok bool
	end := func() {
		if ok {
			if p.Source == "" {
				p.Source = p.Name
			}
			all = append(all, p)
		}
		p, ok = Package{}, false
	}
	lines := bufio.NewScanner(status)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if lines.Text() == "" {
			end()
			continue
		}
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Arch = value
		case "Source": // "name" or "name (version)"
			p.Source, _, _ = strings.Cut(value, " ")
		case "Status":
			ok = strings.HasSuffix(value, " installed")
		}
	}
	end()
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	slices.SortFunc(all, func(a, b Package) int { return strings.Compare(a.Name+":"+a.Arch, b.Name+":"+b.Arch) })
	return all, nil
}

// purl is https://github.com/package-url/purl-spec, type deb.
func (p Package) purl(distro string) string {
	u := fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", url.PathEscape(p.Name), url.QueryEscape(p.Version), p.Arch, distro)
	return strings.ReplaceAll(u, "%3A", ":")
}

// SBOM is the image's bill of materials: CycloneDX 1.5, JSON. Times and its serial number come from the build's inputs.
func SBOM(i Image, key string, at time.Time, packages []Package) ([]byte, error) {
	type component struct {
		Type    string `json:"type"`
		Ref     string `json:"bom-ref"`
		Name    string `json:"name"`
		Version string `json:"version"`
		PURL    string `json:"purl,omitempty"`
		Props   any    `json:"properties,omitempty"`
	}
	type property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	distro := fmt.Sprintf("debian-%d", i.Release)
	components := []component{{"operating-system", "debian", "debian", fmt.Sprint(int(i.Release)), "", nil}}
	for _, p := range packages {
		components = append(components, component{
			"library", p.purl(distro), p.Name, p.Version, p.purl(distro), []property{{"pgbake:source", p.Source}},
		})
	}
	body, err := json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": "urn:uuid:" + ID(key, "bill of materials").String(),
		"metadata": map[string]any{
			"timestamp": at.UTC().Format(time.RFC3339),
			"tools":     map[string]any{"components": []any{map[string]any{"type": "application", "name": "pgbake"}}},
			"component": component{"operating-system", i.Name(), i.Name(), key[:min(len(key), 12)], "", nil},
		},
		"components": components,
	}, "", "  ")
	return append(body, '\n'), err
}
