package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/token"
	"github.com/counterfoil/counterfoil/internal/trail"
)

var trailTests = map[string]func(*testing.T, bench, engine){
	"T49 whatever is done to a row is found":                testT49Tampering,
	"T49 a strange user name stays inside its record":       testT49Injection,
	"the chain is whole under concurrent writers":           testChainUnderWriters,
	"what is swept in time is missed by nobody":             testSweptEvents,
	"segments are pruned and the rest is verified":          testPrunedSegments,
	"one node feeds a sink, and its place is kept":          testSinkLease,
	"numbers of events are not given again after a sweep":   testNumbersAreNotGivenAgain,
	"a checkpoint does not cover up that links are missing": testNoCheckpointOverALoss,
}

type unobserved struct{}

func (unobserved) Sealed(int64, error)              {}
func (unobserved) SinkDelivered(string, int, int64) {}
func (unobserved) SinkFailed(string)                {}
func (unobserved) SinkDead(string, int)             {}
func (unobserved) SinkLost(string, int)             {}

// ledger is the audit log of a bench, with a real key ring.
type ledger struct {
	*trail.Trail
	b    bench
	ring *token.Ring
}

func newLedger(t *testing.T, b bench) *ledger {
	t.Helper()
	ring, err := token.OpenRing(t.Context(), token.Config{Store: b.DB, Master: make([]byte, 32), Issuer: "i", Audience: "a", Now: b.Now})
	must(t, err)
	return &ledger{b: b, ring: ring, Trail: &trail.Trail{
		Store: b.DB, Vouch: ring.Vouch, Now: b.Now, Log: slog.New(slog.DiscardHandler), Observe: unobserved{}, KeepPassing: 30 * 24 * time.Hour,
	}}
}

func (l *ledger) seal(t *testing.T) {
	t.Helper()
	must(t, l.Seal(t.Context()))
	must(t, l.Sign(t.Context()))
}

// verify reads everything out, as text, and verifies that.
func (l *ledger) verify(t *testing.T, anchors ...audit.Checkpoint) (audit.Report, error) {
	t.Helper()
	v := audit.Verifier{Check: l.check, Anchors: anchors}
	for after, done := int64(0), false; !done; {
		records, next, err := trail.Page(t.Context(), l.b.DB, after)
		must(t, err)
		for _, r := range records {
			line, err := r.AppendLine(nil)
			must(t, err)
			read, err := audit.ParseRecord(line)
			must(t, err)
			if err := v.Add(&read); err != nil {
				return audit.Report{}, err
			}
			done = r.Type == audit.RecordEnd
		}
		after = next
	}
	return v.End()
}

func (l *ledger) check(c *audit.Checkpoint) (bool, error) {
	for _, k := range l.ring.AuditKeys() {
		if k.ID == c.Key {
			return !k.Removed, k.Verify(c.Message(), c.Signature)
		}
	}
	return false, errors.New("its key is not known")
}

// raw is what somebody does who writes to the database.
func (b bench) raw(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		switch db := b.DB.(type) {
		case *SQLite:
			must(t, db.writer.do(t.Context(), func(t *tx) error { return t.exec(statement) }))
		case *Postgres:
			must(t, db.do(t.Context(), func(t *pgTx) error { return ignore(t.exec(statement)) }))
		}
	}
}

func (b bench) tell(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		must(t, b.AppendEvents(as(t.Context()), audit.Event{
			Kind: audit.PolicyChanged, Tenant: "diku", Reason: fmt.Sprint("change ", i), Detail: map[string]string{"b": "2", "a": "1"},
		}))
	}
}

