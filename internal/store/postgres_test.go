package store

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// A thousand rotations and more, all in the same pages at once, which is the
// worst that can happen to them.
func TestRotationsStayInTheirPages(t *testing.T) {
	url := pgtest.Database(t)
	p := openPostgres(t, PostgresConfig{URL: url})
	// While the server counts what is in this table, nothing in it can be cleared away.
	pgtest.Exec(t, url, `ALTER TABLE sessions SET (autovacuum_enabled = off)`)
	var all []token.SessionID
	for i := range 100 {
		one := newSession("diku", alice, time.Now())
		one.UserAgent = strings.Repeat("x", i*2)
		must(t, p.CreateSession(t.Context(), one, 0))
		all = append(all, one.ID)
	}
	rotateAll := func(times int) {
		var group sync.WaitGroup
		for _, id := range all {
			group.Go(func() {
				for i := range times {
					check(t, p.UpdateSession(context.Background(), id, func(now time.Time, row *session.Session) session.Effects {
						row.LastAddress = []string{"192.0.2.1", "2001:db8:1234:5678:9abc:def0:1234:5678", ""}[i%3]
						row.Retries += 1 << 20
						return rotate(now, row)
					}))
				}
			})
		}
		group.Wait()
	}
	count := func(column string) int64 {
		return pgtest.Value[int64](t, url, `SELECT `+column+` FROM pg_stat_user_tables WHERE relname = 'sessions'`)
	}
	pages := func(relation string) int64 {
		return pgtest.Value[int64](t, url, `SELECT pg_relation_size($1::text::regclass)`, relation)
	}
	sizes := func() (all []int64) {
		for _, relation := range []string{"sessions", "sessions_pkey", "sessions_seq", "sessions_user", "sessions_live"} {
			all = append(all, pages(relation))
		}
		return all
	}
	rotateAll(3)
	// A server process that the machine lays aside while it reads keeps the rows that
	// it might see, and a page may overflow. That has an end: what does not stay in its
	// pages grows in every round.
	updates, grown := int64(300), true
	for rounds := 0; grown && rounds < 4; rounds++ {
		before := sizes()
		rotateAll(50)
		updates, grown = updates+5000, !slices.Equal(sizes(), before)
	}
	if grown {
		t.Errorf("the files grow: %d bytes now", sizes())
	}
	must(t, p.Close()) // its connections tell what they counted as they end
	for deadline := time.Now().Add(10 * time.Second); count("n_tup_upd") < updates && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	moved := updates - count("n_tup_hot_upd")
	if n := count("n_tup_upd"); n != updates || moved > updates/100 {
		t.Errorf("%d of %d updates, which should be %d, left their page", moved, n, updates)
	}
}

