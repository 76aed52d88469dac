package fails

import "testing"

func TestGood(*testing.T) {}

func TestBad(t *testing.T) {
	t.Run("in a part", func(t *testing.T) { t.Error("a reason") })
	t.Run("not in another", func(*testing.T) {})
}

func TestLeftOut(t *testing.T) { t.Skip("a reason") }
