package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

func TestT50NothingOfBeforeARestoreHolds(t *testing.T) {
	onBoth(t, func(t *testing.T, r restorable) {
		o := restoredOffice(t, r)
		used, revoked := o.login(), o.login()
		restore := r.backup(t)
		l := o.lose(used, revoked)
		o.close()
		restore()
		o.start()
		o.refusesAll(l)

		// The same backup once more: what began after the first restore ends, too.
		again := o.login()
		o.close()
		restore()
		o.start()
		if access, refresh := o.orders(again.Access), o.refresh(again.Refresh); access.status != 401 || refresh.status != 422 {
			t.Errorf("after the second restore: %d and %d", access.status, refresh.status)
		}
		o.refusesAll(l)
		metrics, err := o.send(http.MethodGet, o.URL(server.Admin)+"/metrics", nil)
		o.must(err)
		if !strings.Contains(string(metrics.body), "\ncounterfoil_store_turned_back_total 1\n") {
			t.Error("no metric tells it")
		}
	})
}

// alarmed is a log that tells when it was written that the database was turned
// back.
type alarmed struct {
	once sync.Once
	rang chan struct{}
}

func (a *alarmed) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(`"alarm":"store_turned_back"`)) {
		a.once.Do(func() { close(a.rang) })
	}
	return len(b), nil
}

