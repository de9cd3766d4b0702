package store

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// node is one of several on a database, and what its listener heard.
type node struct {
	*Postgres
	heard *recorder
}

func newNodes(t *testing.T, url string, n int, c PostgresConfig) []node {
	t.Helper()
	var all []node
	for i := range n {
		c.URL, c.Name = url, string(rune('a'+i))
		one := node{openPostgres(t, c), &recorder{}}
		one.OnChange(one.heard.listen)
		all = append(all, one)
	}
	return all
}

// await waits for what another goroutine does.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func (n node) revokeOne(t testing.TB) *session.Session {
	t.Helper()
	s := newSession("diku", alice, time.Now())
	check(t, n.CreateSession(context.Background(), s, 0))
	check(t, n.UpdateSession(context.Background(), s.ID, revoke))
	return s
}

func TestEveryNodeHearsEveryChangeInOrder(t *testing.T) {
	for name, pooled := range map[string]bool{"listening": false, "asking": true} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, pgtest.Reused(t, emptied), 3, PostgresConfig{Pooled: pooled})
			var group sync.WaitGroup
			for _, n := range nodes {
				for range 3 {
					group.Go(func() {
						for range 20 {
							n.revokeOne(t)
						}
					})
				}
			}
			group.Wait()
			const changes = 3 * 3 * 20
			for _, n := range nodes {
				await(t, "180 changes", func() bool { return n.feed.applied.Load() == changes })
				heard := n.heard.take()
				wantEqual(t, len(heard), changes)
				for i, c := range heard {
					wantEqual(t, c.Seq, uint64(i+1))
				}
			}
		})
	}
}

func TestChangesOfEveryKindReachOtherNodesAsTheyWere(t *testing.T) {
	nodes := newNodes(t, pgtest.Reused(t, emptied), 2, PostgresConfig{})
	a, b, ctx, e := nodes[0], nodes[1], t.Context(), audit.Event{Kind: audit.TenantChanged}
	must(t, a.CreateTenant(ctx, directory.Tenant{ID: "diku"}, e))
	must(t, a.CreateUser(ctx, directory.User{ID: alice, Tenant: "diku", Username: "alice", Active: true}, directory.Grants{}, "", e))
	must(t, a.CreateSession(ctx, newSession("diku", alice, time.Now()), 0))
	must(t, ignore(a.EndSessions(ctx, session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, e)))
	must(t, a.SavePermissionSet(ctx, "diku", directory.PermissionSet{Name: "p"}, e))
	must(t, a.SaveKeys(ctx, someKeys()))
	must(t, a.SaveModules(ctx, e, directory.Module{ID: "mod-a-1.0.0"}))
	must(t, a.DeleteTenant(ctx, "diku", e))
	must(t, ignore(a.Await(ctx)))
	heard := a.heard.take()
	wantEqual(t, len(heard), 12)
	wantEqual(t, b.heard.take(), heard)
}

func TestAwaitTellsWhenAllHaveHeard(t *testing.T) {
	nodes := newNodes(t, pgtest.Reused(t, emptied), 3, PostgresConfig{})
	for _, n := range nodes {
		await(t, "listening", n.feed.listening.Load)
	}
	var took []time.Duration
	for range 50 {
		s := nodes[0].revokeOne(t)
		reach, err := nodes[0].Await(t.Context())
		must(t, err)
		wantEqual(t, []int{reach.Reached, reach.Live}, []int{3, 3})
		took = append(took, reach.Took)
		for _, n := range nodes {
			if heard := n.heard.take(); len(heard) != 1 || heard[0].Session != s.ID {
				t.Fatalf("said to have heard, and heard %+v", heard)
			}
		}
	}
	slices.Sort(took)
	t.Logf("median %s, slowest of 50 %s", took[25], took[49])
}

