package session

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// found is what a search brought to light.
type found struct {
	// worlds is how many were reached; all of them, unless broken.
	worlds int
	// broken is what went wrong, and story a shortest way there.
	broken string
	story  []modelStep
}

// modelStep is a move with what came of it.
type modelStep struct {
	move    move
	ask     ask
	verdict Verdict
	broken  string
	after   modelWorld
}

// worldLimit keeps a scope that was chosen too large from eating the machine.
const worldLimit = 40_000_000

// search walks through all worlds, breadth first.
func (s *modelScope) search() found {
	type node struct {
		world modelWorld
		id    int32
	}
	s.judged = make(map[Family]struct{})
	if s.present == nil {
		s.present = Family.Present
	}
	start := s.start()
	known := map[modelWorld]struct{}{start.key(): {}}
	trail := trail{{from: -1}}
	frontier := []node{{world: start}}
	var moves []move
	for len(frontier) > 0 {
		var next []node
		for _, n := range frontier {
			moves = s.moves(&n.world, moves[:0])
			for _, m := range moves {
				done := s.apply(n.world, m)
				if done.broken != "" {
					return found{len(known), done.broken, append(s.replay(trail.to(n.id)), done)}
				}
				key := done.after.key()
				if _, old := known[key]; old {
					continue
				}
				known[key] = struct{}{}
				next = append(next, node{done.after, int32(len(trail))})
				trail = append(trail, footprint{n.id, m})
			}
		}
		if len(known) > worldLimit {
			return found{worlds: len(known), broken: fmt.Sprintf("more than %d worlds, choose a smaller scope", worldLimit)}
		}
		frontier = next
	}
	return found{worlds: len(known)}
}

// trail is where each world was first reached from, by number.
type trail []footprint

type footprint struct {
	from int32
	move move
}

func (t trail) to(id int32) []move {
	if t[id].from < 0 {
		return nil
	}
	return append(t.to(t[id].from), t[id].move)
}

func (s *modelScope) replay(moves []move) []modelStep {
	var steps []modelStep
	w := s.start()
	for _, m := range moves {
		done := s.apply(w, m)
		steps, w = append(steps, done), done.after
	}
	return steps
}

// modelHolds fails if anything goes wrong in any world of s.
func modelHolds(t *testing.T, s modelScope) {
	t.Helper()
	t.Run(s.name, func(t *testing.T) {
		began := time.Now()
		got := s.search()
		t.Logf("%d worlds in %v", got.worlds, time.Since(began).Round(time.Millisecond))
		if got.broken != "" {
			t.Errorf("%s\n%s", got.broken, s.timeline(got.story))
		}
	})
}

// modelBreaks fails unless the search finds a world in which what is wrong has
// these words. A check that cannot fail shows nothing.
func modelBreaks(t *testing.T, s modelScope, words string) {
	t.Helper()
	t.Run(s.name, func(t *testing.T) {
		got := s.search()
		if !strings.HasPrefix(got.broken, words) {
			t.Errorf("found %q, want %q", got.broken, words)
		}
		t.Logf("%d worlds: %s\n%s", got.worlds, got.broken, s.timeline(got.story))
	})
}
