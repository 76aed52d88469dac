package deflate

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inputs are chunks that an encoder has trouble with.
func inputs(t testing.TB) map[string][]byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same noise each time
	noise := func(n, symbols int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.IntN(symbols))
		}
		return b
	}
	skewed := make([]byte, MaxInput) // code lengths beyond 15
	for i := range skewed {
		skewed[i] = byte(min(r.ExpFloat64()*1.5, 40))
		if i < 30 {
			skewed[i] = byte(i + 10)
		}
	}
	fibonacci := []byte{}
	for i, a, b := byte(0), 1, 1; len(fibonacci)+a < MaxInput; i, a, b = i+1, b, a+b {
		fibonacci = append(fibonacci, bytes.Repeat([]byte{i}, a)...)
	}
	r.Shuffle(len(fibonacci), func(i, j int) { fibonacci[i], fibonacci[j] = fibonacci[j], fibonacci[i] })
	text, err := os.ReadFile("match.go")
	if err != nil {
		t.Fatal(err)
	}
	far := noise(4096, 256)
	all := map[string][]byte{
		"nothing": nil, "a byte": {7}, "three": []byte("abc"), "zeros": make([]byte, MaxInput), "noise": noise(MaxInput, 256),
		"two symbols": noise(MaxInput, 2), "skewed": skewed, "fibonacci": fibonacci, "text": text,
		"4096 back": append(append(far[:4096:4096], far...), far...), "4097 back": append(append(far[:4096:4096], 1), far...),
		"end of a file": append(noise(5000, 30), make([]byte, MaxInput-5000)...),
		"half noise":    append(bytes.Repeat([]byte("abcdefghij"), 3000), noise(MaxInput-30000, 256)...),
	}
	return all
}

func TestInflateGivesItBack(t *testing.T) {
	for _, window := range []int{4096, 32768} {
		e := New(window)
		for name, in := range inputs(t) {
			out := e.Append([]byte("before"), in)
			out, ok := bytes.CutPrefix(out, []byte("before"))
			back, err := io.ReadAll(flate.NewReader(bytes.NewReader(out)))
			if !ok || err != nil || !bytes.Equal(back, in) {
				t.Errorf("%s: %d bytes became %d: %v", name, len(in), len(back), err)
			}
			if most := len(in) + 5*(len(in)/0xffff+1) + 2; len(out) > most {
				t.Errorf("%s: %d bytes became %d", name, len(in), len(out))
			}
			if again := New(window).Append(nil, in); !bytes.Equal(again, out) {
				t.Errorf("%s: what came before is in the output", name)
			}
			if d := farthest(e); d > window {
				t.Errorf("%s: a match is %d back", name, d)
			}
		}
	}
}

func farthest(e *Encoder) int {
	d := 0
	for _, t := range e.tokens {
		if t.isMatch() {
			d = max(d, t.dist())
		}
	}
	return d
}

func FuzzAppend(f *testing.F) {
	for _, in := range inputs(f) {
		f.Add(in)
	}
	e := New(4096)
	f.Fuzz(func(t *testing.T, in []byte) {
		in = in[:min(len(in), MaxInput)]
		back, err := io.ReadAll(flate.NewReader(bytes.NewReader(e.Append(nil, in))))
		if err != nil || !bytes.Equal(back, in) {
			t.Errorf("%d bytes became %d: %v", len(in), len(back), err)
		}
	})
}

// What a disk holds: this host's programs and texts, in chunks.
func chunks(b *testing.B) [][]byte {
	b.Helper()
	var all [][]byte
	if name := os.Getenv("DEFLATE_DISK"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only read
		info, _ := f.Stat()
		for at := int64(0); at < info.Size(); at += 16 * MaxInput {
			buf := make([]byte, MaxInput)
			_, _ = f.ReadAt(buf, at)
			if len(bytes.Trim(buf, "\x00")) > 0 {
				all = append(all, buf)
			}
		}
		return all
	}
	for _, pattern := range []string{"/usr/bin/[a-m]*", "/usr/lib/x86_64-linux-gnu/*.so*", "/usr/share/perl5/*.pm", "/etc/*"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			if body, err := os.ReadFile(name); err == nil && len(body) > 0 && !strings.Contains(name, "shadow") {
				all = append(all, append(body[:min(len(body), MaxInput)], make([]byte, max(0, MaxInput-len(body)))...))
			}
		}
	}
	return all
}

func BenchmarkAppend(b *testing.B) {
	all := chunks(b)
	e := New(4096)
	in, out := 0, 0
	buf := make([]byte, 0, 2*MaxInput)
	for b.Loop() {
		in, out = 0, 0
		for _, c := range all {
			in += len(c)
			buf = e.Append(buf[:0], c)
			out += len(buf)
		}
	}
	b.SetBytes(int64(in))
	b.ReportMetric(float64(out), "bytes")
}
