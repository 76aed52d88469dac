package verify

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// together runs f(0) … f(n-1) at the same time.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// milliseconds is a short time as people read it.
func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// seconds is a longer one.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// oneLine is an error of several lines in one.
func oneLine(err error) string { return strings.Join(strings.Split(err.Error(), "\n"), "; ") }

// plural is "1 row", "2 rows".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
