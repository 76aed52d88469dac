package slow

import "testing"

var never = make(chan int)

func TestFirst(*testing.T) {}

func TestNeverEnds(*testing.T) { <-never }

func TestBeside(*testing.T) {}
