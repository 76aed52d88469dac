package deflate

import "encoding/binary"

// Kinds of blocks.
const (
	stored  = 0
	fixed   = 1
	dynamic = 2
)

// header is a dynamic block's: the sizes of its codes, in run lengths that have codes themselves.
type header struct {
	lits, dists int // how many sizes there are
	runs        []run
	codes       [19]code
	sizes       int // how many of those codes' sizes there are
}

// run is a symbol of the sizes' own alphabet and the bits beside it.
type run struct{ symbol, extra, value uint8 }

// sizeOrder is the order of the sizes' own sizes: RFC 1951, 3.2.7.
var sizeOrder = [19]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// write writes a block in the shortest of its three kinds.
func (e *Encoder) write(w *writer, b *block, tokens []token, plain []byte, last bool) {
	b.lits[endOfBlock]++
	var lits [literals]code
	var dists [distances]code
	e.huffman.build(lits[:], b.lits[:], 15)
	e.huffman.build(dists[:], b.dists[:], 15)
	h := e.header(lits[:], dists[:])

	final := uint64(0)
	if last {
		final = 1
	}
	cost := func(lits, dists []code) int {
		n := int(b.extra)
		for i, c := range b.lits {
			n += int(c) * int(lits[i].size)
		}
		for i, c := range b.dists {
			n += int(c) * int(dists[i].size)
		}
		return n
	}
	asDynamic, asFixed := h.cost()+cost(lits[:], dists[:]), cost(fixedLits[:literals], fixedDists[:])
	asStored := 8*len(plain) + 40*(1+len(plain)/0xffff) // at most: it begins at a whole byte
	switch {
	case asStored <= min(asDynamic, asFixed):
		for {
			part := plain[:min(len(plain), 0xffff)]
			plain = plain[len(part):]
			if len(plain) > 0 {
				w.put(stored<<1, 3)
			} else {
				w.put(final|stored<<1, 3)
			}
			w.store(part)
			if len(plain) == 0 {
				return
			}
		}
	case asFixed <= asDynamic:
		w.put(final|fixed<<1, 3)
		w.tokens(tokens, fixedLits[:literals], fixedDists[:])
	default:
		w.put(final|dynamic<<1, 3)
		w.header(h)
		w.tokens(tokens, lits[:], dists[:])
	}
}

// header packs the sizes of a block's codes.
func (e *Encoder) header(lits, dists []code) *header {
	h := &e.head19
	h.runs = h.runs[:0]
	h.lits, h.dists = trimmed(lits, 257), trimmed(dists, 1)
	var all [literals + distances]uint8
	sizes := all[:0]
	for _, c := range lits[:h.lits] {
		sizes = append(sizes, c.size)
	}
	for _, c := range dists[:h.dists] {
		sizes = append(sizes, c.size)
	}
	var counts [19]uint32
	add := func(symbol, extra uint8, value int) {
		h.runs = append(h.runs, run{symbol, extra, uint8(value)}) //nolint:gosec // seven bits
		counts[symbol]++
	}
	for len(sizes) > 0 {
		size, n := sizes[0], 1
		for n < len(sizes) && sizes[n] == size {
			n++
		}
		sizes = sizes[n:]
		if size > 0 {
			add(size, 0, 0)
			n--
		}
		for n >= 3 {
			switch {
			case size > 0:
				k := min(n, 6)
				if n == 7 || n == 8 { // three and more stay
					k = n - 3
				}
				add(16, 2, k-3)
				n -= k
			case n > 10:
				k := min(n, 138)
				add(18, 7, k-11)
				n -= k
			default:
				add(17, 3, n-3)
				n = 0
			}
		}
		for range n {
			add(size, 0, 0)
		}
	}
	e.huffman.build(h.codes[:], counts[:], 7)
	h.sizes = 4
	for i, s := range sizeOrder {
		if h.codes[s].size > 0 {
			h.sizes = max(h.sizes, i+1)
		}
	}
	return h
}

// trimmed is how many codes there are up to the last that is used, at least least.
func trimmed(codes []code, least int) int {
	n := len(codes)
	for n > least && codes[n-1].size == 0 {
		n--
	}
	return n
}

func (h *header) cost() int {
	n := 14 + 3*h.sizes
	for _, r := range h.runs {
		n += int(h.codes[r.symbol].size + r.extra)
	}
	return n
}

// Codes of a fixed block: RFC 1951, 3.2.6. Two of the symbols never come, but count.
var fixedLits, fixedDists = func() (lits [288]code, dists [distances]code) {
	var sizes [16]int
	for i := range lits {
		size := 8
		switch {
		case i >= 144 && i < 256:
			size = 9
		case i >= 256 && i < 280:
			size = 7
		}
		lits[i].size = uint8(size)
		sizes[size]++
	}
	assign(lits[:], &sizes)
	for i := range dists {
		dists[i].size = 5
	}
	assign(dists[:], &[16]int{5: 32})
	return lits, dists
}()

// writer puts bits behind bytes, the lowest first.
type writer struct {
	out  []byte
	bits uint64
	n    uint
}

// put adds n bits, at most 32 at a time.
func (w *writer) put(v uint64, n uint) {
	w.bits |= v << w.n
	if w.n += n; w.n >= 32 {
		w.out = binary.LittleEndian.AppendUint32(w.out, uint32(w.bits)) //nolint:gosec // the low half
		w.bits >>= 32
		w.n -= 32
	}
}

func (w *writer) header(h *header) {
	w.put(uint64(h.lits-257)|uint64(h.dists-1)<<5|uint64(h.sizes-4)<<10, 14) //nolint:gosec // positive
	for _, s := range sizeOrder[:h.sizes] {
		w.put(uint64(h.codes[s].size), 3)
	}
	for _, r := range h.runs {
		c := h.codes[r.symbol]
		w.put(uint64(c.bits)|uint64(r.value)<<c.size, uint(c.size+r.extra))
	}
}

func (w *writer) tokens(tokens []token, lits, dists []code) {
	for _, t := range tokens {
		if !t.isMatch() {
			c := lits[t]
			w.put(uint64(c.bits), uint(c.size))
			continue
		}
		l := lengthCodes[t.length()]
		c := lits[l.symbol]
		w.put(uint64(c.bits)|uint64(l.value)<<c.size, uint(c.size+l.extra))
		d := distCode(t.dist())
		c = dists[d]
		rest := uint64(t.dist()-1) & (1<<distExtra[d] - 1) //nolint:gosec // positive
		w.put(uint64(c.bits)|rest<<c.size, uint(c.size+distExtra[d]))
	}
	w.put(uint64(lits[endOfBlock].bits), uint(lits[endOfBlock].size))
}

// store writes at most 65535 bytes as they are, after the three bits of their block.
func (w *writer) store(plain []byte) {
	w.align()
	n := uint16(len(plain)) //nolint:gosec // by its caller
	w.out = binary.LittleEndian.AppendUint16(w.out, n)
	w.out = binary.LittleEndian.AppendUint16(w.out, ^n)
	w.out = append(w.out, plain...)
}

// align fills up the byte.
func (w *writer) align() {
	for ; w.n > 0; w.n -= min(w.n, 8) {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

func (w *writer) finish() []byte {
	w.align()
	return w.out
}
