package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Connections die all the time, in the middle of everything. What was
// acknowledged is there, what was not may be, and nobody is told anything but
// "unavailable".
func TestT53KilledConnectionsLoseNothingThatWasAcknowledged(t *testing.T) {
	for name, pooled := range map[string]bool{"prepared": false, "pooled": true} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Reused(t, emptied)
			nodes := newNodes(t, url, 2, PostgresConfig{Pooled: pooled, Beat: 50 * time.Millisecond})
			ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
			defer stop()
			var killer, clients sync.WaitGroup
			killer.Go(func() { killConnections(ctx, t, url) })
			var acknowledged, unavailable atomic.Int64
			for i := range 16 {
				clients.Go(func() { works(ctx, t, nodes[i%2], &acknowledged, &unavailable) })
			}
			clients.Wait()
			stop()
			killer.Wait()
			t.Logf("%d updates acknowledged, %d refused", acknowledged.Load(), unavailable.Load())
			if acknowledged.Load() < 100 {
				t.Error("too little was done to show anything")
			}
			// The feed has survived it, too, and what every node heard is what ended.
			var heard [2]int
			for i, n := range nodes {
				await(t, "all changes", func() bool {
					return int64(n.feed.applied.Load()) == pgtest.Value[int64](t, url, `SELECT seq FROM feed`)
				})
				ended := make(map[session.Change]bool)
				for _, c := range n.heard.take() {
					if c.Kind == session.SessionEnded {
						ended[session.Change{Session: c.Session}] = true
					}
				}
				heard[i] = len(ended)
			}
			n := pgtest.Value[int](t, url, `SELECT count(*) FROM sessions WHERE ended_at <> 0`)
			wantEqual(t, heard, [2]int{n, n})
			wantEqual(t, pgtest.Value[int](t, url, `SELECT count(*) FROM events WHERE kind = 'logout'`), n)
		})
	}
}

