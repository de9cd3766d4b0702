package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// A node remembers what it wrote. Whatever else happened to the row is found out
// when it writes again.
func TestARememberedRowThatIsNotSoAnyMoreIsReadAgain(t *testing.T) {
	nodes := newNodes(t, pgtest.Reused(t, emptied), 2, PostgresConfig{})
	one := newSession("diku", alice, time.Now())
	must(t, nodes[0].CreateSession(t.Context(), one, 0))
	var seen []uint64 // generations that decide was called with
	update := func(node node) {
		t.Helper()
		must(t, node.UpdateSession(t.Context(), one.ID, func(now time.Time, s *session.Session) session.Effects {
			seen = append(seen, s.Gen)
			return rotate(now, s)
		}))
	}
	update(nodes[0])
	update(nodes[1])
	update(nodes[0]) // remembers 2, and finds 3
	wantEqual(t, seen, []uint64{1, 2, 2, 3})
	_, err := nodes[1].EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, audit.Event{})
	must(t, err)
	ended := false
	must(t, nodes[0].UpdateSession(t.Context(), one.ID, func(now time.Time, s *session.Session) session.Effects {
		if ended = !s.RevokedAt.IsZero(); ended {
			return session.Effects{}
		}
		return rotate(now, s)
	}))
	if !ended {
		t.Error("a session that had ended was rotated")
	}
}

// What callers have to do meanwhile they do while the row is written: here while
// somebody holds it.
func TestCallersWorkWhileTheirRowIsWritten(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := openPostgres(t, PostgresConfig{URL: url})
	one := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), one, 0))
	must(t, p.UpdateSession(t.Context(), one.ID, rotate))
	holder, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer holder.Close(context.Background())
	tx, err := holder.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `SELECT id FROM sessions FOR UPDATE`)
	must(t, err)
	worked := make(chan struct{})
	once := sync.OnceFunc(func() { close(worked) })
	answered := make(chan error, 1)
	go func() {
		answered <- p.UpdateSession(context.Background(), one.ID, func(now time.Time, s *session.Session) session.Effects {
			effects := rotate(now, s)
			effects.Meanwhile = once
			return effects
		})
	}()
	select {
	case <-worked:
	case err := <-answered:
		t.Fatalf("answered before anybody had worked: %v", err)
	}
	must(t, tx.Rollback(t.Context()))
	must(t, <-answered)
	got, err := p.Session(t.Context(), one.ID)
	must(t, err)
	wantEqual(t, got.Gen, 3)
}

// Notes of use are written past the callbacks, and the node that wrote them
// remembers.
func TestWhatANodeMergedItRemembers(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied)})
	one := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), one, 0))
	must(t, p.UpdateSession(t.Context(), one.ID, rotate))
	must(t, p.MergeSeen(t.Context(), []session.Seen{{Session: one.ID, Gen: 2, At: time.Now(), Retries: 3}}))
	times := 0
	must(t, p.UpdateSession(t.Context(), one.ID, func(now time.Time, s *session.Session) session.Effects {
		times++
		wantEqual(t, s.Retries, 3)
		return rotate(now, s)
	}))
	wantEqual(t, times, 1)
}

// A node's clock is set while it decides by it. What it decides is not written;
// it decides again by the database's.
func TestT15AClockThatWasSetDecidesNothing(t *testing.T) {
	var ahead atomic.Int64
	p := openPostgres(t, PostgresConfig{
		URL: pgtest.Reused(t, emptied), Beat: time.Hour,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	one := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), one, 0))
	must(t, p.UpdateSession(t.Context(), one.ID, rotate))
	for _, wrong := range []time.Duration{90 * time.Second, 0, -90 * time.Second} {
		ahead.Store(int64(wrong))
		must(t, p.UpdateSession(t.Context(), one.ID, rotate))
		got, err := p.Session(t.Context(), one.ID)
		must(t, err)
		if off := time.Since(got.RotatedAt).Abs(); off > 5*time.Second {
			t.Errorf("with a clock that is %s wrong, the rotation was dated %s off", wrong, off)
		}
	}
}

// Many callers on few sessions, through two nodes that both guess: each update
// is made once, on the row as the one before left it.
func TestT52GuessesLoseNoUpdate(t *testing.T) {
	nodes := newNodes(t, pgtest.Reused(t, emptied), 2, PostgresConfig{})
	var rows []*session.Session
	for range 4 {
		one := newSession("diku", alice, time.Now())
		must(t, nodes[0].CreateSession(t.Context(), one, 0))
		rows = append(rows, one)
	}
	const callers, each = 16, 20
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			for range each {
				check(t, nodes[i%2].UpdateSession(t.Context(), rows[i%len(rows)].ID, rotate))
			}
		})
	}
	group.Wait()
	for _, one := range rows {
		got, err := nodes[1].Session(t.Context(), one.ID)
		must(t, err)
		wantEqual(t, got.Gen, uint64(1+callers/len(rows)*each))
	}
}
