// Package hcltext writes text in HashiCorp's configuration language, as its own programs would lay it out.
//
// In come values and files; out comes text that parses, formatted as `packer fmt` and `terraform fmt` leave it. It knows
// nothing of what the files mean.
package hcltext

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"text/template"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Quote is a string as a literal of the language: quotes, line ends and templates in it are no more than letters.
func Quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

// Execute makes a file of a template: the one called from, which may call others among fsys' files of a pattern; in all of
// them quote is Quote. What parts that are left out leave of blank lines is gone, and HCL, which the file's name tells, is
// formatted.
func Execute(fsys fs.FS, pattern, from, name string, data any) ([]byte, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"quote": func(v any) string { return Quote(fmt.Sprint(v)) },
	}).ParseFS(fsys, pattern)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, from, data); err != nil {
		return nil, err
	}
	body := append(blanks.ReplaceAll(bytes.TrimSpace(b.Bytes()), []byte("\n\n")), '\n')
	if !slices.Contains([]string{".tf", ".hcl"}, path.Ext(name)) {
		return body, nil
	}
	return Format(name, body)
}

var blanks = regexp.MustCompile(`\n{3,}`)

// Format lays a file out. One that does not parse is an error with its place.
func Format(name string, body []byte) ([]byte, error) {
	if _, diags := hclsyntax.ParseConfig(body, name, hcl.InitialPos); diags.HasErrors() {
		return nil, fmt.Errorf("write %s: %w", name, diags)
	}
	return hclwrite.Format(body), nil
}
