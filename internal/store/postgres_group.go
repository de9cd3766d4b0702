package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// group gathers the updates of this node that need a lock. Whatever waits when
// it comes round goes into one transaction, and while that is with the database
// the next ones gather. One transaction is on its way at a time: with two, each
// is half as full, and both cost as much (docs/decisions/016).
//
// An update fails without touching its neighbours: a callback that panics or
// breaks its contract leaves its row as it was.
type group struct {
	p     *Postgres
	spare sync.Pool

	*queue[*update]
}

// update is one caller's part of a transaction.
type update struct {
	ctx    context.Context
	id     token.SessionID
	decide func(now time.Time, s *session.Session) session.Effects
	// taken is won by the group, which then answers, or by a caller who leaves.
	taken  atomic.Bool
	mine   bool // the group has won
	answer chan struct{}
	err    error
	// alone is whether the caller is to run the update in a transaction of its
	// own.
	alone bool
	// thrown is what decide panicked with. It is thrown again at the caller.
	thrown any
}

func newGroup(p *Postgres) *group {
	g := &group{p: p}
	g.spare.New = func() any { return &update{answer: make(chan struct{}, 1)} }
	g.queue = newQueue(g.run)
	return g
}

// do has a session updated and returns when that is committed and all listeners
// have run. If ctx ends before decide has run, it does not run.
func (g *group) do(ctx context.Context, id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) (alone bool, err error) {
	u := g.spare.Get().(*update)
	u.ctx, u.id, u.decide = ctx, id, decide
	if err := g.put(u); err != nil {
		return false, err
	}
	select {
	case <-u.answer:
	case <-ctx.Done():
		if u.taken.CompareAndSwap(false, true) {
			return false, ctx.Err() // the group may still look at it: it is not used again
		}
		<-u.answer
	}
	alone, err, thrown := u.alone, u.err, u.thrown
	*u = update{answer: u.answer}
	g.spare.Put(u)
	if thrown != nil {
		panic(thrown)
	}
	return alone, err
}

// run commits a batch and answers it.
func (g *group) run(batch []*update) {
	ids := make([][]byte, 0, len(batch))
	asked := make(map[token.SessionID]bool, len(batch))
	for _, u := range batch {
		if u.ctx.Err() == nil && !asked[u.id] {
			asked[u.id] = true
			ids = append(ids, u.id[:])
		}
	}
	rows := make(map[token.SessionID]*pgRow, len(ids))
	within, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	locked := false
	t, err := g.p.tried(context.Background(), within, g.p.urgent, func(t *pgTx) error {
		for _, u := range batch {
			g.decide(t, u, rows)
		}
		return nil
	}, []statement{lockSessions(ids, rows)}, func(err error, committing bool) bool {
		locked = sqlState(err) == "55P03"
		return !locked && again(err, committing)
	})
	if err == nil && len(t.changes) > 0 {
		g.p.feed.own(context.Background(), t.changes)
	}
	for _, u := range batch {
		if !u.mine && !u.taken.CompareAndSwap(false, true) {
			continue // it has left
		}
		if err != nil && u.thrown == nil {
			// Refusals are answered so, too: they may rest on what an earlier
			// update of the batch would have written. Somebody who holds one row
			// for long, a node that was stopped perhaps, makes only those wait who
			// want the same row.
			u.alone, u.err = locked, err
		}
		u.answer <- struct{}{}
	}
}

// decide runs one update, unless its caller has gone. It may run again, after a
// transaction that failed.
func (g *group) decide(t *pgTx, u *update, rows map[token.SessionID]*pgRow) {
	if !u.mine {
		if !u.taken.CompareAndSwap(false, true) {
			return
		}
		u.mine = true
		if u.err = u.ctx.Err(); u.err != nil {
			u.decide = nil
		}
	}
	if u.decide == nil {
		return
	}
	u.err, u.alone, u.thrown = nil, false, nil
	r := rows[u.id]
	if r == nil {
		u.err = notFound("session")
		return
	}
	defer func() {
		if u.thrown = recover(); u.thrown != nil {
			u.err = errMisuse
		}
	}()
	_, u.err = t.decide(u.ctx, r, func(now time.Time, s *session.Session) session.Effects {
		effects := u.decide(now, s)
		if u.alone = effects.EndUser != ""; u.alone {
			return session.Effects{}
		}
		return effects
	})
}
