package deflate

import (
	"encoding/binary"
	"math/bits"
)

const (
	maxDistance = 32 << 10
	hashBits    = 13
	hash3Bits   = 12
	// depth is how many earlier places are looked at; nice is a length that needs no better one.
	depth = 40
	nice  = 130
	// far is how far back three bytes are worth less than three literals.
	far = 4 << 10
)

// matcher finds earlier occurrences of what comes: lists of places whose next four bytes have the same hash.
type matcher struct {
	window int
	src    []byte
	head   [1 << hashBits]uint16  // the latest place, for each hash
	head3  [1 << hash3Bits]uint16 // the same for three bytes, the latest only
	prev   [MaxInput]uint16       // the one before, for each place
}

func hash4(v uint32) uint32 { return v * 0x9e3779b1 >> (32 - hashBits) }
func hash3(v uint32) uint32 { return v << 8 * 0x9e3779b1 >> (32 - hash3Bits) }

func (m *matcher) load(at int) uint32 { return binary.LittleEndian.Uint32(m.src[at:]) }

// take begins a chunk. A list's end is a place that is not before the one that led to it: nothing older needs clearing.
func (m *matcher) take(src []byte) {
	m.src = src
	clear(m.head[:])
	clear(m.head3[:])
}

// insert makes the place at known.
func (m *matcher) insert(at int) {
	v := m.load(at)
	h := &m.head[hash4(v)]
	m.prev[at], *h = *h, uint16(at) //nolint:gosec // below MaxInput
	m.head3[hash3(v)] = uint16(at)  //nolint:gosec // the same
}

// find returns the longest match of what is at a place, when it is longer than best, among the nearest depth places,
// and makes the place known. Four bytes must be left.
func (m *matcher) find(at, best, depth int) (length, dist int) {
	src := m.src
	v := m.load(at)
	h4, h3 := hash4(v), hash3(v)
	candidate, candidate3 := int(m.head[h4]), int(m.head3[h3])
	m.prev[at], m.head[h4], m.head3[h3] = uint16(candidate), uint16(at), uint16(at) //nolint:gosec // below MaxInput
	least, most := max(0, at-m.window), min(maxMatch, len(src)-at)
	if best < minMatch && candidate3 < at && at-candidate3 <= min(far, m.window) && (m.load(candidate3)^v)<<8 == 0 {
		best, length, dist = minMatch, minMatch, at-candidate3
	}
	best = max(best, minMatch)
	if best >= most {
		return length, dist
	}
	// What is longer than best has these four bytes too.
	tail := m.load(at + best - 3)
	for ; depth > 0 && candidate >= least && candidate < at; depth-- {
		if m.load(candidate+best-3) == tail && m.load(candidate) == v {
			if n := 4 + common(src[candidate+4:], src[at+4:at+most]); n > best {
				best, length, dist = n, n, at-candidate
				if n >= nice || n == most {
					break
				}
				tail = m.load(at + best - 3)
			}
		}
		next := int(m.prev[candidate])
		if next >= candidate {
			break
		}
		candidate = next
	}
	return length, dist
}

// common is how many bytes of b are also at the start of a, which is longer.
func common(a, b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// parse turns a chunk into tokens: a match is put off while one that begins a byte or two later is worth more.
func (e *Encoder) parse(src []byte) {
	e.take(src)
	e.tokens, e.segments = e.tokens[:0], e.segments[:0]
	end := len(src) - 4 // the last place to look at
	at := 0
	emit := func(t token, n int) {
		if at >= len(e.segments)*segment {
			e.segments = append(e.segments, start{len(e.tokens), at})
		}
		e.tokens = append(e.tokens, t)
		at += n
	}
	for at <= end {
		length, dist := e.find(at, 0, depth)
		if length == 0 {
			emit(token(src[at]), 1)
			continue
		}
		seen := at // the last place made known
		for length < nice && seen+2 <= end {
			seen++
			next, nextDist := e.find(seen, length-1, depth/2)
			if next > 0 && worth(next, nextDist)-worth(length, dist) > 2 {
				emit(token(src[at]), 1)
				length, dist = next, nextDist
				continue
			}
			seen++
			next, nextDist = e.find(seen, length-1, depth/4)
			if next > 0 && worth(next, nextDist)-worth(length, dist) > 6 {
				emit(token(src[at]), 1)
				emit(token(src[at]), 1)
				length, dist = next, nextDist
				continue
			}
			break
		}
		last := min(at+length-1, end)
		emit(match(length, dist), length)
		for seen < last {
			seen++
			e.insert(seen)
		}
	}
	for at < len(src) {
		emit(token(src[at]), 1)
	}
	e.segments = append(e.segments, start{len(e.tokens), at})
}

// worth is what a match saves, in quarters of a byte about: each byte four, less what its distance costs.
func worth(length, dist int) int { return 4*length - bits.Len(uint(dist)) } //nolint:gosec // positive
