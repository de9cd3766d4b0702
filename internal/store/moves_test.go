package store

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// move is one thing that may happen to a family at one time.
type move struct {
	from session.Family
	call call
	now  time.Time
}

// after is what the rule makes of it.
func (m move) after() (session.Family, session.Verdict) { return present(m.from, m.call, m.now) }

// moves finds every move that a family can make in a small scope, breadth
// first: the newest token and older ones, one that nobody was given, with and
// without the nonces of its strikes, under each policy, soon and late.
func moves(limit int) []move {
	start := session.Family{Gen: 1, RotatedAt: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	known := map[session.Family]bool{start: true}
	var all []move
	for queue := []session.Family{start}; len(queue) > 0 && len(all) < limit; queue = queue[1:] {
		for _, m := range movesFrom(queue[0]) {
			all = append(all, m)
			if next, _ := m.after(); !known[next] && next.RevokedAt.IsZero() && next.Gen <= 5 && next.StrikeNo <= 5 {
				known[next] = true
				queue = append(queue, next)
			}
		}
	}
	return all
}

func movesFrom(f session.Family) []move {
	var all []move
	latest := f.RotatedAt
	for _, t := range []time.Time{f.WindowAt, f.StrikeAt, f.LateSince} {
		if t.After(latest) {
			latest = t
		}
	}
	for _, later := range []time.Duration{time.Second, 15 * time.Second, 40 * time.Second, 25 * time.Hour} {
		for gen := max(1, f.Gen-min(2, f.Gen)); gen <= f.Gen+1; gen++ {
			for _, heals := range [][]uint32{nil, {f.StrikeNo}} {
				for policy := range int32(len(testRules)) {
					all = append(all, move{f, call{do: "refresh", gen: gen, heals: heals, policy: policy}, latest.Add(later)})
				}
			}
		}
	}
	return all
}

// Threat: a store that keeps something else than the rule decided, in a state
// that no example happened to have.
func TestEveryMoveOfASmallScopeIsKeptAsTheRuleDecides(t *testing.T) {
	limit := 4000
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		limit = 200_000
	}
	all := moves(limit)
	clusters(t, func(t *testing.T, nodes []session.Store, c *racing) {
		c.stop()
		var group sync.WaitGroup
		const walkers = 16
		outcomes := make([]map[session.Outcome]int, walkers)
		for i := range walkers {
			outcomes[i] = make(map[session.Outcome]int)
			group.Go(func() {
				for n := i; n < len(all); n += walkers {
					row := newSession("diku", fmt.Sprintf("walker %d", i), c.Now())
					outcome, err := all[n].through(t.Context(), nodes, n, row)
					if err != nil {
						t.Errorf("%+v at %s: %v", all[n].call, all[n].now, err)
						return
					}
					outcomes[i][outcome]++
				}
			})
		}
		group.Wait()
		total := make(map[session.Outcome]int)
		for _, one := range outcomes {
			for outcome, n := range one {
				total[outcome] += n
			}
		}
		t.Logf("%d moves: %v", len(all), total)
		for _, outcome := range []session.Outcome{
			session.Rotated, session.Floored, session.Retried, session.Recovered, session.Ahead, session.Reused, session.Stale, session.StaleAgain,
		} {
			if total[outcome] == 0 {
				t.Errorf("no move had the outcome %q, so nothing was shown about it", outcome)
			}
		}
	})
}

// through writes where the move begins by one node, makes it by a second and
// reads by a third what was kept.
func (m move) through(ctx context.Context, nodes []session.Store, n int, row *session.Session) (session.Outcome, error) {
	node := func(i int) session.Store { return nodes[(n+i)%len(nodes)] }
	row.Family = m.from
	if err := node(0).CreateSession(ctx, row, 0); err != nil {
		return 0, err
	}
	var verdict session.Verdict
	err := node(1).UpdateSession(ctx, row.ID, func(_ time.Time, s *session.Session) session.Effects {
		s.Family, verdict = present(s.Family, m.call, m.now)
		return session.Effects{Save: verdict.Changed}
	})
	if err != nil {
		return 0, err
	}
	kept, err := node(2).Session(ctx, row.ID)
	if err != nil {
		return 0, err
	}
	if want, says := m.after(); verdict != says || kept.Family != want {
		return 0, fmt.Errorf("from %+v\nthe rule says %+v and %+v,\nthe store %+v and %+v", m.from, says, want, verdict, kept.Family)
	}
	if kept.RevokedAt.IsZero() {
		return verdict.Outcome, nil
	}
	// An end is for good, whoever asks next.
	again := verdict
	err = node(2).UpdateSession(ctx, row.ID, func(_ time.Time, s *session.Session) session.Effects {
		s.Family, again = present(s.Family, m.call, m.now)
		return session.Effects{Save: again.Changed}
	})
	if err == nil && again.Outcome != session.Ended {
		err = fmt.Errorf("%+v, and then %+v", verdict, again)
	}
	return verdict.Outcome, err
}