func TestANodeThatWentAwayIsNotWaitedFor(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	nodes := newNodes(t, url, 3, PostgresConfig{Beat: 50 * time.Millisecond})
	must(t, nodes[2].Close())
	nodes[0].revokeOne(t)
	reach, err := nodes[0].Await(t.Context())
	must(t, err)
	wantEqual(t, []int{reach.Reached, reach.Live}, []int{2, 2})

	// One that dies takes nothing off the list.
	kill(nodes[1].Postgres)
	nodes[0].revokeOne(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	reach, err = nodes[0].Await(ctx)
	must(t, err)
	wantEqual(t, []int{reach.Reached, reach.Live}, []int{1, 2})
	pgtest.Exec(t, url, `UPDATE nodes SET heard_at = heard_at - $1 WHERE name = 'b'`, session.DefaultTrust.Microseconds())
	reach, err = nodes[0].Await(t.Context())
	must(t, err)
	wantEqual(t, []int{reach.Reached, reach.Live}, []int{1, 1})
	list, err := nodes[0].Nodes(t.Context())
	must(t, err)
	if len(list) != 1 || !list[0].Self || list[0].Name != "a" {
		t.Errorf("live: %+v", list)
	}
}

// kill stops a node's feed as a node that dies does: without a word.
func kill(p *Postgres) {
	p.feed.stop()
	p.feed.running.Wait()
}

func TestWhatEverybodyHasStoredIsTheLeast(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	nodes := newNodes(t, url, 2, PostgresConfig{Beat: 50 * time.Millisecond})
	a, b := nodes[0], nodes[1]
	at := a.Now()
	must(t, a.Flushed(t.Context(), at))
	if !a.FlushedAt().Before(at) {
		t.Error("the other node has not told that it stored anything")
	}
	must(t, b.Flushed(t.Context(), at.Add(time.Second)))
	must(t, b.Flushed(t.Context(), at)) // it never goes back
	for _, n := range nodes {
		await(t, "the least of both", func() bool { return n.FlushedAt().Equal(at) })
	}
	list, err := b.Nodes(t.Context())
	must(t, err)
	if len(list) != 2 || !list[0].Self || !list[0].FlushedAt.Equal(at.Add(time.Second)) || !list[1].FlushedAt.Equal(at) {
		t.Errorf("live: %+v", list)
	}
	must(t, a.Close())
	await(t, "the one that is left", func() bool { return b.FlushedAt().Equal(at.Add(time.Second)) })
}

func TestANodeThatCannotListenAsks(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	nodes := newNodes(t, url, 2, PostgresConfig{})
	await(t, "listening", nodes[1].feed.listening.Load)
	// All that is left of a stopped database: connections that are gone.
	pgtest.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	s := nodes[0].revokeOne(t)
	await(t, "the change", func() bool {
		return slices.ContainsFunc(nodes[1].heard.take(), func(c session.Change) bool { return c.Session == s.ID })
	})
	await(t, "listening again", nodes[1].feed.listening.Load)
}

// A node that was stopped knows it from HeardAt, before it has asked anybody.
func TestHeardAtStandsStillWhileNothingIsHeard(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied), Beat: 20 * time.Millisecond})
	first := p.HeardAt()
	await(t, "a beat", func() bool { return p.HeardAt().After(first) })
	if p.HeardAt().After(p.Now()) {
		t.Error("it has heard what was not yet said")
	}
	kill(p)
	stopped := p.HeardAt()
	await(t, "time to pass", func() bool { return p.Now().Sub(stopped) > 100*time.Millisecond })
	wantEqual(t, p.HeardAt(), stopped)
}

func TestMissedChangesMakeANodeReadEverythingAgain(t *testing.T) {
	for name, lose := range map[string]string{
		"pruned":         `DELETE FROM changes`,
		"pruned in part": `DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)`,
		"restored":       `DELETE FROM changes; UPDATE feed SET seq = 0`,
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Reused(t, emptied)
			nodes := newNodes(t, url, 2, PostgresConfig{})
			a, b := nodes[0], nodes[1]
			a.revokeOne(t)
			must(t, ignore(a.Await(t.Context())))
			b.heard.take()
			b.feed.applying.Lock() // deaf
			s := a.revokeOne(t)
			must(t, ignore(a.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: bob}, session.LoggedOutAll, audit.Event{})))
			a.revokeOne(t)
			pgtest.Exec(t, url, lose)
			b.feed.applying.Unlock()
			b.feed.wakeUp()
			var heard []session.Change
			await(t, "what was missed", func() bool {
				heard = append(heard, b.heard.take()...)
				return slices.ContainsFunc(heard, func(c session.Change) bool { return c.Kind == session.Missed })
			})
			if !slices.ContainsFunc(heard, func(c session.Change) bool { return c.Kind == session.SessionEnded && c.Session == s.ID }) ||
				!slices.ContainsFunc(heard, func(c session.Change) bool { return c.Kind == session.EpochMoved && c.UserID == bob && c.Epoch == 1 }) {
				t.Errorf("heard %+v", heard)
			}
			// And in order from there on.
			last := a.revokeOne(t)
			await(t, "what came later", func() bool {
				heard := b.heard.take()
				return len(heard) > 0 && heard[len(heard)-1].Session == last.ID
			})
		})
	}
}

