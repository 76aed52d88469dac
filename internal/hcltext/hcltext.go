// Package hcltext writes text in HashiCorp's configuration language, as its own programs would lay it out.
//
// In come values and files; out comes text that parses, formatted as `packer fmt` and `terraform fmt` leave it. It knows
// nothing of what the files mean.
package hcltext

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Quote is a string as a literal of the language: quotes, line ends and templates in it are no more than letters.
func Quote(s string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(s)).Bytes())
}

// Format lays a file out. One that does not parse is an error with its place.
func Format(name string, body []byte) ([]byte, error) {
	if _, diags := hclsyntax.ParseConfig(body, name, hcl.InitialPos); diags.HasErrors() {
		return nil, fmt.Errorf("write %s: %w", name, diags)
	}
	return hclwrite.Format(body), nil
}
