package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestSecondProcessIsRefusedAndToldByWhom(t *testing.T) {
	path := databasePath(t)
	first := openSQLite(t, path, time.Now)
	_, err := Open(t.Context(), Config{Path: path, Now: time.Now})
	wantError(t, err, ErrLocked)
	if !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), path) {
		t.Errorf("the message names neither process nor file: %v", err)
	}
	must(t, first.Close())
	openSQLite(t, path, time.Now)
}

func TestFilesAreReadableByTheirOwnerAlone(t *testing.T) {
	path := databasePath(t)
	s := openSQLite(t, path, time.Now)
	must(t, s.AppendEvents(t.Context(), audit.Event{Kind: audit.Login}))
	files, err := filepath.Glob(path + "*")
	must(t, err)
	if len(files) < 4 {
		t.Fatalf("database, log, shared memory and lock, but found %v", files)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", f, info.Mode())
		}
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	must(t, os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600))
	for name, c := range map[string]Config{
		"no path":      {Now: time.Now},
		"no clock":     {Path: filepath.Join(dir, "a.db")},
		"no directory": {Path: filepath.Join(dir, "none", "a.db"), Now: time.Now},
		"no database":  {Path: garbage, Now: time.Now},
	} {
		if s, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		}
	}
	// What failed holds no lock.
	must(t, os.Remove(garbage))
	openSQLite(t, garbage, time.Now)
}

func TestPathIsTakenAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file:x?mode=memory#ø.db")
	openSQLite(t, path, time.Now)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestLongQueueIsRefusedAtOnce(t *testing.T) {
	s := openSQLite(t, databasePath(t), time.Now)
	held, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		check(t, s.writer.do(t.Context(), func(*tx) error {
			close(held)
			<-release
			return nil
		}))
	})
	<-held
	for range maxWaiting {
		group.Go(func() {
			check(t, s.AppendEvents(context.Background()))
		})
	}
	s.awaitWaiting(maxWaiting)
	wantError(t, s.AppendEvents(t.Context()), session.ErrUnavailable)
	close(release)
	group.Wait()
	must(t, s.AppendEvents(t.Context()))
}

// awaitWaiting returns when so many operations wait.
func (s *SQLite) awaitWaiting(n int) {
	for {
		s.writer.mu.Lock()
		waiting := len(s.writer.waiting)
		s.writer.mu.Unlock()
		if waiting >= n {
			return
		}
		runtime.Gosched()
	}
}

// A listener is called once for each transaction, so it counts them.
func TestWhatWaitsIsCommittedTogether(t *testing.T) {
	s := openSQLite(t, databasePath(t), time.Now)
	var mu sync.Mutex
	var heard []int
	s.OnChange(func(changes []session.Change) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, len(changes))
	})
	held, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		check(t, s.writer.do(t.Context(), func(*tx) error {
			close(held)
			<-release
			return nil
		}))
	})
	<-held
	const callers = maxBatch + 44
	for range callers {
		group.Go(func() {
			check(t, s.SaveKeys(context.Background(), nil))
		})
	}
	s.awaitWaiting(callers)
	close(release)
	group.Wait()
	wantEqual(t, heard, []int{maxBatch, 44})
}

// A caller who leaves while others of the same transaction are served has left
// before its own decision.
func TestLeavingWhileTheBatchRunsLeavesNoTrace(t *testing.T) {
	c := newClock()
	s := openSQLite(t, databasePath(t), c.Now)
	one := newSession("diku", alice, c.Now())
	must(t, s.CreateSession(t.Context(), one, 0))
	ctx, leave := context.WithCancel(t.Context())
	held, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	hold := func(do func()) {
		group.Go(func() { check(t, s.writer.do(context.Background(), func(*tx) error { do(); return nil })) })
	}
	hold(func() { close(held); <-release })
	<-held
	hold(leave)
	s.awaitWaiting(1)
	left := make(chan error, 1)
	group.Go(func() { left <- s.UpdateSession(ctx, one.ID, rotate) })
	s.awaitWaiting(2)
	close(release)
	group.Wait()
	wantError(t, <-left, context.Canceled)
	got, err := s.Session(t.Context(), one.ID)
	must(t, err)
	wantEqual(t, got.Gen, 1)
}

