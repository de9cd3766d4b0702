package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
)

// call is one thing that a client does to a session, under the policy that its
// node has at the moment, and result what it was told, with the time that the
// store told the rule.
type call struct {
	do     string // "refresh", "logout", "logout-all" or "read"
	gen    uint64
	heals  []uint32
	policy int32 // which of testRules
}

type result struct {
	now     time.Time
	verdict session.Verdict
	family  session.Family
}

var (
	// testRules are the policies between which an operator changes: an ordinary
	// one, one that is short of patience, and one that ends a session when a token
	// is used twice.
	testRules = []session.Rule{
		{Grace: 10 * time.Second, Floor: 20 * time.Second, Heal: 30 * time.Second, LateBudget: 1, Idle: 24 * time.Hour},
		{Heal: 5 * time.Second, Idle: 24 * time.Hour},
		{Strict: true, Idle: 24 * time.Hour},
	}
	testExpiry = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
)

// present is a refresh by the pure rule.
func present(f session.Family, c call, now time.Time) (session.Family, session.Verdict) {
	return f.Present(session.Presented{
		Gen: c.gen, Genuine: true, Allowed: true, Heals: c.heals, FlushedAt: now, Expiry: testExpiry,
	}, testRules[c.policy], now)
}

// model says which histories one session may have: those in which each call
// took effect at one moment between its beginning and its end.
func model(start session.Family) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(state, input, output any) (bool, any) {
			f, c, r := state.(session.Family), input.(call), output.(result)
			switch c.do {
			case "refresh":
				next, verdict := present(f, c, r.now)
				return verdict == r.verdict, next
			case "logout":
				return true, ended(f, session.LoggedOut)
			case "logout-all":
				return true, ended(f, session.LoggedOutAll)
			}
			return whenever(f) == whenever(r.family), f
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
	}
}

// ended is a family after its end, at some time.
func ended(f session.Family, why session.Reason) session.Family {
	if f.RevokedAt.IsZero() {
		f.RevokedAt, f.RevokedWhy = testExpiry, why
	}
	return f
}

// whenever is a family without when it ended: who ends all sessions of a user is
// not told.
func whenever(f session.Family) session.Family {
	if !f.RevokedAt.IsZero() {
		f.RevokedAt = testExpiry
	}
	return f
}

// perform does a call on a store.
func perform(s session.Store, id session.Session, c call) (r result, err error) {
	ctx := context.Background()
	if c.do == "read" {
		row, err := s.Session(ctx, id.ID)
		if err == nil {
			r.family = row.Family
		}
		return r, err
	}
	if c.do == "logout-all" {
		_, err := s.EndSessions(ctx, session.Scope{Tenant: id.Tenant, UserID: id.UserID}, session.LoggedOutAll, audit.Event{Kind: audit.LogoutAll})
		return r, err
	}
	err = s.UpdateSession(ctx, id.ID, func(now time.Time, row *session.Session) session.Effects {
		r = result{now: now}
		if c.do == "logout" {
			if row.RevokedAt.IsZero() {
				row.RevokedAt, row.RevokedWhy = now, session.LoggedOut
				return session.Effects{Save: true}
			}
			return session.Effects{}
		}
		row.Family, r.verdict = present(row.Family, c, now)
		return session.Effects{Save: r.verdict.Changed}
	})
	return r, err
}

// history lets some clients act on one session at the same time, each with the
// newest generation that it heard of, or an older one. Clients are spread over
// the nodes of the store.
func history(t *testing.T, nodes []session.Store, start session.Session, seed uint64) []porcupine.Operation {
	var mu sync.Mutex
	var all []porcupine.Operation
	var group sync.WaitGroup
	begin := time.Now()
	policies := make([]atomic.Int32, len(nodes)) // each node hears of a change when it does
	for client := range 6 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(client)))
			newest, strikes := uint64(1), []uint32(nil)
			node := client % len(nodes)
			for range 25 {
				switch n := random.IntN(200); {
				case n < 10:
					policies[node].Store(random.Int32N(2))
				case n == 10:
					policies[node].Store(2)
				}
				c := call{do: "refresh", gen: newest, heals: strikes, policy: policies[node].Load()}
				switch n := random.IntN(100); {
				case n < 1 && seed%2 == 0:
					c = call{do: "logout"}
				case n < 1:
					c = call{do: "logout-all"}
				case n < 15:
					c = call{do: "read"}
				case n < 40 && newest > 1:
					c.gen -= 1 + random.Uint64N(min(3, newest-1)) // a retry, or somebody old
				}
				called := time.Since(begin).Nanoseconds()
				r, err := perform(nodes[node], start, c)
				returned := time.Since(begin).Nanoseconds()
				if err != nil {
					t.Error(err)
					return
				}
				switch r.verdict.Outcome {
				case session.Rotated, session.Ahead:
					newest, strikes = c.gen+1, nil
				case session.Retried, session.Recovered:
					newest = c.gen + 1
				case session.Stale:
					newest, strikes = newest+1, append(slices.Clone(strikes), r.verdict.Strike)
				}
				mu.Lock()
				all = append(all, porcupine.Operation{ClientId: client, Input: c, Call: called, Output: r, Return: returned})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return all
}

