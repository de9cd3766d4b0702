// Package store keeps everything durable: sessions, events, tenants, users,
// permissions, policies, modules and keys. It does so twice, in SQL written
// plainly for each engine, and one suite of tests holds for both.
//
// SQLite is one file for one process. One goroutine writes; it groups all
// updates that wait into one transaction, so that they share one sync to the
// disk; readers have connections of their own and wait for nobody.
//
// Postgres is one database for many nodes. Each groups its refreshes in the same
// way, into transactions of two round trips; everything else is a transaction of
// its own. A feed of numbered changes tells every node what to forget.
//
// Whoever gets nil has been committed and synced, and every change listener of
// this node has run.
//
// The package decides nothing. It does not know when a refresh is allowed or
// what a policy means: the callback of UpdateSession decides, on a row that
// nobody else can touch. It never sees a token or a password in the clear, and
// no value of a row gets into an error.
//
// Its invariants: a session that ended never lives again; an event is written
// in the transaction of what it tells, or not at all; epochs and the numbers
// of changes only grow; one process writes to a file at a time.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// DB is all that an engine keeps. One suite of tests holds for every engine.
type DB interface {
	session.Store
	session.Feed
	session.Cluster
	session.AccountStore
	session.PasswordStore
	session.EventStore
	session.PolicyStore
	session.APIKeyStore
	session.DeviceStore
	session.ClientStore
	session.SpentStore
	session.MovingStore
	session.UsageStore
	directory.Source
	token.KeyStore
	ModuleStore
	AdminStore
	MarkStore
	TrailStore
	// SchemaVersion is the number of the newest migration.
	SchemaVersion(ctx context.Context) (int, error)
	// Now is the clock of the store, as far as this node can tell without asking.
	Now() time.Time
	// Close finishes what waits and closes the files. Calls after it fail with
	// session.ErrUnavailable.
	Close() error
}

// ModuleStore is gateway.Store, method by method: the two packages must not
// import each other.
type ModuleStore interface {
	Modules(ctx context.Context) ([]directory.Module, error)
	SaveModules(ctx context.Context, event audit.Event, modules ...directory.Module) error
	DeleteModule(ctx context.Context, id string, event audit.Event) error
	Enabled(ctx context.Context) ([]directory.Enabled, error)
	Enable(ctx context.Context, tenant, module, replaced string, sets []directory.PermissionSet, event audit.Event) error
	Disable(ctx context.Context, tenant, module string, event audit.Event) error
	Instances(ctx context.Context) ([]directory.Instance, error)
	SaveInstance(ctx context.Context, i directory.Instance, event audit.Event) error
	DeleteInstances(ctx context.Context, module, id string, event audit.Event) (int, error)
	Timers(ctx context.Context) ([]directory.Timer, error)
	SaveTimer(ctx context.Context, timer directory.Timer, event audit.Event) error
	ResetTimer(ctx context.Context, tenant, id string, event audit.Event) error
	CreateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	UpdateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	DeleteTenant(ctx context.Context, id string, event audit.Event) error
}

// AdminStore is what operators administer beside that.
type AdminStore interface {
	ListUsers(ctx context.Context, tenant, after string, limit int) ([]directory.User, error)
	SavePermissionSet(ctx context.Context, tenant string, set directory.PermissionSet, event audit.Event) error
	DeletePermissionSet(ctx context.Context, tenant, name string, event audit.Event) error
	// Forget has every node forget what it remembers of a user, or of all users
	// and permissions of a tenant where userID is empty.
	Forget(ctx context.Context, tenant, userID string, event audit.Event) error
}

var _ DB = (*SQLite)(nil)

// Config says where the store is. Path and Now are needed.
type Config struct {
	// Path is the database file. It is created, readable by its owner alone,
	// with files beside it whose names begin with the same.
	Path string
	// Now is the clock.
	Now func() time.Time
	// Log gets what no caller can be told; nil discards it.
	Log *slog.Logger
}

// SQLite is the embedded engine. Its methods are safe for concurrent use.
type SQLite struct {
	now     func() time.Time
	writer  *writer
	readers *sqlitex.Pool
	lock    *os.File
	path    string
	file    os.FileInfo // as it was opened
	alone   alone

	close  sync.Once
	closed error
}

