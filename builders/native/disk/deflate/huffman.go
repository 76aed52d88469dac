package deflate

import (
	"math/bits"
	"slices"
)

// code is a symbol's bits, the first one lowest, and how many they are.
type code struct {
	bits uint16
	size uint8
}

// builder makes Huffman codes; it is kept to save its memory.
type builder struct {
	used  []uint64 // a symbol below its frequency
	nodes []uint32
}

// build gives every symbol that comes a code of at most limit bits, the more frequent the shorter. It makes at least two:
// some readers want no code that is incomplete.
func (b *builder) build(codes []code, counts []uint32, limit int) {
	b.used = b.used[:0]
	for i, n := range counts {
		codes[i] = code{}
		if n > 0 {
			b.used = append(b.used, uint64(n)<<16|uint64(i)) //nolint:gosec // an index
		}
	}
	for i := 0; len(b.used) < 2; i++ {
		if counts[i] == 0 {
			b.used = append(b.used, uint64(i)) //nolint:gosec // an index
		}
	}
	slices.Sort(b.used)
	var sizes [16]int // how many codes have each size
	b.depths(&sizes, limit)
	// The rarest symbols have the longest codes.
	i := 0
	for size := limit; size > 0; size-- {
		for range sizes[size] {
			codes[b.used[i]&0xffff].size = uint8(size) //nolint:gosec // at most 15
			i++
		}
	}
	assign(codes, &sizes)
}

// depths counts the leaves of Huffman's tree at each depth, none deeper than limit.
func (b *builder) depths(sizes *[16]int, limit int) {
	// Two queues: the leaves, rarest first, and the inner nodes, which come out in order. Each node remembers its
	// parent; a parent is always made after its children.
	n := len(b.used)
	b.nodes = slices.Grow(b.nodes[:0], 4*n)[:4*n]
	weight, parent := b.nodes[:2*n], b.nodes[2*n:]
	for i, u := range b.used {
		weight[i] = uint32(u >> 16) //nolint:gosec // a chunk's symbols
	}
	leaf, inner := 0, n
	for made := n; made < 2*n-1; made++ {
		weight[made] = 0
		for range 2 {
			at := &leaf
			if leaf == n || inner < made && weight[inner] < weight[leaf] {
				at = &inner
			}
			weight[made] += weight[*at]
			parent[*at] = uint32(made) //nolint:gosec // an index
			*at++
		}
	}
	depth := weight // weights are no longer needed
	depth[2*n-2] = 0
	for i := 2*n - 3; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
		if i < n {
			sizes[min(int(depth[i]), limit)]++
		}
	}
	// Those that were cut took more than there is. A code one bit longer, its twin beside it, makes room for one.
	room := 0
	for size, k := range sizes[1 : limit+1] {
		room += k << (limit - size - 1)
	}
	for ; room > 1<<limit; room-- {
		size := limit - 1
		for sizes[size] == 0 {
			size--
		}
		sizes[size]--
		sizes[size+1] += 2
		sizes[limit]--
	}
}

// assign numbers the codes by their sizes: RFC 1951, 3.2.2.
func assign(codes []code, sizes *[16]int) {
	var next [16]uint16
	at := uint16(0)
	for size := 1; size < len(next); size++ {
		at = (at + uint16(sizes[size-1])) << 1 //nolint:gosec // at most 286
		next[size] = at
	}
	for i := range codes {
		if size := codes[i].size; size > 0 {
			codes[i].bits = bits.Reverse16(next[size]) >> (16 - size)
			next[size]++
		}
	}
}
