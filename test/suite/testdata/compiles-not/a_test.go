package compilesnot

import "testing"

func TestNot(t *testing.T) { undefined() }