// killConnections ends all connections of a database but its own, again and
// again.
func killConnections(ctx context.Context, t *testing.T, url string) {
	conn, err := pgx.Connect(context.Background(), url)
	must(t, err)
	defer conn.Close(context.Background())
	for ctx.Err() == nil {
		_, err := conn.Exec(context.Background(), `SELECT pg_terminate_backend(pid), pg_sleep(random() * 0.05) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		check(t, err)
	}
}

// works logs in, refreshes and logs out, and compares what it was told with
// what it finds.
func works(ctx context.Context, t *testing.T, n node, acknowledged, unavailable *atomic.Int64) {
	told := func(err error) bool {
		if err == nil {
			acknowledged.Add(1)
			return true
		}
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("a caller was told: %v", err)
		}
		unavailable.Add(1)
		return false
	}
	// again tries until it works, as the service does.
	again := func(do func() error) {
		for !told(do()) {
			time.Sleep(time.Millisecond)
		}
	}
	for ctx.Err() == nil {
		s := newSession("diku", alice, time.Now())
		again(func() error { return n.CreateSession(context.Background(), s, 0) })
		least, most := uint64(1), uint64(1)
		for range 20 {
			most++
			if told(n.UpdateSession(context.Background(), s.ID, rotate)) {
				least++
			}
			var got *session.Session
			again(func() (err error) { got, err = n.Session(context.Background(), s.ID); return err })
			if got.Gen < least || got.Gen > most {
				t.Errorf("generation %d, but between %d and %d were acknowledged", got.Gen, least, most)
			}
			least, most = got.Gen, got.Gen
		}
		again(func() error { return n.UpdateSession(context.Background(), s.ID, revoke) })
	}
}

// Three nodes do everything that locks several rows, on the same few users.
// Nobody is shown a failure, and the server has seen no circle of waiting.
func TestNobodyWaitsInACircle(t *testing.T) {
	url := pgtest.Database(t)
	// The server looks for circles before anybody gives up waiting.
	pgtest.Exec(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = 20', current_database()); END $$`)
	nodes := newNodes(t, url, 3, PostgresConfig{})
	users := []string{alice, bob, "carol"}
	var mu sync.Mutex
	sessions := make(map[string][]token.SessionID)
	some := func(user string) token.SessionID {
		mu.Lock()
		defer mu.Unlock()
		all := sessions[user]
		return all[rand.IntN(len(all))]
	}
	login := func(n node, user string) error {
		s := newSession("diku", user, time.Now())
		err := n.CreateSession(context.Background(), s, 5)
		mu.Lock()
		defer mu.Unlock()
		sessions[user] = append(sessions[user], s.ID)
		return err
	}
	for _, user := range users {
		must(t, login(nodes[0], user))
	}
	var group sync.WaitGroup
	for i := range 24 {
		group.Go(func() {
			n := nodes[i%3]
			for range 30 {
				user := users[rand.IntN(len(users))]
				who := session.Scope{Tenant: "diku", UserID: user}
				var err error
				switch rand.IntN(10) {
				case 0:
					who.Except = some(user)
					_, err = n.EndSessions(context.Background(), who, session.LoggedOutAll, audit.Event{})
				case 1:
					_, err = n.EndSessions(context.Background(), who, session.LoggedOutAll, audit.Event{})
				case 2:
					err = n.UpdateSession(context.Background(), some(user), func(now time.Time, s *session.Session) session.Effects {
						effects := revoke(now, s)
						effects.EndUser = session.RefreshReuse
						return effects
					})
				case 3:
					var seen []session.Seen
					for _, user := range users {
						seen = append(seen, session.Seen{Session: some(user), Gen: 1, At: time.Now()})
					}
					err = n.MergeSeen(context.Background(), seen)
				case 4, 5, 6:
					err = login(n, user)
				default:
					err = n.UpdateSession(context.Background(), some(user), rotate)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for _, n := range nodes {
		must(t, n.Close()) // their connections tell what they counted
	}
	wantEqual(t, pgtest.Value[int](t, url, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`), 0)
	live := pgtest.Value[int](t, url, `SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM sessions WHERE ended_at = 0 GROUP BY user_id) AS counts`)
	if live > 5 {
		t.Errorf("a user has %d sessions", live)
	}
}

func TestReadOnlyDatabaseIsUnavailableAndStillRead(t *testing.T) {
	url := pgtest.Database(t)
	p := openPostgres(t, PostgresConfig{URL: url, Beat: 20 * time.Millisecond})
	s := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), s, 0))
	readOnly := func(on string) {
		pgtest.Exec(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = `+on+`', current_database()); END $$`)
		pgtest.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	}
	readOnly("on")
	wantError(t, p.UpdateSession(t.Context(), s.ID, rotate), session.ErrUnavailable)
	wantError(t, p.CreateSession(t.Context(), newSession("diku", alice, time.Now()), 0), session.ErrUnavailable)
	wantError(t, p.AppendEvents(t.Context(), audit.Event{Kind: audit.Login}), session.ErrUnavailable)
	heard := p.HeardAt()
	await(t, "the feed to go on", func() bool { return p.HeardAt().After(heard) })
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	wantEqual(t, got.Gen, 1)
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	for _, statement := range []string{`SET default_transaction_read_only = off`, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$`} {
		_, err := conn.Exec(t.Context(), statement)
		must(t, err)
	}
	pgtest.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	must(t, p.UpdateSession(t.Context(), s.ID, rotate))
}

// Somebody holds a row for long. Only those wait who want the same.
func TestAHeldRowStopsNobodyElse(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := openPostgres(t, PostgresConfig{URL: url})
	held, free := newSession("diku", alice, time.Now()), newSession("diku", bob, time.Now())
	must(t, p.CreateSession(t.Context(), held, 0))
	must(t, p.CreateSession(t.Context(), free, 0))
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), `SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE`, held.ID[:])
	must(t, err)
	began := time.Now()
	var group sync.WaitGroup
	group.Go(func() {
		wantError(t, p.UpdateSession(context.Background(), held.ID, rotate), session.ErrUnavailable)
		if waited := time.Since(began); waited > patience+2*time.Second {
			t.Errorf("it waited for %s", waited)
		}
	})
	var slowest time.Duration
	for range 20 {
		began := time.Now()
		must(t, p.UpdateSession(t.Context(), free.ID, rotate))
		slowest = max(slowest, time.Since(began))
	}
	if slowest > time.Second {
		t.Errorf("another session waited for %s", slowest)
	}
	group.Wait()
	must(t, tx.Rollback(t.Context()))
	must(t, p.UpdateSession(t.Context(), held.ID, rotate))
}

// A node is stopped between reading a row and writing it. The others get the row
// before a request has lost its patience, and what the node does when it wakes
// has no effect.
func TestANodeThatIsStoppedHoldsNoRowForLong(t *testing.T) {
	for name, pooled := range map[string]bool{"prepared": false, "pooled": true} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, pgtest.Reused(t, emptied), 2, PostgresConfig{Pooled: pooled})
			s := newSession("diku", alice, time.Now())
			must(t, nodes[0].CreateSession(t.Context(), s, 0))
			reading, wake := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var group sync.WaitGroup
			group.Go(func() {
				err := nodes[0].long(s.ID, func(now time.Time, row *session.Session) session.Effects {
					once.Do(func() { close(reading); <-wake })
					return rotate(now, row)
				})
				if !errors.Is(err, session.ErrUnavailable) {
					t.Errorf("the node that was stopped: %v", err)
				}
			})
			<-reading
			began := time.Now()
			err := session.ErrUnavailable
			for errors.Is(err, session.ErrUnavailable) && time.Since(began) < 10*time.Second {
				err = nodes[1].UpdateSession(t.Context(), s.ID, rotate)
			}
			must(t, err)
			if waited := time.Since(began); waited > 5*time.Second {
				t.Errorf("it held the row for %s", waited)
			}
			close(wake)
			group.Wait()
			got, err := nodes[1].Session(t.Context(), s.ID)
			must(t, err)
			wantEqual(t, got.Gen, 2)
		})
	}
}

// A database that accepts everything and answers nothing is given up within the
// patience of a request.
func TestADatabaseThatHangsIsGivenUp(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	hang := newHanging(t, url)
	p := openPostgres(t, PostgresConfig{URL: hang.url})
	s := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), s, 0))
	must(t, p.UpdateSession(t.Context(), s.ID, rotate))
	hang.hung.Store(true)
	var group sync.WaitGroup
	for name, do := range map[string]func() error{
		"refresh": func() error { return p.UpdateSession(context.Background(), s.ID, rotate) },
		"login":   func() error { return p.CreateSession(context.Background(), newSession("diku", bob, time.Now()), 0) },
		"read":    func() error { return ignore(p.Session(context.Background(), s.ID)) },
	} {
		group.Go(func() {
			began := time.Now()
			if err := do(); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
			if waited := time.Since(began); waited > patience+time.Second {
				t.Errorf("%s waited for %s", name, waited)
			}
		})
	}
	group.Wait()
	hang.hung.Store(false)
	await(t, "the database to be used again", func() bool { return p.UpdateSession(t.Context(), s.ID, rotate) == nil })
}

// The answer to a COMMIT is lost. The caller is told "unavailable", and what it
// then does again finds the same.
func TestALostAnswerToACommitIsNotTakenForAFailure(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	hang := newHanging(t, url)
	p := openPostgres(t, PostgresConfig{URL: hang.url})
	s := newSession("diku", alice, time.Now())
	hang.dropCommits.Store(true)
	wantError(t, p.CreateSession(t.Context(), s, 1, audit.Event{Kind: audit.Login}), session.ErrUnavailable)
	hang.dropCommits.Store(false)
	must(t, p.CreateSession(t.Context(), s, 1, audit.Event{Kind: audit.Login}))
	must(t, p.UpdateSession(t.Context(), s.ID, rotate))

	hang.dropCommits.Store(true)
	var ran atomic.Int64
	counted := func(now time.Time, row *session.Session) session.Effects {
		ran.Add(1)
		return rotate(now, row)
	}
	wantError(t, p.UpdateSession(t.Context(), s.ID, counted), session.ErrUnavailable)
	wantEqual(t, ran.Load(), 1) // nobody rotates twice to be on the safe side
	hang.dropCommits.Store(false)
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	wantEqual(t, got.Gen, 3)
	events, err := p.Events(t.Context(), session.EventFilter{Kind: audit.Login})
	must(t, err)
	wantEqual(t, len(events), 1)
}