// racing advances with every look, so that retry, floor, recovery and strikes
// all occur.
type racing struct {
	microseconds atomic.Int64
	stopped      atomic.Bool
}

func (r *racing) stop() { r.stopped.Store(true) }

func (r *racing) Now() time.Time {
	step := 1 + rand.Int64N(int64(8*time.Second/time.Microsecond))
	if r.stopped.Load() {
		step = 0
	}
	return time.UnixMicro(r.microseconds.Add(step)).UTC()
}

func newRacing() *racing {
	r := &racing{}
	r.microseconds.Store(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC).UnixMicro())
	return r
}

// clusters are the stores that histories are made on.
func clusters(t *testing.T, test func(t *testing.T, nodes []session.Store, c *racing)) {
	t.Run("sqlite", func(t *testing.T) {
		c := newRacing()
		test(t, []session.Store{openSQLite(t, databasePath(t), c.Now)}, c)
	})
	for name, n := range map[string]int{"postgres": 1, "three nodes on postgres": 3} {
		t.Run(name, func(t *testing.T) {
			c, url := newRacing(), pgtest.Reused(t, emptied)
			var nodes []session.Store
			for i := range n {
				nodes = append(nodes, openPostgres(t, PostgresConfig{URL: url, Pooled: i == 1, turn: turned(c.Now)}))
			}
			test(t, nodes, c)
		})
	}
}

func TestT52ConcurrentHistoriesFollowTheRule(t *testing.T) {
	histories := uint64(40)
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		histories = 700 // of 150 calls each
	}
	clusters(t, func(t *testing.T, nodes []session.Store, c *racing) {
		outcomes, underPolicy := make(map[session.Outcome]int), make(map[int32]int)
		for seed := range histories {
			start := newSession("diku", fmt.Sprintf("user of history %d", seed), c.Now())
			must(t, nodes[0].CreateSession(t.Context(), start, 0))
			stored, err := nodes[0].Session(t.Context(), start.ID)
			must(t, err)
			h := history(t, nodes, *stored, seed)
			if !porcupine.CheckOperations(model(stored.Family), h) {
				t.Fatalf("history %d follows no order that the rule allows:\n%+v", seed, h)
			}
			for _, op := range h {
				outcomes[op.Output.(result).verdict.Outcome]++
				underPolicy[op.Input.(call).policy]++
			}
		}
		t.Logf("%d histories, calls under each policy %v", histories, underPolicy)
		for _, o := range []session.Outcome{
			session.Rotated, session.Floored, session.Retried, session.Ended, session.Reused, session.Stale, session.StaleAgain,
		} {
			if outcomes[o] == 0 {
				t.Errorf("no history had the outcome %q, so nothing was shown about it", o)
			}
		}
		if len(underPolicy) < len(testRules) {
			t.Errorf("the policy never changed: %v", underPolicy)
		}
	})
}

// The check itself must notice a store that lets two callers decide on the
// same row at once.
func TestT52HistoryOfALostUpdateIsNoticed(t *testing.T) {
	c := newRacing()
	start := session.Family{Gen: 1, RotatedAt: c.Now()}
	now := c.Now()
	_, verdict := present(start, call{gen: 1}, now)
	rotated := result{now: now, verdict: verdict}
	both := []porcupine.Operation{
		{ClientId: 0, Input: call{do: "refresh", gen: 1}, Call: 0, Output: rotated, Return: 10},
		{ClientId: 1, Input: call{do: "refresh", gen: 1}, Call: 1, Output: rotated, Return: 11},
	}
	if porcupine.CheckOperations(model(start), both) {
		t.Error("two rotations of one token passed")
	}
	afterLogout := []porcupine.Operation{
		{ClientId: 0, Input: call{do: "logout"}, Call: 0, Output: result{now: now}, Return: 1},
		{ClientId: 1, Input: call{do: "refresh", gen: 1}, Call: 2, Output: rotated, Return: 3},
	}
	if porcupine.CheckOperations(model(start), afterLogout) {
		t.Error("a rotation after a logout passed")
	}
}

func TestFiftyParallelRefreshesHaveOneSuccessor(t *testing.T) {
	clusters(t, func(t *testing.T, nodes []session.Store, c *racing) {
		c.stop()
		start := newSession("diku", alice, c.Now())
		must(t, nodes[0].CreateSession(t.Context(), start, 0))
		for gen := uint64(1); gen < 20; gen++ {
			c.microseconds.Add(time.Minute.Microseconds())
			var mu sync.Mutex
			outcomes := make(map[session.Outcome]int)
			var group sync.WaitGroup
			for i := range 50 {
				group.Go(func() {
					r, err := perform(nodes[i%len(nodes)], *start, call{do: "refresh", gen: gen})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					outcomes[r.verdict.Outcome]++
				})
			}
			group.Wait()
			wantEqual(t, outcomes, map[session.Outcome]int{session.Rotated: 1, session.Retried: 49})
			row, err := nodes[0].Session(t.Context(), start.ID)
			must(t, err)
			if row.Gen != gen+1 || !row.RevokedAt.IsZero() {
				t.Fatalf("generation %d, ended %q", row.Gen, row.RevokedWhy)
			}
		}
	})
}
