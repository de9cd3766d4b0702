package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// sqliteCopy is one end of a copy: a connection in a transaction.
type sqliteCopy struct {
	conn *sqlite.Conn
	lock *os.File // nil if there are others
}

// openSQLiteSource begins to read a file as it is now. It writes nothing, not
// even a newer schema. The lock keeps programs away while it reads; a forced
// copy does without, because readers and the writer are in nobody's way.
func openSQLiteSource(ctx context.Context, c *CopyConfig) (_ copySource, err error) {
	path, err := filepath.Abs(c.From.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no database: %w", err)
	}
	s := &sqliteCopy{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if !c.Force {
		if s.lock, err = lockFile(path + ".lock"); err != nil {
			return nil, err
		}
	}
	if s.conn, err = sqlite.OpenConn(path, sqlite.OpenReadOnly); err != nil {
		return nil, public(err)
	}
	s.conn.SetInterrupt(ctx.Done())
	if err := prepareReader(s.conn); err != nil {
		return nil, public(err)
	}
	if err := s.exec(ctx, `BEGIN`); err != nil {
		return nil, err
	}
	applied, err := sqliteApplied(s.conn, sqliteMigrations)
	if err != nil {
		return nil, err
	}
	return s, checkCurrent(applied, sqliteMigrations)
}

// openSQLiteTarget makes a file, or takes one that is empty.
func openSQLiteTarget(ctx context.Context, c *CopyConfig) (_ copyTarget, err error) {
	path, err := filepath.Abs(c.To.Path)
	if err != nil {
		return nil, err
	}
	s := &sqliteCopy{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	if s.conn, err = openWriter(path); err != nil {
		return nil, err
	}
	s.conn.SetInterrupt(ctx.Done())
	if err := migrate(ctx, s.conn, sqliteMigrations, c.Now); err != nil {
		return nil, err
	}
	return s, s.exec(ctx, `BEGIN IMMEDIATE`)
}

// close gives up what was not committed. Otherwise it moves everything from the
// log, which is as long as the whole copy, to the file; what it cannot move, the
// next one who opens it does.
func (s *sqliteCopy) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

func (s *sqliteCopy) exec(_ context.Context, query string) error {
	return public(sqlitex.ExecuteTransient(s.conn, query, nil))
}

func (s *sqliteCopy) count(_ context.Context, query string) (n int64, err error) {
	err = rows(s.conn, query, func(stmt *sqlite.Stmt) error { n = stmt.ColumnInt64(0); return nil })
	return n, public(err)
}

func (s *sqliteCopy) rows(_ context.Context, t *table) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		row := make([]any, len(t.columns))
		err := rows(s.conn, t.selectAll(), func(stmt *sqlite.Stmt) error {
			for i, c := range t.columns {
				switch c.kind {
				case text:
					row[i] = stmt.ColumnText(i)
				case number:
					row[i] = stmt.ColumnInt64(i)
				case truth:
					row[i] = stmt.ColumnInt64(i) != 0
				case raw:
					value := make([]byte, stmt.ColumnLen(i))
					stmt.ColumnBytes(i, value)
					row[i] = value
				}
			}
			if !yield(row, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(nil, public(err))
		}
	}
}

// errEnough is how a reader who wants no more rows leaves.
var errEnough = errors.New("enough rows")

// keeps is everything: this engine takes any bytes for text.
func (s *sqliteCopy) keeps(text string) string { return text }

func (s *sqliteCopy) insert(_ context.Context, t *table, next func() ([]any, error)) error {
	query := `INSERT INTO ` + t.name + ` (` + strings.Join(t.names(), ", ") + `) VALUES (?` + strings.Repeat(", ?", len(t.columns)-1) + `)`
	stmt, err := s.conn.Prepare(query)
	if err != nil {
		return public(err)
	}
	for {
		row, err := next()
		if err != nil || row == nil {
			return err
		}
		for i, value := range row {
			switch value := value.(type) {
			case string:
				stmt.BindText(i+1, value)
			case int64:
				stmt.BindInt64(i+1, value)
			case bool:
				stmt.BindBool(i+1, value)
			case []byte:
				stmt.BindBytes(i+1, value)
			}
		}
		if err := step(stmt); err != nil {
			return public(err)
		}
	}
}

func (s *sqliteCopy) commit(ctx context.Context) error { return s.exec(ctx, `COMMIT`) }
