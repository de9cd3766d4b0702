package directory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Expand returns names with all that they stand for according to defs, in any
// depth. A name without a definition stands for itself alone. A cycle, which
// a foreign source may hold, ends where it closes.
func Expand(defs map[string]PermissionSet, names []string) Set {
	sets := make([]PermissionSet, 0, len(defs))
	for name, set := range defs {
		set.Name = name
		sets = append(sets, set)
	}
	return define(sets).expand(names)
}

// definitions are the permission sets of one tenant, prepared for expansion:
// each name that occurs in them has a number, in alphabetical order.
type definitions struct {
	names  []string
	number map[string]int
	sub    [][]int
	// elevatedOnly has the permissions without effect in ordinary tokens.
	elevatedOnly []bool
}

func define(sets []PermissionSet) *definitions {
	number := make(map[string]int, len(sets))
	for _, set := range sets {
		number[set.Name] = 0
		for _, sub := range set.Sub {
			number[sub] = 0
		}
	}
	d := &definitions{
		names:        slices.Sorted(maps.Keys(number)),
		number:       number,
		sub:          make([][]int, len(number)),
		elevatedOnly: make([]bool, len(number)),
	}
	for n, name := range d.names {
		number[name] = n
	}
	for _, set := range sets {
		n := number[set.Name]
		for _, sub := range set.Sub {
			d.sub[n] = append(d.sub[n], number[sub])
		}
		d.elevatedOnly[n] = d.elevatedOnly[n] || set.ElevatedOnly
	}
	return d
}

// expand returns names with all that they stand for.
func (d *definitions) expand(names []string) Set {
	s, _ := d.closure(names, func(int) bool { return false })
	return s
}

// ordinary returns what names stand for in an ordinary token, and apart the
// elevated-only permissions that were met on the way. What can be reached
// through these alone has no effect either.
func (d *definitions) ordinary(names []string) (s Set, elevatedOnly []string) {
	return d.closure(names, func(n int) bool { return d.elevatedOnly[n] })
}

// closure follows names through the definitions. It does not enter the
// permissions that stop names, but returns them, some perhaps repeatedly.
func (d *definitions) closure(names []string, stop func(n int) bool) (s Set, stopped []string) {
	if len(names) == 0 {
		return Set{}, nil // most users have no elevated permissions
	}
	s = Set{defs: d, bits: make([]uint64, (len(d.names)+63)/64)}
	var todo []int
	meet := func(n int) {
		switch {
		case s.bits[n/64]&(1<<(n%64)) != 0:
		case stop(n):
			stopped = append(stopped, d.names[n])
		default:
			s.bits[n/64] |= 1 << (n % 64)
			if len(d.sub[n]) > 0 {
				todo = append(todo, n)
			}
		}
	}
	for _, name := range names {
		if n, ok := d.number[name]; ok {
			meet(n)
		} else {
			s.other = append(s.other, name)
		}
	}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, sub := range d.sub[n] {
			meet(sub)
		}
	}
	slices.Sort(s.other)
	s.other = slices.Compact(s.other)
	return s, stopped
}

// CheckCycles refuses permission sets that would contain themselves, at any
// depth, if added took the place of those of the same name in defs. The error
// is ErrInvalid and tells the way round.
func CheckCycles(defs map[string]PermissionSet, added ...PermissionSet) error {
	replaced := make(map[string][]string, len(added))
	for _, set := range added {
		replaced[set.Name] = append(replaced[set.Name], set.Sub...)
	}
	sub := func(name string) []string {
		if names, ok := replaced[name]; ok {
			return names
		}
		return defs[name].Sub
	}
	walked := make(map[string]bool)
	for _, set := range added {
		if path := cycle(set.Name, sub, walked); path != nil {
			return cycleError(path)
		}
	}
	return nil
}

// cycle walks down from a name and returns the first way that comes back to
// where it was. walked has false for the names on the present way and true for
// those that are known to be clear. It does not recurse: the depth is chosen
// by whoever wrote the sets.
func cycle(from string, sub func(name string) []string, walked map[string]bool) []string {
	type step struct {
		name string
		left []string
	}
	var path []step
	enter := func(name string) {
		walked[name] = false
		path = append(path, step{name, sub(name)})
	}
	if !walked[from] {
		enter(from)
	}
	for len(path) > 0 {
		last := &path[len(path)-1]
		if len(last.left) == 0 {
			walked[last.name] = true
			path = path[:len(path)-1]
			continue
		}
		next := last.left[0]
		last.left = last.left[1:]
		clear, met := walked[next]
		switch {
		case !met:
			enter(next)
		case !clear:
			round := slices.IndexFunc(path, func(s step) bool { return s.name == next })
			var names []string
			for _, s := range path[round:] {
				names = append(names, s.name)
			}
			return append(names, next)
		}
	}
	return nil
}

func cycleError(path []string) error {
	const enough = 8
	if len(path) > enough {
		path = slices.Concat(path[:enough-2], []string{"…"}, path[len(path)-1:])
	}
	way := make([]string, len(path))
	for i, name := range path {
		way[i] = quoted(name)
	}
	return invalid(fmt.Sprintf("permission set %q: must not contain itself (%s), remove one of these sub-permissions",
		way[0], strings.Join(way, " > ")))
}