func (a *alarmed) wait(t *testing.T) {
	t.Helper()
	select {
	case <-a.rang:
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
}

func watchful(a *alarmed) func(*server.Config) {
	return func(c *server.Config) { c.LogTo, c.MarkEvery = a, 50*time.Millisecond }
}

// beat waits until the program has remembered a mark of after now.
func (o *office) beat() {
	o.t.Helper()
	number := func() (n uint64) {
		text, err := os.ReadFile(filepath.Join(o.config.Data, "mark.json"))
		o.must(err)
		var mark struct{ Number uint64 }
		o.must(json.Unmarshal(text, &mark))
		return mark.Number
	}
	// One beat may have been on its way when this began.
	for first, deadline := number(), time.Now().Add(time.Minute); number() < first+2; {
		if time.Now().After(deadline) {
			o.t.Fatal("the mark stands still")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// With SQLite's own means a backup can be read into a database that is in use.
func TestT50RestoreUnderARunningProgram(t *testing.T) {
	r := sqliteFile(t)
	log := &alarmed{rang: make(chan struct{})}
	o := restoredOffice(t, r, watchful(log))
	used, revoked := o.login(), o.login()
	path := strings.TrimPrefix(o.config.Store, "sqlite:")
	copied := filepath.Join(t.TempDir(), "backup.db")
	inSQLite(t, path, func(conn *sqlite.Conn) error {
		return sqlitex.ExecuteTransient(conn, `VACUUM INTO ?1`, &sqlitex.ExecOptions{Args: []any{copied}})
	})
	l := o.lose(used, revoked)
	o.beat()
	inSQLite(t, path, func(to *sqlite.Conn) error {
		from, err := sqlite.OpenConn(copied, sqlite.OpenReadOnly)
		if err != nil {
			return err
		}
		defer from.Close()
		b, err := sqlite.NewBackup(to, "main", from, "main")
		if err != nil {
			return err
		}
		_, err = b.Step(-1)
		return errors.Join(err, b.Close())
	})
	log.wait(t)
	o.refusesAll(l)
	// Whoever asks why is told.
	row, err := o.Store().Session(t.Context(), used.Session)
	o.must(err)
	story, err := o.Sessions().Story(t.Context(), row)
	o.must(err)
	for _, story := range [][]audit.Event{story, nil} { // also once the event is no longer kept
		if why := o.Sessions().Why(row, story); !strings.HasPrefix(why, "ended at ") || !strings.HasSuffix(why, ": the database was restored from a backup or had lost commits") {
			t.Error(why)
		}
	}
}

func TestT50ProgramWhoseFileWasReplacedStops(t *testing.T) {
	r := sqliteFile(t)
	c := &server.Config{
		Data: t.TempDir(), Demo: true, LogTo: &alarmed{rang: make(chan struct{})}, MarkEvery: 20 * time.Millisecond,
		Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
	}
	r.adjust(c)
	c.SetDefaults()
	s, err := server.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context()) }()
	path := strings.TrimPrefix(c.Store, "sqlite:")
	copyFile(t, path, path)
	if err := <-served; !errors.Is(err, session.ErrReplaced) {
		t.Errorf("the program ended with %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestT50RestoreWhileThreeNodesRun(t *testing.T) {
	r := postgresDatabase(t)
	log := &alarmed{rang: make(chan struct{})}
	nodes := make([]*office, 3)
	nodes[0] = restoredOffice(t, r, watchful(log))
	for i := 1; i < 3; i++ {
		nodes[i] = emptyOffice(t, func(c *server.Config) { r.adjust(c); watchful(log)(c) })
	}
	nodes[0].reach()
	used, revoked := nodes[0].login(), nodes[0].login()
	restore := r.backup(t)
	l := nodes[1].lose(used, revoked)
	nodes[1].reach()
	nodes[1].beat()
	restore()
	log.wait(t)
	// Whichever noticed it, a change of after that is heard after it.
	ctx := audit.WithActor(t.Context(), &audit.Actor{Kind: "operator", Name: "test"})
	nodes[0].must(nodes[0].Store().UpdateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantChanged, Tenant: "diku"}))
	nodes[0].reach()
	for _, node := range nodes {
		node.refusesAll(l)
	}
}

func TestT50NodesThatStartAfterARestoreEndSessionsOnce(t *testing.T) {
	r := postgresDatabase(t)
	first := restoredOffice(t, r)
	others := []*office{emptyOffice(t, r.adjust), emptyOffice(t, r.adjust)}
	used, revoked := first.login(), first.login()
	restore := r.backup(t)
	l := first.lose(used, revoked)
	for _, o := range append(others, first) {
		o.close()
	}
	restore()
	first.start()
	fresh := first.login()
	for _, o := range others {
		o.start()
		o.refusesAll(l)
		if got := o.orders(fresh.Access); got.status != 200 {
			t.Errorf("who logged in after the restore: %d %s", got.status, got.body)
		}
	}
}

// adopt is the operator's command.
func (o *office) adopt(within time.Duration) {
	o.t.Helper()
	s, err := server.OpenOffline(context.Background(), o.config)
	o.must(err)
	_, err = s.Restored(context.Background(), within)
	o.must(errors.Join(err, s.Close(context.Background())))
}

func TestT50AdoptedSessionsGoOnOnceAndTheLateEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, r restorable) {
		o := restoredOffice(t, r)
		owner, late, idle := o.login(), o.login(), o.login()
		restore := r.backup(t)
		newest := o.rotated(owner)
		o.wait(30 * time.Second)
		lateNewest, since := o.rotated(late), o.login()
		o.close()
		restore()
		o.adopt(24 * time.Hour)
		o.start()

		if got := o.orders(newest.Access); got.status != 401 || !strings.Contains(string(got.body), "TOKEN_EXPIRED") {
			t.Errorf("an access token of before: %d %s", got.status, got.body)
		}
		got := o.refresh(newest.Refresh)
		if got.status != 201 {
			t.Fatalf("the owner of a newer token: %d %s", got.status, got.body)
		}
		if call := o.orders(got.json.AccessToken); call.status != 200 {
			t.Errorf("the owner's call: %d %s", call.status, call.body)
		}
		if again := o.refresh(newest.Refresh); again.status != 201 || again.json.RefreshToken != got.json.RefreshToken {
			t.Errorf("the owner again, whose answer was lost: %d", again.status)
		}
		row, err := o.Sessions().Session(t.Context(), owner.Session)
		o.must(err)
		if jump := o.refresh(o.Tokens().MintRefresh(row.Binding(), row.Gen+1)); jump.status != 422 {
			t.Errorf("a second jump: %d", jump.status)
		}
		if gone := o.refresh(since.Refresh); gone.status != 422 {
			t.Errorf("a session since the backup: %d", gone.status)
		}
		if rest := o.refresh(idle.Refresh); rest.status != 201 {
			t.Errorf("the token of the backup, of one who did nothing since: %d", rest.status)
		}
		if n, m := o.told(audit.GenerationAdopted), o.told(audit.AdoptionBegan); n != 1 || m != 1 {
			t.Errorf("told %d and %d times", n, m)
		}
		if o.config.MasterKey != nil {
			return // the time of PostgreSQL is its own; the store's tests turn it
		}
		fresh := o.login()
		o.close()
		o.wait(24 * time.Hour)
		o.start()
		for name, raw := range map[string]string{"late": lateNewest.Refresh, "late, the used one": late.Refresh} {
			if got := o.refresh(raw); got.status != 422 {
				t.Errorf("%s: %d", name, got.status)
			}
		}
		for name, raw := range map[string]string{"adopted": got.json.RefreshToken, "new": fresh.Refresh} {
			if got := o.refresh(raw); got.status != 201 {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
	})
}

func TestT50AdoptIsRefusedWhereNothingWasRestored(t *testing.T) {
	o := restoredOffice(t, sqliteFile(t))
	o.close()
	s, err := server.OpenOffline(t.Context(), o.config)
	o.must(err)
	if _, err = s.Restored(t.Context(), time.Hour); err == nil {
		t.Error("sessions of a database that is not behind were let loose")
	}
	o.must(s.Close(context.Background()))
	o.start()
	if n := o.told(audit.AdoptionBegan); n != 0 {
		t.Error("and it was told so")
	}
}

// None of these is a restore: nobody may be logged out.
func TestT50WhatIsNoRestore(t *testing.T) {
	onBoth(t, func(t *testing.T, r restorable) {
		o := restoredOffice(t, r)
		mark := filepath.Join(o.config.Data, "mark.json")
		newest := o.login()
		goesOn := func(what string) {
			t.Helper()
			if got := o.orders(newest.Access); got.status != 200 {
				t.Errorf("%s: %d %s", what, got.status, got.body)
			}
			if n := o.told(audit.StoreTurnedBack); n != 0 {
				t.Errorf("%s was taken for a restore", what)
			}
		}
		goesOn("a first start")
		o.close()
		o.start()
		goesOn("a restart")
		o.close()
		o.must(os.Remove(mark))
		o.start()
		goesOn("a data directory that was lost")

		// The program dies after the commit that deals with a restore and before
		// the file is written.
		restore := r.backup(t)
		o.login()
		o.close()
		restore()
		before := filepath.Join(t.TempDir(), "mark")
		copyFile(t, mark, before)
		o.start()
		if n := o.told(audit.StoreTurnedBack); n != 1 {
			t.Errorf("the restore was told %d times", n)
		}
		newest = o.login()
		o.close()
		copyFile(t, before, mark)
		o.start()
		if got := o.orders(newest.Access); got.status != 200 || o.told(audit.StoreTurnedBack) != 1 {
			t.Errorf("a restore was dealt with twice: %d %s", got.status, got.body)
		}
	})
}

// One process of the server dies without a word: it ends all others, forgets
// what was in memory, and recovers from its log.
func TestT50CrashOfTheDatabaseIsNoRestore(t *testing.T) {
	if os.Getenv("COUNTERFOIL_TEST_POSTGRES") != "" {
		t.Skip("somebody else's server is not to be killed")
	}
	r := postgresDatabase(t)
	log := &alarmed{rang: make(chan struct{})}
	o := restoredOffice(t, r, watchful(log))
	first := o.login()
	for range 3 {
		newest := o.rotated(first)
		crash(t, o.config.Store)
		if again := o.refresh(first.Refresh); again.status != 201 || again.json.RefreshToken != newest.Refresh {
			t.Errorf("the same again after the crash: %d %s", again.status, again.body)
		}
		o.close()
		o.start()
		first = o.login()
	}
	if n := o.told(audit.StoreTurnedBack); n != 0 {
		t.Errorf("%d crashes were taken for a restore", n)
	}
}

// A node with another master key must not end the sessions of a database that is
// not its own.
func TestT50NodeWithAnotherMasterKeyEndsNothing(t *testing.T) {
	r := postgresDatabase(t)
	o := restoredOffice(t, r)
	stranger := *o.config
	stranger.Data, stranger.MasterKey = t.TempDir(), bytes.Repeat([]byte{7}, 32)
	o.must(os.WriteFile(filepath.Join(stranger.Data, "mark.json"), []byte(`{"incarnation":"another","number":5,"at":"2026-01-01T00:00:00Z"}`), 0o600))
	if _, err := server.Open(t.Context(), &stranger); err == nil {
		t.Error("it started")
	}
	if n := o.told(audit.StoreTurnedBack); n != 0 {
		t.Error("it ended all sessions")
	}
}
