package directory

import (
	"slices"
	"strings"
)

// MatchDesired returns what a module learns of its caller's permissions: those
// held that are required, or that match one of the desired patterns, in
// alphabetical order, each once, empty rather than nil.
//
// In a pattern * stands for any text, and everything else for itself. The
// whole name must match. mod-authtoken makes a regular expression of the
// pattern, in which a dot matches anything and the ends are open.
func MatchDesired(held Set, required, desired []string) []string {
	found := []string{}
	var patterns []string
	for _, name := range required {
		if held.Has(name) {
			found = append(found, name)
		}
	}
	for _, name := range desired {
		switch {
		case strings.Contains(name, "*"):
			patterns = append(patterns, name)
		case held.Has(name):
			found = append(found, name)
		}
	}
	if len(patterns) > 0 {
		for _, name := range held.Names() {
			if slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) }) {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// matches takes each piece between two stars where it first occurs, which
// finds a match if there is one and never goes back.
func matches(pattern, name string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, piece)
		}
		_, name, ok = strings.Cut(name, piece)
		if !ok {
			return false
		}
		rest = after
	}
}
