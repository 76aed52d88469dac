package panics

import "testing"

func TestGood(*testing.T) {}

func TestPanics(*testing.T) { panic("a reason") }