func testT49Tampering(t *testing.T, _ bench, e engine) {
	insert := `INSERT INTO events (seq, ` + restOfEvent + `) `
	if strings.HasPrefix(t.Name(), "TestPostgres") {
		insert += `OVERRIDING SYSTEM VALUE `
	}
	b := newBench(t, e)
	l := newLedger(t, b)
	b.tell(t, 20)
	b.raw(t, `DELETE FROM events WHERE reason = 'change 9'`) // a gap before anything was sealed
	l.seal(t)
	b.clock.advance(time.Minute)
	b.tell(t, 10)
	l.seal(t)
	if report, err := l.verify(t); err != nil || report.Events < 29 || report.Signed != report.Last || report.First != 1 {
		t.Fatalf("untouched: %+v, %v", report, err)
	}
	links, err := b.Chain(t.Context(), 0, 100)
	must(t, err)
	hit := links[12]
	gap := int64(0)
	for i := 1; i < len(links); i++ {
		if links[i].Seq == links[i-1].Seq+2 {
			gap = links[i].Seq - 1
		}
	}
	b.raw(t, `CREATE TABLE kept_events AS SELECT * FROM events`, `CREATE TABLE kept_chain AS SELECT * FROM event_chain`)
	defer b.raw(t, `DROP TABLE kept_events`, `DROP TABLE kept_chain`)
	for _, c := range []struct {
		name, do, what string
		n, seq         int64
	}{
		{"an event deleted", `DELETE FROM events WHERE seq = %[1]d`, "deleted", hit.N, hit.Seq},
		{"an event and its link deleted", `DELETE FROM events WHERE seq = %[1]d; DELETE FROM event_chain WHERE seq = %[1]d`, "deleted", hit.N, 0},
		{"a reason altered", `UPDATE events SET reason = 'nothing' WHERE seq = %[1]d`, "altered", hit.N, hit.Seq},
		{"an actor altered", `UPDATE events SET actor_name = 'bob' WHERE seq = %[1]d`, "altered", hit.N, hit.Seq},
		{"a time altered", `UPDATE events SET at = at + 1 WHERE seq = %[1]d`, "altered", hit.N, hit.Seq},
		{"a detail made unreadable", `UPDATE events SET detail = '{' WHERE seq = %[1]d`, "altered", hit.N, hit.Seq},
		{"a link altered", `UPDATE event_chain SET at = at + 1 WHERE seq = %[1]d`, "altered", hit.N, hit.Seq},
		{"an event inserted", insert + `SELECT %[2]d, ` + restOfEvent + ` FROM events WHERE seq = %[1]d`, "inserted", 0, gap},
		{"the tail cut off", `DELETE FROM events WHERE seq > %[1]d; DELETE FROM event_chain WHERE seq > %[1]d`, "truncated", hit.N + 1, 0},
		{"the tail's events cut off", `DELETE FROM events WHERE seq > %[1]d`, "deleted", hit.N + 1, links[13].Seq},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.raw(t, strings.Split(strings.NewReplacer("%[1]d", fmt.Sprint(hit.Seq), "%[2]d", fmt.Sprint(gap)).Replace(c.do), "; ")...)
			_, err := l.verify(t)
			wantFault(t, err, c.what, c.n, c.seq)
			b.raw(t, `DELETE FROM events`, `DELETE FROM event_chain`, insert+`SELECT seq, `+restOfEvent+` FROM kept_events`, `INSERT INTO event_chain SELECT * FROM kept_chain`)
			if _, err := l.verify(t); err != nil {
				t.Fatalf("put back: %v", err)
			}
		})
	}
}

// restOfEvent is all columns but the number.
var restOfEvent = strings.TrimPrefix(eventColumns, "seq, ")

func wantFault(t *testing.T, err error, what string, n, seq int64) {
	t.Helper()
	var fault *audit.Fault
	if !errors.As(err, &fault) || fault.What != what || fault.N != n || fault.Seq != seq {
		t.Errorf("found %v, want record %d (event %d) %s", err, n, seq, what)
	}
}

func testT49Injection(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	strange := "a\n{\"type\":\"end\"}\x00\xff\u2028"
	must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku", Actor: audit.Actor{Kind: "anonymous", Name: strange}, Detail: map[string]string{strange: strange}}))
	l.seal(t)
	links, err := b.Chain(t.Context(), 0, 100)
	must(t, err)
	r := audit.OfSealed(&links[len(links)-1])
	line, err := r.AppendLine(nil)
	must(t, err)
	if strings.Count(string(line), "\n") != 1 {
		t.Errorf("more than one line: %q", line)
	}
	if _, err := l.verify(t); err != nil {
		t.Error(err)
	}
}

