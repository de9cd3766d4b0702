package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

//go:embed migrations
var migrationFiles embed.FS

// migration is one step forward of the schema. There is no step back: restore
// a backup instead.
type migration struct {
	name, sql, checksum string
}

var (
	sqliteMigrations   = mustMigrations("migrations/sqlite")
	postgresMigrations = mustMigrations("migrations/postgres")
)

// mustMigrations reads the embedded files of a directory, which are in the
// order of their names. Migration n is the n-th.
func mustMigrations(dir string) []migration {
	entries, err := fs.ReadDir(migrationFiles, dir)
	if err != nil {
		panic(err) // the program was built without them
	}
	var all []migration
	for _, e := range entries {
		text, err := fs.ReadFile(migrationFiles, dir+"/"+e.Name())
		if err != nil {
			panic(err)
		}
		all = append(all, newMigration(e.Name(), string(text)))
	}
	return all
}

func newMigration(name, sql string) migration {
	sum := sha256.Sum256([]byte(sql))
	return migration{name: name, sql: sql, checksum: hex.EncodeToString(sum[:])}
}

const createMigrations = `
	CREATE TABLE IF NOT EXISTS migrations (
		version    INTEGER NOT NULL PRIMARY KEY,
		name       TEXT    NOT NULL,
		checksum   TEXT    NOT NULL,
		applied_at INTEGER NOT NULL
	) STRICT`

// checkApplied compares the next migration that a store has, the n-th, with
// what this program knows. Nothing is changed in a store that a newer program
// made, or whose migrations were not the ones that this program has: what it
// would do to the data of such a store was never tested.
func checkApplied(known []migration, n, version int, name, checksum string) error {
	switch {
	case version > len(known):
		return fmt.Errorf("%w: it has migration %s, and this program knows %d; run the program that made it, or a newer one",
			ErrSchema, name, len(known))
	case version != n, checksum != known[version-1].checksum:
		return fmt.Errorf("%w: its migration %s is not this program's %s; was the store made by another build?",
			ErrSchema, name, known[n-1].name)
	}
	return nil
}

// migrate applies what is missing, each migration in a transaction of its own.
func migrate(ctx context.Context, conn *sqlite.Conn, known []migration, now func() time.Time) error {
	if err := sqlitex.ExecuteTransient(conn, createMigrations, nil); err != nil {
		return public(err)
	}
	applied, err := sqliteApplied(conn, known)
	if err != nil {
		return err
	}
	for i := applied; i < len(known); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := apply(conn, i+1, known[i], now()); err != nil {
			return fmt.Errorf("migration %s: %w", known[i].name, public(err))
		}
	}
	return nil
}

// sqliteApplied is how many migrations a store has. It changes nothing.
func sqliteApplied(conn *sqlite.Conn, known []migration) (applied int, err error) {
	made := false
	err = rows(conn, `SELECT 1 FROM sqlite_schema WHERE name = 'migrations'`, func(*sqlite.Stmt) error { made = true; return nil })
	if err != nil || !made {
		return 0, public(err)
	}
	err = rows(conn, `SELECT version, name, checksum FROM migrations ORDER BY version`, func(stmt *sqlite.Stmt) error {
		applied++
		return checkApplied(known, applied, stmt.ColumnInt(0), stmt.ColumnText(1), stmt.ColumnText(2))
	})
	return applied, public(err)
}

func apply(conn *sqlite.Conn, version int, m migration, at time.Time) (err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	if err := sqlitex.ExecuteScript(conn, m.sql, nil); err != nil {
		return err
	}
	return sqlitex.ExecuteTransient(conn, `INSERT INTO migrations (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)`,
		&sqlitex.ExecOptions{Args: []any{version, m.name, m.checksum, micro(at)}})
}
