package slow

import (
	"os"
	"testing"
	"time"
)

func TestGoesOn(t *testing.T) {
	if err := os.WriteFile("../began", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1200 * time.Millisecond)
}