// readers is how many reads run at the same time. They are lists for people
// and what memory lost; no request path reads.
const readers = 4

// Open opens the store, creates it if it is not there, and brings its schema
// up to date. It fails with ErrLocked if another process has it open, and with
// ErrSchema if it was not made by this version of the program or an older one.
func Open(ctx context.Context, c Config) (_ *SQLite, err error) {
	if c.Path == "" || c.Now == nil {
		return nil, errors.New("store: Path and Now must be set")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	// A path, and no URI: nothing in it has a meaning of its own.
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &SQLite{now: c.Now, path: path}
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("store %s: %w", path, errors.Join(err, s.release()))
		}
	}()
	conn, err := openWriter(path)
	if err != nil {
		return nil, err
	}
	if err = migrate(ctx, conn, sqliteMigrations, c.Now); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if s.file, err = os.Stat(path); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.readers, err = sqlitex.NewPool(path, sqlitex.PoolOptions{
		Flags: sqlite.OpenReadOnly, PoolSize: readers, PrepareConn: prepareReader,
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if s.writer, err = newWriter(conn, c.Now, c.Log); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s.alone.started = c.Now()
	return s, nil
}

// Close finishes what waits and closes the files. Calling it again is
// harmless.
func (s *SQLite) Close() error {
	s.close.Do(func() { s.closed = s.release() })
	return s.closed
}

func (s *SQLite) release() error {
	var faults []error
	if s.writer != nil {
		s.writer.drain() // its listeners may still read
	}
	if s.readers != nil {
		faults = append(faults, s.readers.Close())
	}
	if s.writer != nil {
		faults = append(faults, s.writer.conn.Close()) // the last one empties the log
	}
	return errors.Join(append(faults, s.lock.Close())...)
}

// Checkpoint moves everything from the log to the database file and empties
// the log. The engine moves what is old by itself; this is for backups,
// measurements, and for what must not be readable any more.
func (s *SQLite) Checkpoint(ctx context.Context) error {
	return s.writer.submit(ctx, func(t *tx) error {
		busy, err := t.number(`PRAGMA wal_checkpoint(TRUNCATE)`)
		if err == nil && busy != 0 {
			err = fmt.Errorf("%w: somebody reads the log", session.ErrUnavailable)
		}
		return err
	}, true)
}

// SchemaVersion is the number of the newest migration.
func (s *SQLite) SchemaVersion(ctx context.Context) (int, error) {
	return one(ctx, s, "schema", `SELECT max(version) FROM migrations`, func(stmt *sqlite.Stmt) (int, error) {
		return stmt.ColumnInt(0), nil
	})
}

// read lends a connection that sees what was committed when it first reads.
func (s *SQLite) read(ctx context.Context, do func(*sqlite.Conn) error) error {
	conn, err := s.readers.Take(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: the store is closed", session.ErrUnavailable)
	}
	defer s.readers.Put(conn)
	if err := do(conn); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return public(err)
	}
	return nil
}

// rows runs a query and calls each for every row.
func rows(conn *sqlite.Conn, query string, each func(*sqlite.Stmt) error, args ...any) error {
	return sqlitex.Execute(conn, query, &sqlitex.ExecOptions{Args: args, ResultFunc: each})
}

// list runs a query that reads all of something.
func list[T any](ctx context.Context, s *SQLite, query string, scan func(*sqlite.Stmt) (T, error), args ...any) ([]T, error) {
	var all []T
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		all = nil
		return rows(conn, query, func(stmt *sqlite.Stmt) error {
			one, err := scan(stmt)
			all = append(all, one)
			return err
		}, args...)
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// one runs a query for a single row and fails with a notFound named what if
// there is none.
func one[T any](ctx context.Context, s *SQLite, what notFound, query string, scan func(*sqlite.Stmt) (T, error), args ...any) (T, error) {
	all, err := list(ctx, s, query, scan, args...)
	if err == nil && len(all) == 0 {
		err = what
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// micro writes a time as it is stored.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicro reads a stored time.
func fromMicro(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}