// No list may walk a table where an index has the answer, once the server has
// counted what is in the tables. It may sort the few that it found.
func TestPostgresListsFollowIndexes(t *testing.T) {
	url := pgtest.Database(t)
	p := openPostgres(t, PostgresConfig{URL: url})
	pgtest.Exec(t, url, `INSERT INTO sessions (id, created_at, absolute_expiry, tenant_epoch, user_epoch, struck_at, ended_at, tenant,
		user_id, username, client, secret, device, login_address, user_agent, ended_why, ended_by, state, active_day)
		SELECT decode(md5(n::text), 'hex'), n, 10000 + n, 0, 0, 0, n % 5 * n, 'tenant' || n % 20, 'user' || n % 2000, '', 'web', '', '',
		'192.0.2.' || n % 200, '', '', '', '', n % 30 FROM generate_series(1, 10000) AS n`)
	pgtest.Exec(t, url, `INSERT INTO events (at, kind, tenant, session, user_id, actor_kind, actor_name, actor_user_id, address,
		user_agent, request_id, reason, detail) SELECT n, CASE n % 4 WHEN 0 THEN 'login_failed' ELSE 'kind' || n % 40 END, 'tenant' || n % 20,
		'session' || n % 2000, 'user' || n % 2000, '', '', '', '', '', '', '', '' FROM generate_series(1, 10000) AS n`)
	pgtest.Exec(t, url, `INSERT INTO changes SELECT n, '', '', '', '', 0, 0 FROM generate_series(1, 10000) AS n`)
	pgtest.Exec(t, url, `ANALYZE`)
	user, tenant, address, ids := "user7", "tenant7", "192.0.2.7", [][]byte{{1: 1, 15: 2}, {15: 3}}
	for _, c := range []struct {
		query, index string
		args         []any
	}{
		{pgListByUser + pgListByLogin, "sessions_user", []any{"", user, "", "", 0, top.seq, 101, top.day}},
		{pgListByAddress + pgListByLogin, "sessions_address", []any{"", "", "", address, 0, top.seq, 101, top.day}},
		{pgListByTenant + pgListByLogin, "sessions_tenant", []any{"none", "", "", "", 0, top.seq, 101, top.day}},
		{pgListByTenant + pgListByLogin, "sessions_", []any{tenant, "", "", "", 12000, top.seq, 101, top.day}},
		{pgListAll + pgListByLogin, "sessions_seq", []any{"", "", "", "", 0, top.seq, 101, top.day}},
		{pgListByTenant + pgListByActivity, "sessions_tenant_active", []any{tenant, "", "", "", 0, top.seq, 101, top.day}},
		{pgListAll + pgListByActivity, "sessions_active", []any{"", "", "", "", 0, top.seq, 101, int64(20)}},
		{pgListByUser + pgListByActivity, "sessions_user", []any{"", user, "", "", 0, top.seq, 101, top.day}},
		{pgEventsBySession, "events_session", []any{"", "", "session7", "", int64(math.MaxInt64), 101, int64(0), int64(math.MaxInt64)}},
		{pgEventsByUser, "events_user", []any{"", user, "", "", int64(math.MaxInt64), 101, int64(0), int64(math.MaxInt64)}},
		{pgEventsByKind, "events_kind", []any{tenant, "", "", "kind27", int64(math.MaxInt64), 101, int64(0), int64(math.MaxInt64)}},
		{pgEventsByTenant, "events_tenant", []any{"none", "", "", "", int64(math.MaxInt64), 101, int64(0), int64(math.MaxInt64)}},
		{pgEventsAll, "events_pkey", []any{"", "", "", "", int64(math.MaxInt64), 101, int64(0), int64(math.MaxInt64)}},
		{pgSelectSession, "sessions_pkey", []any{ids[0]}},
		{pgLockSessions, "sessions_pkey", []any{ids}},
		{pgReadSessions, "sessions_pkey", []any{ids}},
		{pgSwapState, "sessions_pkey", []any{ids[0], []byte{}, []byte{}, int64(0), time.Now()}},
		{pgSwapStates, "sessions_pkey", []any{ids, ids, ids, []int64{0, 0}, []time.Time{time.Now(), time.Now()}}},
		{pgLockWith, "sessions_pkey", []any{user, tenant, 12000, ids[0]}},
		{pgLockLive, "sessions_live", []any{user, tenant, 12000}},
		{pgCountLive, "sessions_live", []any{user, tenant, 12000}},
		{pgUpdateStates, "sessions_pkey", []any{ids, ids}},
		{pgUpdateSessions, "sessions_pkey", []any{ids, ids, []int64{0, 0}, []int64{0, 0}, []string{"", ""}, []string{"", ""}, []int64{0, 0}, []string{"", ""}, []int64{0, 0}}},
		{pgCountTenant, "sessions_tenant", []any{"none", 12000}},
		{pgSweepEnded, "sessions_ended", []any{5000, 32, 0}},
		{pgSweepExpired, "sessions_expiry", []any{12000, 32, 0}},
		{pgSweepEvents, "events_session", []any{[]string{"session1", "session2"}, 5000}},
		{pgSweepRefused, "events_refused", []any{5000, 256}},
		{pgReadChanges, "changes_pkey", []any{9990, 1000}},
	} {
		plan := plan(t, p, c.query, c.args)
		if !strings.Contains(plan, c.index) || strings.Contains(plan, "Seq Scan on sessions") || strings.Contains(plan, "Seq Scan on events") {
			t.Errorf("%s\nis done by\n%s", c.query, plan)
		}
	}
}

