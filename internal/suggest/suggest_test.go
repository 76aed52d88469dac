package suggest

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"same", "same", 0},
		{"versoin", "version", 1}, {"adress", "address", 1}, {"scopes", "scope", 1},
		{"kitten", "sitting", 3}, {"ca", "abc", 3}, {"узел", "узлы", 2},
	} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if there, back := Distance(c.a, c.b), Distance(c.b, c.a); there != back {
			t.Errorf("Distance(%q, %q) is %d one way and %d the other", c.a, c.b, there, back)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"scope", "nodes", "name_servers", "time_servers", "postgres", "proxies"}
	for word, want := range map[string]string{
		"scop": "scope", "SCOPE": "scope", "name-servers": "name_servers", "postgers": "postgres",
		"proxys": "proxies", "time_server": "time_servers", "banana": "", "x": "", "": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzDistance(f *testing.F) {
	f.Add("versoin", "version")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a)+len(b) > 200 {
			t.Skip()
		}
		x, y := len([]rune(a)), len([]rune(b))
		if d := Distance(a, b); d < max(x-y, y-x) || d > max(x, y) {
			t.Errorf("Distance(%q, %q) = %d, outside %d..%d", a, b, d, max(x-y, y-x), max(x, y))
		}
	})
}
