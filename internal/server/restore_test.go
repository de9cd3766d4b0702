package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// restorable is a database that operators back up and restore with its own
// means.
type restorable struct {
	// adjust makes a configuration use it.
	adjust func(*server.Config)
	// backup makes a copy, and returns what puts it in the place of the database.
	// Whatever is connected then is cut off.
	backup func(t *testing.T) (restore func())
}

func onBoth(t *testing.T, test func(t *testing.T, r restorable)) {
	t.Run("SQLite", func(t *testing.T) { test(t, sqliteFile(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgresDatabase(t)) })
}

func sqliteFile(t *testing.T) restorable {
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	return restorable{
		adjust: func(c *server.Config) { c.Store = "sqlite:" + path },
		backup: func(t *testing.T) func() {
			copied := filepath.Join(t.TempDir(), "backup.db")
			inSQLite(t, path, func(conn *sqlite.Conn) error {
				return sqlitex.ExecuteTransient(conn, `VACUUM INTO ?1`, &sqlitex.ExecOptions{Args: []any{copied}})
			})
			return func() {
				for _, name := range []string{path + "-wal", path + "-shm"} {
					if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
				}
				copyFile(t, copied, path)
			}
		},
	}
}

func inSQLite(t *testing.T, path string, do func(*sqlite.Conn) error) {
	t.Helper()
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetBusyTimeout(10 * time.Second)
	if err := errors.Join(do(conn), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

// copyFile puts a copy in the place of a file in one step.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.WriteFile(to+".copy", text, 0o600), os.Rename(to+".copy", to))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// postgresDatabase is dumped with pg_dump. The restored database takes the place
// of the other by its name, in the same cluster: neither system identifier nor
// timeline tell the one from the other.
func postgresDatabase(t *testing.T) restorable {
	database := pgtest.Database(t)
	return restorable{
		adjust: func(c *server.Config) { c.Store, c.MasterKey = database, clusterKey },
		backup: func(t *testing.T) func() {
			dump := filepath.Join(t.TempDir(), "dump")
			postgresTool(t, "pg_dump", "-Fc", "-f", dump, database)
			return func() {
				u, err := url.Parse(database)
				if err != nil {
					t.Fatal(err)
				}
				name := strings.TrimPrefix(u.Path, "/")
				other, maintenance := *u, *u
				other.Path, maintenance.Path = "/"+name+"_restored", "/postgres"
				pgtest.Exec(t, maintenance.String(), `CREATE DATABASE `+name+`_restored ENCODING 'UTF8' TEMPLATE template0`)
				postgresTool(t, "pg_restore", "-d", other.String(), dump)
				pgtest.Exec(t, maintenance.String(), `DROP DATABASE `+name+` WITH (FORCE)`)
				pgtest.Exec(t, maintenance.String(), `ALTER DATABASE `+name+`_restored RENAME TO `+name)
			}
		},
	}
}

func postgresTool(t *testing.T, name string, args ...string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	slices.Sort(found)
	path := name
	if len(found) > 0 {
		path = found[len(found)-1]
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// restoredOffice is a program with a module behind it.
func restoredOffice(t *testing.T, r restorable, adjust ...func(*server.Config)) *office {
	t.Helper()
	o := openOffice(t, func(c *server.Config) {
		r.adjust(c)
		for _, a := range adjust {
			a(c)
		}
	})
	module := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(module.Close)
	o.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]}]`, module.URL)
	return o
}

// lost is what happened between a backup and its restore.
type lost struct {
	// used and newest are tokens of a session of before the backup that rotated.
	used, newest *session.Tokens
	// since began after the backup, revoked was revoked after it.
	since, revoked *session.Tokens
	// tenant began after the tenant's sessions had all been ended.
	tenant *session.Tokens
}

func (o *office) rotated(of *session.Tokens) *session.Tokens {
	o.t.Helper()
	next, err := o.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: of.Refresh})
	o.must(err)
	return next
}

// lose does what the restore undoes. revoked is a session of before the backup.
func (o *office) lose(used, revoked *session.Tokens) lost {
	o.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	l := lost{used: used, newest: o.rotated(used), since: o.login(), revoked: revoked}
	_, err := o.Sessions().Revoke(ctx, revoked.Session)
	o.must(err)
	_, err = o.Sessions().EndUser(ctx, session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
	o.must(err)
	o.must(o.Sessions().LogoutUser(ctx, "diku", readerID))
	l.tenant = o.login()
	return l
}

// refusesAll is that nothing of before the restore holds any more, that this was
// told, and that whoever logs in now stays.
func (o *office) refusesAll(l lost) {
	o.t.Helper()
	for name, tokens := range map[string]*session.Tokens{
		"used": l.used, "newest": l.newest, "of a session since the backup": l.since,
		"of a session that had been revoked": l.revoked, "of after the end of the tenant's sessions": l.tenant,
	} {
		if got := o.orders(tokens.Access); got.status != 401 {
			o.t.Errorf("access token %s: %d %s", name, got.status, got.body)
		}
		if got := o.refresh(tokens.Refresh); got.status != 422 {
			o.t.Errorf("refresh token %s: %d %s", name, got.status, got.body)
		}
		if got := o.orders(tokens.Access); got.status != 401 {
			o.t.Errorf("access token %s, after the refresh: %d", name, got.status)
		}
	}
	fresh := o.login()
	if got := o.orders(o.rotated(fresh).Access); got.status != 200 {
		o.t.Errorf("a new login: %d %s", got.status, got.body)
	}
	if n := o.told(audit.StoreTurnedBack); n != 1 {
		o.t.Errorf("the restore was told %d times", n)
	}
	if o.told(audit.GenerationAhead) == 0 {
		o.t.Error("no alarm about the token that is newer than its row")
	}
}

func (o *office) told(kind audit.Kind) int {
	o.t.Helper()
	events, err := o.Store().Events(context.Background(), session.EventFilter{Kind: kind})
	o.must(err)
	return len(events)
}

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

// crash kills a process of the server, which makes it end all others, and returns
// when it has recovered.
func crash(t *testing.T, database string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	victim, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close(context.Background())
	witness, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close(context.Background())
	if err := syscall.Kill(int(victim.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := witness.WaitForNotification(ctx); err == nil || ctx.Err() != nil {
		t.Fatal("the server goes on")
	}
	for {
		conn, err := pgx.Connect(ctx, database)
		if err == nil {
			conn.Close(ctx)
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
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