func TestOldChangesAreForgotten(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := newNodes(t, url, 1, PostgresConfig{KeepChanges: time.Hour})[0]
	for range 3 {
		p.revokeOne(t)
	}
	pgtest.Exec(t, url, `UPDATE changes SET at = at - $1 WHERE seq < 3`, time.Hour.Microseconds())
	must(t, p.feed.prune(t.Context(), p.Now()))
	wantEqual(t, pgtest.Value[int](t, url, `SELECT min(seq) FROM changes`), 3)
}

// Nobody is told "logged out" by a node that does not know it itself, even if the
// numbers begin again.
func TestOwnChangesAreHeardAfterARestore(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := newNodes(t, url, 1, PostgresConfig{})[0]
	for range 3 {
		p.revokeOne(t)
	}
	pgtest.Exec(t, url, `DELETE FROM changes; UPDATE feed SET seq = 0`)
	p.heard.take()
	s := p.revokeOne(t)
	if !slices.ContainsFunc(p.heard.take(), func(c session.Change) bool { return c.Session == s.ID }) {
		t.Error("acknowledged, and not heard")
	}
}

// Listeners are registered while the node starts, and others do not wait for it.
func TestAListenerThatComesLateHearsWhatOthersDidMeanwhile(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	late := openPostgres(t, PostgresConfig{URL: url})
	other := newNodes(t, url, 1, PostgresConfig{})[0]
	s := other.revokeOne(t)
	await(t, "the change", func() bool { return late.feed.applied.Load() == 1 })
	r := &recorder{}
	late.OnChange(r.listen)
	if heard := r.take(); len(heard) != 1 || heard[0].Session != s.ID {
		t.Errorf("heard %+v", heard)
	}
}

// Node clocks that are wrong by minutes change nothing: states are dated by the
// database, and Now tells its time.
func TestT15WrongClocksOfNodes(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	for _, wrong := range []time.Duration{-90 * time.Second, 0, 90 * time.Second} {
		p := openPostgres(t, PostgresConfig{URL: url, Beat: 20 * time.Millisecond, Now: func() time.Time { return time.Now().Add(wrong) }})
		s := newSession("diku", alice, time.Now())
		must(t, p.CreateSession(t.Context(), s, 0, audit.Event{Kind: audit.Login, Tenant: "diku"}))
		before := pgtest.Value[time.Time](t, url, `SELECT clock_timestamp()`)
		must(t, p.UpdateSession(t.Context(), s.ID, revoke))
		after := pgtest.Value[time.Time](t, url, `SELECT clock_timestamp()`)
		got, err := p.Session(t.Context(), s.ID)
		must(t, err)
		if got.RevokedAt.Before(before) || got.RevokedAt.After(after) {
			t.Errorf("clock wrong by %s: ended %s, not between %s and %s", wrong, got.RevokedAt, before, after)
		}
		// The machine is busy, so one of several readings must be right.
		await(t, "the database's time", func() bool {
			before := time.Now()
			off := p.Now().Sub(pgtest.Value[time.Time](t, url, `SELECT clock_timestamp()`))
			return off.Abs() < 5*time.Millisecond+time.Since(before)
		})
	}
}

func TestDatabaseClock(t *testing.T) {
	node := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var c databaseClock
	c.init(func() time.Time { return node }, nil)
	measure := func(ahead, trip time.Duration) {
		before := node
		node = node.Add(trip)
		c.measure(before, node, before.Add(trip/2).Add(ahead))
	}
	measure(time.Minute, 2*time.Millisecond)
	wantEqual(t, c.Now(), node.Add(time.Minute))
	measure(time.Minute+40*time.Millisecond, 100*time.Millisecond) // a long trip tells less
	wantEqual(t, c.Now(), node.Add(time.Minute))
	measure(time.Minute-time.Millisecond, time.Millisecond)
	if now := c.Now(); now.Before(node.Add(time.Minute - time.Millisecond)) {
		t.Errorf("it went back to %s", now)
	}
	last := c.Now()
	node = node.Add(-time.Second)
	if now := c.Now(); now.Before(last) {
		t.Errorf("it went back to %s", now)
	}
	measure(2*time.Minute, time.Millisecond) // the node's clock was set
	wantEqual(t, c.Now(), node.Add(2*time.Minute))
}