func testChainUnderWriters(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	const writers, each = 8, 25
	done := make(chan struct{})
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				check(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.KeyChanged, Tenant: "diku"}, audit.Event{Kind: audit.ModuleChanged, Tenant: "diku"}))
			}
		})
	}
	go func() { writing.Wait(); close(done) }()
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		must(t, l.Seal(t.Context()))
	}
	l.seal(t)
	report, err := l.verify(t)
	if err != nil || report.Waiting != 0 || report.Events < 2*writers*each {
		t.Errorf("%+v, %v", report, err)
	}
}

func testSweptEvents(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	s := b.login(t, alice)
	must(t, b.UpdateSession(t.Context(), s.ID, revoke))
	must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
	b.tell(t, 2)
	l.seal(t)
	b.clock.advance(31 * 24 * time.Hour)
	b.tell(t, 1)
	must(t, l.Seal(t.Context()))
	// The log knows before that they may go.
	must(t, l.Sign(t.Context()))
	must(t, ignore(b.SweepSessions(t.Context(), b.Now().Add(-30*24*time.Hour), 100)))
	report, err := l.verify(t)
	if err != nil || report.Gone != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	// One that is too young to be swept is not missing by right.
	must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
	l.seal(t)
	head, err := b.ChainHead(t.Context())
	must(t, err)
	b.raw(t, fmt.Sprintf(`DELETE FROM events WHERE seq = %d`, head.Seq))
	_, err = l.verify(t)
	wantFault(t, err, "deleted", head.N, head.Seq)
}

func testPrunedSegments(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	b.tell(t, 10)
	l.seal(t)
	old, err := b.ChainHead(t.Context())
	must(t, err)
	b.clock.advance(24 * time.Hour)
	b.tell(t, 10)
	l.seal(t)
	for n := 1; n > 0; {
		n, err = b.Prune(t.Context(), old.N, 4)
		must(t, err)
	}
	report, err := l.verify(t)
	if err != nil || report.First != old.N+1 || report.Events != 10 {
		t.Errorf("%+v, %v", report, err)
	}
	// Without the checkpoint at the seam nothing can be believed.
	b.raw(t, fmt.Sprintf(`DELETE FROM event_checkpoints WHERE n = %d`, old.N))
	_, err = l.verify(t)
	wantFault(t, err, "deleted", 1, 0)
}

func testSinkLease(t *testing.T, b bench, e engine) {
	ctx := t.Context()
	l := newLedger(t, b)
	l.seal(t)
	head, err := b.ChainHead(ctx)
	must(t, err)
	lease := func(node string, want int64, wantMine bool) {
		t.Helper()
		n, mine, err := b.LeaseSink(ctx, "webhook", node, 30*time.Second)
		if err != nil || mine != wantMine || mine && n != want {
			t.Fatalf("%s: %d %v %v", node, n, mine, err)
		}
	}
	lease("a", head.N, true)
	lease("b", 0, false)
	lease("a", head.N, true)
	ok, err := b.AdvanceSink(ctx, "webhook", "b", head.N+5, nil)
	if ok || err != nil {
		t.Fatalf("another node moved the sink on: %v", err)
	}
	ok, err = b.AdvanceSink(ctx, "webhook", "a", head.N+3, []audit.DeadLetter{{N: head.N + 2, Why: "refused for good: status 422"}})
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	b.clock.advance(time.Minute)
	lease("b", head.N+3, true)
	sinks, err := b.Sinks(ctx)
	must(t, err)
	wantEqual(t, sinks, []audit.Sink{{Name: "webhook", N: head.N + 3, Holder: "b", Dead: 1}})
	dead, err := b.DeadLetters(ctx, 10)
	must(t, err)
	wantEqual(t, dead, []audit.DeadLetter{{Sink: "webhook", N: head.N + 2, At: kept(b.Now().Add(-time.Minute)), Why: "refused for good: status 422"}})
	_ = e
}

