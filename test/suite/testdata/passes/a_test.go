package passes

import "testing"

func TestGood(*testing.T) {}