func plan(t *testing.T, p *Postgres, query string, args []any) string {
	t.Helper()
	rows, err := p.pool.Query(t.Context(), "EXPLAIN "+query, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	must(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return strings.Join(lines, "\n")
}

func TestTenNodesThatStartAtOnceMigrateOnce(t *testing.T) {
	url := pgtest.Database(t)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			p, err := OpenPostgres(context.Background(), PostgresConfig{URL: url, Now: time.Now})
			if err != nil {
				t.Error(err)
				return
			}
			check(t, p.Close())
		})
	}
	group.Wait()
	wantEqual(t, pgtest.Value[int](t, url, `SELECT count(*) FROM migrations`), len(postgresMigrations))
	wantEqual(t, pgtest.Value[int](t, url, `SELECT count(*) FROM nodes`), 0)
}

func TestPostgresMigrations(t *testing.T) {
	one := newMigration("0001_one.sql", `CREATE TABLE one (n integer); INSERT INTO one VALUES (1);`)
	two := newMigration("0002_two.sql", `CREATE TABLE two (n integer);`)
	broken := newMigration("0002_two.sql", `CREATE TABLE two (n integer); CREATE TABLE two (n integer);`)
	other := newMigration("0001_one.sql", one.sql+" -- changed afterwards")
	for name, c := range map[string]struct {
		first, then []migration
		want        error
		tables      int
	}{
		"nothing to do":         {[]migration{one, two}, []migration{one, two}, nil, 3},
		"one step forward":      {[]migration{one}, []migration{one, two}, nil, 3},
		"made by a newer":       {[]migration{one, two}, []migration{one}, ErrSchema, 3},
		"changed afterwards":    {[]migration{one}, []migration{other, two}, ErrSchema, 2},
		"broken, done in whole": {[]migration{one}, []migration{one, broken}, errAny, 2},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Database(t)
			conn, err := pgx.Connect(t.Context(), url)
			must(t, err)
			defer conn.Close(context.Background())
			must(t, migratePostgres(t.Context(), conn, c.first))
			err = migratePostgres(t.Context(), conn, c.then)
			if (err == nil) != (c.want == nil) || c.want != errAny && !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			wantEqual(t, pgtest.Value[int](t, url, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`), c.tables)
		})
	}
}

func TestOpenPostgresRefusesWhatItCannotUse(t *testing.T) {
	url := pgtest.Database(t)
	for name, c := range map[string]PostgresConfig{
		"no URL":      {Now: time.Now},
		"no clock":    {URL: url},
		"no sense":    {URL: "postgres://user:secret-in-url@[", Now: time.Now},
		"no server":   {URL: "postgres://user:secret-in-url@127.0.0.1:1/x?connect_timeout=1", Now: time.Now},
		"no database": {URL: strings.Replace(url, "counterfoil_test", "counterfoil_none", 1), Now: time.Now},
	} {
		p, err := OpenPostgres(t.Context(), c)
		if err == nil {
			t.Errorf("%s: opened", name)
			_ = p.Close()
			continue
		}
		if strings.Contains(err.Error(), "secret-in-url") {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

// The URL may ask for the simple protocol by itself, in pgx's words.
func TestPooledIsToldByTheURL(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied) + "&default_query_exec_mode=simple_protocol"})
	if !p.config.Pooled {
		t.Error("not noticed")
	}
	must(t, p.AppendEvents(t.Context(), audit.Event{Kind: audit.Login}))
}

func TestPostgresDamagedStateIsAnErrorOfThatSessionOnly(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := openPostgres(t, PostgresConfig{URL: url})
	bad, good := newSession("diku", alice, time.Now()), newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), bad, 0))
	must(t, p.CreateSession(t.Context(), good, 0))
	for _, damage := range []string{`'\x00'`, `decode(repeat('00', 143), 'hex')`, `decode(repeat('00', 1000), 'hex')`} {
		pgtest.Exec(t, url, `UPDATE sessions SET state = `+damage+` WHERE id = $1`, bad.ID[:])
		var group sync.WaitGroup
		group.Go(func() { check(t, p.UpdateSession(context.Background(), good.ID, rotate)) })
		for _, err := range []error{ignore(p.Session(t.Context(), bad.ID)), p.UpdateSession(t.Context(), bad.ID, rotate)} {
			if err == nil || errors.Is(err, session.ErrUnavailable) {
				t.Errorf("a damaged row: %v", err)
			}
		}
		group.Wait()
	}
	n, err := p.EndSessions(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.LoggedOutAll, audit.Event{})
	must(t, err)
	wantEqual(t, n, 1)
}

func TestPostgresLongQueueIsRefusedAtOnce(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied)})
	s := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), s, 0))
	held, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	hold := sync.OnceFunc(func() { close(held); <-release })
	group.Go(func() {
		check(t, p.UpdateSession(context.Background(), s.ID, func(time.Time, *session.Session) session.Effects {
			hold()
			return session.Effects{}
		}))
	})
	<-held
	for range maxWaiting {
		group.Go(func() { check(t, p.UpdateSession(context.Background(), s.ID, rotate)) })
	}
	awaitWaiting(p.swapper.reads, maxWaiting)
	wantError(t, p.UpdateSession(t.Context(), s.ID, rotate), session.ErrUnavailable)
	close(release)
	group.Wait()
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	wantEqual(t, got.Gen, 1+maxWaiting)
}

// awaitWaiting returns when so many updates wait.
func awaitWaiting[T any](q *queue[T], n int) {
	for {
		q.mu.Lock()
		waiting := len(q.waiting)
		q.mu.Unlock()
		if waiting >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// What a batch holds is committed together, and a callback that misbehaves in
// the middle of it, on the row of others, leaves no trace.
func TestPostgresBatchIsOneTransaction(t *testing.T) {
	url := pgtest.Reused(t, emptied)
	p := openPostgres(t, PostgresConfig{URL: url})
	s := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), s, 0))
	held, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		check(t, p.long(s.ID, func(time.Time, *session.Session) session.Effects {
			close(held)
			<-release
			return session.Effects{}
		}))
	})
	<-held
	before := pgtest.Value[int64](t, url, `SELECT txid_current()`)
	for i := range 60 {
		group.Go(func() {
			switch i % 3 {
			case 0:
				check(t, p.long(s.ID, rotate))
			case 1:
				err := p.long(s.ID, func(now time.Time, row *session.Session) session.Effects {
					row.Secret[0]++
					return rotate(now, row)
				})
				if !errors.Is(err, errMisuse) {
					t.Errorf("a secret was changed: %v", err)
				}
			case 2:
				defer func() {
					if recover() == nil {
						t.Error("the panic was lost")
					}
				}()
				_ = p.long(s.ID, func(now time.Time, row *session.Session) session.Effects {
					rotate(now, row)
					panic("oh")
				})
			}
		})
	}
	awaitWaiting(p.group.queue, 60)
	close(release)
	group.Wait()
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	wantEqual(t, got.Gen, 21)
	after := pgtest.Value[int64](t, url, `SELECT txid_current()`)
	if after-before > 4 { // the batch, the statement that asks, and a beat or two
		t.Errorf("%d transactions for one batch", after-before-1)
	}
}

// long is UpdateSession without the short way.
func (p *Postgres) long(id token.SessionID, decide func(now time.Time, s *session.Session) session.Effects) error {
	_, err := p.group.do(context.Background(), id, decide)
	return err
}

// Text that the database would refuse must not keep anybody from logging in, or
// a fact from being told.
func TestPostgresTakesAnyText(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied)})
	s := newSession("diku", alice, time.Now())
	s.UserAgent = "Opera\xff\x00"
	must(t, p.CreateSession(t.Context(), s, 0, audit.Event{Kind: audit.Login, Tenant: "diku", Reason: "\xc3\x28\x00"}))
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	wantEqual(t, got.UserAgent, "Opera\ufffd\ufffd")
	page, err := p.ListSessions(t.Context(), session.Filter{UserID: "\x00"})
	must(t, err)
	wantEqual(t, len(page.Sessions), 0)
}

// The answer to a COMMIT may be lost. Whoever creates the session again under
// its id is told that it is there.
func TestSessionIsCreatedOnceWhoeverAsksTwice(t *testing.T) {
	p := openPostgres(t, PostgresConfig{URL: pgtest.Reused(t, emptied)})
	s := newSession("diku", alice, time.Now())
	for range 3 {
		must(t, p.CreateSession(t.Context(), s, 1, audit.Event{Kind: audit.Login, Tenant: "diku"}))
	}
	got, err := p.Session(t.Context(), s.ID)
	must(t, err)
	if !got.RevokedAt.IsZero() {
		t.Error("it was evicted by itself")
	}
	events, err := p.Events(t.Context(), session.EventFilter{Kind: audit.Login})
	must(t, err)
	wantEqual(t, len(events), 1)
}