func testNumbersAreNotGivenAgain(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.LoginFailed, Tenant: "diku"}))
	b.clock.advance(31 * 24 * time.Hour)
	l.seal(t)
	must(t, ignore(b.SweepSessions(t.Context(), b.Now().Add(-30*24*time.Hour), 100)))
	must(t, b.AppendEvents(t.Context(), audit.Event{Kind: audit.KeyChanged, Tenant: "diku"}))
	l.seal(t)
	if report, err := l.verify(t); err != nil || report.Gone != 1 || report.Waiting != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}

func testNoCheckpointOverALoss(t *testing.T, b bench, _ engine) {
	l := newLedger(t, b)
	b.tell(t, 5)
	l.seal(t)
	head, err := b.ChainHead(t.Context())
	must(t, err)
	signed, err := b.NewestCheckpoint(t.Context(), time.Time{})
	must(t, err)
	b.raw(t, fmt.Sprintf(`DELETE FROM event_chain WHERE n > %d`, head.N-2), fmt.Sprintf(`DELETE FROM events WHERE seq > %d`, head.Seq-2))
	if err := l.Sign(t.Context()); err == nil {
		t.Error("signed what is left")
	}
	_, err = l.verify(t)
	wantFault(t, err, "truncated", head.N-1, 0)
	// Whoever deletes the checkpoint too cannot delete the one that was kept elsewhere.
	b.raw(t, fmt.Sprintf(`DELETE FROM event_checkpoints WHERE n = %d`, head.N))
	must(t, l.Sign(t.Context()))
	_, err = l.verify(t, signed)
	wantFault(t, err, "truncated", head.N-1, 0)
}

// TestT49ASmallerNumberMayCommitLater holds a transaction open that has taken a
// number, while others commit greater ones.
func TestT49ASmallerNumberMayCommitLater(t *testing.T) {
	e := onPostgres(false)
	b := newBench(t, e)
	l := newLedger(t, b)
	l.seal(t)
	before, err := b.ChainHead(t.Context())
	must(t, err)
	p := b.DB.(*Postgres)
	slow, err := p.pool.Begin(t.Context())
	must(t, err)
	for _, end := range []func(context.Context) error{slow.Commit, nil} {
		if end == nil { // and one that is rolled back, which leaves a gap
			slow, err = p.pool.Begin(t.Context())
			must(t, err)
			end = slow.Rollback
		}
		_, err = slow.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0`)
		must(t, err)
		_, err = slow.Exec(t.Context(), `INSERT INTO events (at, kind, tenant, session, user_id, actor_kind, actor_name, actor_user_id, address,
			user_agent, request_id, reason, detail) VALUES (1, 'login', 'diku', '', '', '', '', '', '', '', '', 'slow', '')`)
		must(t, err)
		b.tell(t, 3)
		must(t, l.Seal(t.Context()))
		if head, err := b.ChainHead(t.Context()); err != nil || head != before {
			t.Fatalf("sealed up to %d over an open transaction: %v", head.Seq, err)
		}
		must(t, end(t.Context()))
		l.seal(t)
		if report, err := l.verify(t); err != nil || report.Waiting != 0 {
			t.Fatalf("%+v, %v", report, err)
		}
		before, err = b.ChainHead(t.Context())
		must(t, err)
	}
}

// TestT49NodesSealOneAtATime has three nodes of one database seal what they write.
func TestT49NodesSealOneAtATime(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	nodes := newNodes(t, url, 3, PostgresConfig{})
	var working sync.WaitGroup
	for _, n := range nodes {
		for range 2 {
			working.Go(func() {
				for range 20 {
					check(t, n.AppendEvents(t.Context(), audit.Event{Kind: audit.KeyChanged, Tenant: "supertenant"}))
					_, err := n.Seal(t.Context(), 7)
					check(t, err)
				}
			})
		}
	}
	working.Wait()
	c := newClock()
	l := newLedger(t, bench{DB: nodes[0].Postgres, clock: c})
	l.seal(t)
	if report, err := l.verify(t); err != nil || report.Events < 120 || report.Waiting != 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
