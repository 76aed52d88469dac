package bad

import (
	"os"
	"testing"
	"time"
)

// It fails while the tests of the other package go on.
func TestBad(t *testing.T) {
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := os.Stat("../began"); err == nil {
			break
		}
	}
	t.Error("a reason")
}
