// Package deflate compresses the chunks of a disk: raw deflate (RFC 1951) with a window as small as a format wants it.
//
// In come at most 64 KiB, out come the bytes that any inflate reads; the same chunk always gives the same bytes. It is
// no stream: what compressed disks hold is one chunk at a time.
//
// klauspost/compress has only a fast level for windows below 32 KiB, 6 % larger than zlib's. qcow2 wants 4 KiB, and
// the image is what an administrator waits for and pays for. Here blocks end where the disk's files do, and matches
// are chosen with their price in mind: smaller than zlib, on every core.
package deflate

// MaxInput is the most that an Encoder takes at once.
const MaxInput = 64 << 10

const (
	minMatch = 3
	maxMatch = 258
	// segment is how much input is counted together: blocks of the output are made of whole ones. It is the size of a
	// file system's block, where files begin.
	segment = 4 << 10
)

// Encoder compresses one chunk after the other; it belongs to one goroutine.
type Encoder struct {
	matcher
	tokens []token
	// segments are where they begin, and where the last one ends.
	segments []start
	blocks   []block
	huffman  builder
	head19   header
}

// New is an encoder whose matches lie at most window bytes back.
func New(window int) *Encoder {
	return &Encoder{matcher: matcher{window: min(window, maxDistance)}}
}

// Append appends the compressed src, at most MaxInput bytes, to dst.
func (e *Encoder) Append(dst, src []byte) []byte {
	e.parse(src)
	e.split()
	w := writer{out: dst}
	for i := range e.blocks {
		b := &e.blocks[i]
		e.write(&w, b, e.tokens[b.from.token:b.to.token], src[b.from.at:b.to.at], i == len(e.blocks)-1)
	}
	return w.finish()
}

// start is where a segment begins: its first token and that one's place in the input.
type start struct{ token, at int }

// token is a literal, or a match's length and distance.
type token uint32

const matchFlag = 1 << 31

func match(length, dist int) token { return matchFlag | token(length<<16|dist-1) } //nolint:gosec // 9 and 15 bits

func (t token) isMatch() bool { return t&matchFlag != 0 }
func (t token) length() int   { return int(t >> 16 & 0x1ff) }
func (t token) dist() int     { return int(t&0x7fff) + 1 }
