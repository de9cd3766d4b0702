package store

import (
	"errors"
	"os"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/session"
)

// tx is the writer's transaction, one after the other.
type tx struct {
	conn  *sqlite.Conn
	clock func() time.Time

	// now is the clock as the present operation read it, whole microseconds.
	now time.Time
	// at is now, but never behind what an earlier operation had. A clock that
	// was set back must not date the end of a session so early that the next
	// start finds no reason to remember it.
	at time.Time
	// wrote is whether the present operation has written, and dirty whether any
	// operation of the transaction has.
	wrote, dirty bool
	// changes are those of the whole transaction, in order.
	changes []session.Change
	// seq is the number of the newest committed change.
	seq uint64

	beginStmt, commitStmt      *sqlite.Stmt
	sessionStmt, saveStateStmt *sqlite.Stmt
}

// openWriter opens the connection that writes. The file is made first, because
// SQLite would make it readable by everybody whom the umask lets.
func openWriter(path string) (*sqlite.Conn, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite, sqlite.OpenWAL)
	if err != nil {
		return nil, public(err)
	}
	conn.SetBusyTimeout(busyTimeout)
	for _, pragma := range [...]string{
		// A commit is on the disk before it is acknowledged. A rotation that a
		// power cut takes back would make the client's token look like a
		// restored database.
		`PRAGMA synchronous = FULL`,
		`PRAGMA foreign_keys = ON`,
		// What is deleted is overwritten: wrapped keys, session secrets.
		`PRAGMA secure_delete = ON`,
		`PRAGMA trusted_schema = OFF`,
		`PRAGMA temp_store = MEMORY`,
		// The part of the file that is kept in memory, KiB.
		`PRAGMA cache_size = -32768`,
		// How long the log grows, in pages, before the writer copies it to the
		// database file. At the default of 1000, busy sessions all over a big
		// store make it stop so often that the 99th percentile feels it.
		`PRAGMA wal_autocheckpoint = 8000`,
		// A log that one long transaction blew up is cut again, bytes.
		`PRAGMA journal_size_limit = 67108864`,
	} {
		if err := sqlitex.ExecuteTransient(conn, pragma, nil); err != nil {
			return nil, errors.Join(public(err), conn.Close())
		}
	}
	return conn, nil
}

// busyTimeout is how long to wait for another process that looks into the
// file, such as a backup.
const busyTimeout = 5 * time.Second

func prepareReader(conn *sqlite.Conn) error {
	conn.SetBusyTimeout(busyTimeout)
	return sqlitex.ExecuteTransient(conn, `PRAGMA trusted_schema = OFF`, nil)
}

func (t *tx) init(conn *sqlite.Conn, clock func() time.Time) error {
	t.conn, t.clock = conn, clock
	for query, stmt := range map[string]**sqlite.Stmt{
		`BEGIN IMMEDIATE`: &t.beginStmt,
		`COMMIT`:          &t.commitStmt,
		selectSession:     &t.sessionStmt,
		updateState:       &t.saveStateStmt,
	} {
		var err error
		if *stmt, err = conn.Prepare(query); err != nil {
			return err
		}
	}
	return rows(conn, `SELECT seq FROM feed`, func(stmt *sqlite.Stmt) error {
		t.seq = uint64(stmt.ColumnInt64(0))
		return nil
	})
}

func (t *tx) begin() error {
	t.changes, t.dirty = nil, false
	return step(t.beginStmt)
}

// run runs one operation, unless its caller has gone.
func (t *tx) run(o *operation) {
	t.wrote, o.err, o.thrown = false, nil, nil
	if o.err = o.ctx.Err(); o.err != nil {
		return
	}
	t.now = t.clock().UTC().Truncate(time.Microsecond)
	if t.now.After(t.at) {
		t.at = t.now
	}
	defer func() {
		if o.thrown = recover(); o.thrown != nil {
			o.err = errMisuse
		}
	}()
	if o.err = o.apply(t); o.err != nil {
		o.err = public(o.err)
	}
}

// spoilt is whether the transaction must not be committed after the present
// operation failed: it has written, or the engine has rolled back by itself,
// as it does when the disk is full.
func (t *tx) spoilt() bool { return t.wrote || t.conn.AutocommitEnabled() }

// commit numbers the changes and commits.
func (t *tx) commit() ([]session.Change, error) {
	seq := t.seq
	if len(t.changes) > 0 {
		for i := range t.changes {
			seq++
			t.changes[i].Seq = seq
		}
		if err := t.exec(`UPDATE feed SET seq = ?1`, seq); err != nil {
			t.rollback()
			return nil, err
		}
	}
	if err := step(t.commitStmt); err != nil {
		t.rollback()
		return nil, err
	}
	t.seq = seq
	return t.changes, nil
}

func (t *tx) rollback() {
	if !t.conn.AutocommitEnabled() {
		// It fails only where there is nothing to roll back. If it ever did
		// otherwise, no transaction could begin and all callers would hear it.
		_ = sqlitex.Execute(t.conn, `ROLLBACK`, nil)
	}
}

// exec runs a statement that writes.
func (t *tx) exec(query string, args ...any) error {
	err := sqlitex.Execute(t.conn, query, &sqlitex.ExecOptions{Args: args})
	if err == nil && t.conn.Changes() > 0 {
		t.wrote, t.dirty = true, true
	}
	return err
}

// must is exec for a statement that has to change a row; what names the row
// that is missing if it does not.
func (t *tx) must(what notFound, query string, args ...any) error {
	if err := t.exec(query, args...); err != nil {
		return err
	}
	if t.conn.Changes() == 0 {
		return what
	}
	return nil
}

// exists is whether a query has a row.
func (t *tx) exists(query string, args ...any) (found bool, err error) {
	err = rows(t.conn, query, func(*sqlite.Stmt) error { found = true; return nil }, args...)
	return found, err
}

// number runs a query for a single number, 0 if it has no row.
func (t *tx) number(query string, args ...any) (n int64, err error) {
	err = rows(t.conn, query, func(stmt *sqlite.Stmt) error { n = stmt.ColumnInt64(0); return nil }, args...)
	return n, err
}

func (t *tx) changed(c session.Change) {
	c.At = t.at
	t.changes = append(t.changes, c)
}

// step runs a prepared statement that has no rows.
func step(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	return errors.Join(err, stmt.Reset())
}

// foreign is what a statement failed with because it refers to a row that is
// not there.
func foreign(err error) bool {
	return sqlite.ErrCode(err) == sqlite.ResultConstraintForeignKey
}

// unique is what a statement failed with because its key is taken.
func unique(err error) bool {
	code := sqlite.ErrCode(err)
	return code == sqlite.ResultConstraintUnique || code == sqlite.ResultConstraintPrimaryKey
}
