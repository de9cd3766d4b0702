package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
