package deflate

import (
	"math"
	"math/bits"
	"slices"
)

const (
	literals   = 286 // and lengths, and the end
	distances  = 30
	endOfBlock = 256
)

// block is a run of whole segments that share their codes.
type block struct {
	from, to start
	counts
	cost  float32 // about, in bits
	saves float32 // by becoming one with the next
}

// counts are how often each symbol comes, and the bits beside them.
type counts struct {
	lits  [literals]uint32
	dists [distances]uint32
	extra uint32
}

func (c *counts) add(o *counts) {
	for i, n := range o.lits {
		c.lits[i] += n
	}
	for i, n := range o.dists {
		c.dists[i] += n
	}
	c.extra += o.extra
}

// count adds tokens.
func (c *counts) count(tokens []token) {
	for _, t := range tokens {
		if !t.isMatch() {
			c.lits[t]++
			continue
		}
		l, d := lengthCodes[t.length()], distCode(t.dist())
		c.lits[l.symbol]++
		c.dists[d]++
		c.extra += uint32(l.extra) + uint32(distExtra[d])
	}
}

// split makes blocks of segments: of neighbours, those two first that gain most from sharing their codes.
func (e *Encoder) split() {
	e.blocks = slices.Grow(e.blocks[:0], len(e.segments))[:max(1, len(e.segments)-1)]
	if len(e.segments) == 1 { // no input
		e.blocks[0] = block{from: e.segments[0], to: e.segments[0]}
		return
	}
	var both counts
	merged := func(i int) float32 {
		both = e.blocks[i].counts
		both.add(&e.blocks[i+1].counts)
		return both.price()
	}
	for i := range e.blocks {
		b := &e.blocks[i]
		*b = block{from: e.segments[i], to: e.segments[i+1]}
		b.count(e.tokens[b.from.token:b.to.token])
		b.cost = b.price()
	}
	for i := range len(e.blocks) - 1 {
		e.blocks[i].saves = e.blocks[i].cost + e.blocks[i+1].cost - merged(i)
	}
	for len(e.blocks) > 1 {
		best := 0
		for i := range len(e.blocks) - 1 {
			if e.blocks[i].saves > e.blocks[best].saves {
				best = i
			}
		}
		b := &e.blocks[best]
		if b.saves <= 0 {
			break
		}
		b.cost, b.to = merged(best), e.blocks[best+1].to
		b.counts = both
		e.blocks = slices.Delete(e.blocks, best+1, best+2)
		for i := max(0, best-1); i <= best && i < len(e.blocks)-1; i++ {
			e.blocks[i].saves = e.blocks[i].cost + e.blocks[i+1].cost - merged(i)
		}
	}
}

// price is about how many bits a block takes: what information theory wants for its symbols, and its header.
func (c *counts) price() float32 {
	p := float32(c.extra) + 80
	for _, alphabet := range [][]uint32{c.lits[:], c.dists[:]} {
		total, sum, used := uint32(0), float32(0), false
		for _, n := range alphabet {
			if (n > 0) != used {
				used = !used
				p += 5
			}
			if n > 0 {
				total += n
				sum += float32(n) * log2(n)
				p += 3
			}
		}
		if total > 0 {
			p += float32(total)*log2(total) - sum
		}
	}
	return p
}

func log2(n uint32) float32 {
	if n < uint32(len(logs)) {
		return logs[n]
	}
	return float32(math.Log2(float64(n)))
}

var logs = func() (t [2048]float32) {
	for i := 1; i < len(t); i++ {
		t[i] = float32(math.Log2(float64(i)))
	}
	return t
}()

// lengthCode is how a length is written: RFC 1951, 3.2.5.
type lengthCode struct {
	symbol uint16
	extra  uint8 // bits
	value  uint8 // of them
}

var lengthCodes = func() (t [maxMatch + 1]lengthCode) {
	length := minMatch
	for code := range 28 {
		extra := max(0, code/4-1)
		for v := range 1 << extra {
			if length < maxMatch {
				t[length] = lengthCode{uint16(257 + code), uint8(extra), uint8(v)}
			}
			length++
		}
	}
	t[maxMatch] = lengthCode{symbol: 285}
	return t
}()

// distExtra are the bits that follow a distance's symbol.
var distExtra = [distances]uint8{4: 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}

// distCode is a distance's symbol.
func distCode(dist int) int {
	d := dist - 1
	if d < 4 {
		return d
	}
	n := bits.Len(uint(d)) - 1
	return 2*n | d>>(n-1)&1
}