// The secret of a removed key must not be found by whoever gets the files.
func TestRemovedKeyIsGoneFromTheFiles(t *testing.T) {
	path := databasePath(t)
	s := openSQLite(t, path, time.Now)
	secret := []byte("canary-of-a-wrapped-secret-0123456789")
	keys := someKeys()
	keys[1].Wrapped = bytes.Repeat(secret, 20) // some of it is left where the row was
	must(t, s.SaveKeys(t.Context(), keys))
	if found := filesWith(t, path, secret); len(found) == 0 {
		t.Fatal("the search finds nothing even where there is something")
	}
	keys[1].State, keys[1].Wrapped = token.StateRemoved, nil
	must(t, s.SaveKeys(t.Context(), keys[1:2]))
	wantEqual(t, filesWith(t, path, secret), nil)
}

// filesWith lists the database's files that contain what.
func filesWith(t *testing.T, path string, what []byte) (found []string) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if bytes.Contains(text, what) {
			found = append(found, filepath.Base(f))
		}
	}
	return found
}

// A copy of the files at any moment is what a killed process leaves.
func TestT53WhatIsAcknowledgedSurvivesAKill(t *testing.T) {
	c := newClock()
	path := databasePath(t)
	s := openSQLite(t, path, c.Now)
	one := newSession("diku", alice, c.Now())
	must(t, s.CreateSession(t.Context(), one, 0))
	for want := uint64(2); want < 20; want++ {
		must(t, s.UpdateSession(t.Context(), one.ID, rotate))
		copied := databasePath(t)
		for _, suffix := range []string{"", "-wal"} {
			text, err := os.ReadFile(path + suffix)
			must(t, err)
			must(t, os.WriteFile(copied+suffix, text, 0o600))
		}
		again := openSQLite(t, copied, c.Now)
		got, err := again.Session(t.Context(), one.ID)
		must(t, err)
		wantEqual(t, got.Gen, want)
	}
}

func TestDamagedStateIsAnErrorOfThatSessionOnly(t *testing.T) {
	c := newClock()
	s := openSQLite(t, databasePath(t), c.Now)
	bad, good := newSession("diku", alice, c.Now()), newSession("diku", bob, c.Now())
	must(t, s.CreateSession(t.Context(), bad, 0))
	must(t, s.CreateSession(t.Context(), good, 0))
	for _, damage := range []string{
		`UPDATE sessions SET state = x'00' WHERE id = ?1`,
		`UPDATE sessions SET state = zeroblob(143) WHERE id = ?1`,
		`UPDATE sessions SET state = zeroblob(1000) WHERE id = ?1`,
	} {
		must(t, s.writer.do(t.Context(), func(t *tx) error { return t.exec(damage, bad.ID[:]) }))
		if _, err := s.Session(t.Context(), bad.ID); err == nil {
			t.Error("a damaged row was read")
		}
		if err := s.UpdateSession(t.Context(), bad.ID, rotate); err == nil || errors.Is(err, session.ErrUnavailable) {
			t.Errorf("a damaged row: %v", err)
		}
		must(t, s.UpdateSession(t.Context(), good.ID, rotate))
	}
}

// Ten thousand sessions and a thousand rotations are measured by the benches;
// these few show the same and are quick.
func TestRotationsDoNotGrowTheFile(t *testing.T) {
	c := newClock()
	s := openSQLite(t, databasePath(t), c.Now)
	var all []token.SessionID
	for i := range 300 {
		one := newSession("diku", alice, c.Now())
		one.UserAgent = strings.Repeat("x", i%200)
		must(t, s.CreateSession(t.Context(), one, 0))
		all = append(all, one.ID)
	}
	addresses := []string{"192.0.2.1", "2001:db8:1234:5678:9abc:def0:1234:5678", ""}
	rotateAll := func(times int) {
		var group sync.WaitGroup
		for _, id := range all {
			group.Go(func() {
				for i := range times {
					err := s.UpdateSession(context.Background(), id, func(now time.Time, row *session.Session) session.Effects {
						row.LastAddress = addresses[(i+int(row.Gen))%len(addresses)]
						row.Retries += 1 << 20
						row.LateN++
						row.LateSince = now
						return rotate(now, row)
					})
					check(t, err)
				}
			})
		}
		group.Wait()
	}
	rotateAll(1)
	c.advance(40 * 365 * 24 * time.Hour) // times and generations of any size
	rotateAll(1)
	before := s.pages(t)
	rotateAll(300)
	wantEqual(t, s.pages(t), before)
	// Each new day moves each session once in the indexes of days, which stay as
	// they are.
	for range 10 {
		c.advance(24 * time.Hour)
		rotateAll(1)
	}
	wantEqual(t, s.pages(t), before)
}

