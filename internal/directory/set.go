package directory

import "slices"

// Set is a fixed set of permissions, compact enough to be kept for every user:
// one bit for each permission that the tenant defines. The zero Set is empty.
// A Set never changes, so requests may share it.
type Set struct {
	defs *definitions
	bits []uint64
	// other holds, sorted, the names that defs does not know.
	other []string
}

// Has is whether the set has the permission. It does not allocate.
func (s Set) Has(name string) bool {
	if n, ok := s.number(name); ok {
		return s.bits[n/64]&(1<<(n%64)) != 0
	}
	_, found := slices.BinarySearch(s.other, name)
	return found
}

// All returns the first of names that the set lacks, and "" if it has them
// all. It does not allocate.
func (s Set) All(names []string) (missing string) {
	for _, name := range names {
		if !s.Has(name) {
			return name
		}
	}
	return ""
}

// Names lists the set in alphabetical order.
func (s Set) Names() []string {
	names := slices.Clone(s.other)
	for i, word := range s.bits {
		for bit := range 64 {
			if word&(1<<bit) != 0 {
				names = append(names, s.defs.names[i*64+bit])
			}
		}
	}
	slices.Sort(names)
	return names
}

// Union returns the permissions of both sets. They may stem from different
// states of the definitions.
func (s Set) Union(t Set) Set {
	if s.defs == nil && t.defs != nil {
		return t.Union(s)
	}
	u := Set{defs: s.defs, bits: slices.Clone(s.bits), other: slices.Clone(s.other)}
	if s.defs == t.defs {
		for i, word := range t.bits {
			u.bits[i] |= word
		}
		u.add(t.other...)
	} else {
		u.add(t.Names()...)
	}
	slices.Sort(u.other)
	u.other = slices.Compact(u.other)
	return u
}

// Intersect returns the permissions that both sets have. They may stem from
// different states of the definitions.
func (s Set) Intersect(t Set) Set {
	u := Set{defs: s.defs, bits: make([]uint64, len(s.bits))}
	for _, name := range s.Names() {
		if t.Has(name) {
			u.add(name)
		}
	}
	return u // names come sorted, so other is
}

// add is for a set that nobody else has seen. It leaves other to be sorted.
func (s *Set) add(names ...string) {
	for _, name := range names {
		if n, ok := s.number(name); ok {
			s.bits[n/64] |= 1 << (n % 64)
		} else {
			s.other = append(s.other, name)
		}
	}
}

func (s *Set) number(name string) (int, bool) {
	if s.defs == nil {
		return 0, false
	}
	n, ok := s.defs.number[name]
	return n, ok
}