// pages counts the pages of the file after a checkpoint.
func (s *SQLite) pages(t testing.TB) int64 {
	t.Helper()
	must(t, s.Checkpoint(t.Context()))
	var n int64
	must(t, s.writer.submit(t.Context(), func(t *tx) (err error) {
		n, err = t.number(`PRAGMA page_count`)
		return err
	}, true))
	return n
}

// No list may sort or walk a table where an index has the answer in order.
func TestListsFollowIndexes(t *testing.T) {
	s := openSQLite(t, databasePath(t), time.Now)
	for query, index := range map[string]string{
		listByUser + listByLogin: "sessions_user", listByAddress + listByLogin: "sessions_address", listByTenant + listByLogin: "sessions_tenant",
		listAll + listByLogin: "", listTenantActive + listOfDay: "sessions_tenant_active", listAllActive + listOfDay: "sessions_active",
		listTenantActive + listOfEarlier: "sessions_tenant_active", listAllActive + listOfEarlier: "sessions_active",
		eventsBySession: "events_session", eventsByUser: "events_user", eventsByKind: "events_kind",
		eventsByTenant: "events_tenant", eventsAll: "",
		selectLive: "sessions_live", countLive: "COVERING INDEX sessions_live", selectSession: "sqlite_autoindex_sessions_1",
		updateState: "INTEGER PRIMARY KEY", selectSwept: "sessions_expiry", deleteSessionEvents: "events_session",
		deleteRefused: "events_refused", countTenant: "sessions_tenant",
	} {
		plan := s.plan(t, query)
		if strings.Contains(plan, "TEMP B-TREE") || !strings.Contains(plan, index) || index != "" && strings.Contains(plan, "SCAN sessions\n") {
			t.Errorf("%s\nis done by\n%s", query, plan)
		}
	}
}

func (s *SQLite) plan(t *testing.T, query string) string {
	t.Helper()
	var steps strings.Builder
	must(t, s.read(t.Context(), func(conn *sqlite.Conn) error {
		stmt, _, err := conn.PrepareTransient("EXPLAIN QUERY PLAN " + query)
		if err != nil {
			return err
		}
		defer stmt.Finalize()
		for {
			if more, err := stmt.Step(); err != nil || !more {
				return err
			}
			steps.WriteString(stmt.ColumnText(3) + "\n")
		}
	}))
	return steps.String()
}

func TestMigrations(t *testing.T) {
	one := newMigration("0001_one.sql", `CREATE TABLE one (n INTEGER) STRICT; INSERT INTO one VALUES (1);`)
	two := newMigration("0002_two.sql", `CREATE TABLE two (n INTEGER) STRICT;`)
	broken := newMigration("0002_two.sql", `CREATE TABLE two (n INTEGER) STRICT; CREATE TABLE two (n INTEGER) STRICT;`)
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
			conn, err := openWriter(databasePath(t))
			must(t, err)
			defer conn.Close()
			must(t, migrate(t.Context(), conn, c.first, time.Now))
			err = migrate(t.Context(), conn, c.then, time.Now)
			if (err == nil) != (c.want == nil) || c.want != errAny && !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			tables := 0
			must(t, sqlitex.Execute(conn, `SELECT count(*) FROM sqlite_schema WHERE type = 'table'`, &sqlitex.ExecOptions{
				ResultFunc: func(stmt *sqlite.Stmt) error { tables = stmt.ColumnInt(0); return nil },
			}))
			wantEqual(t, tables, c.tables)
		})
	}
}

var errAny = errors.New("any error")

func TestSchemaVersionIsThatOfTheNewestMigration(t *testing.T) {
	s := openSQLite(t, databasePath(t), time.Now)
	version, err := s.SchemaVersion(t.Context())
	must(t, err)
	wantEqual(t, version, len(sqliteMigrations))
}
