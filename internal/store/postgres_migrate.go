package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const createPostgresMigrations = `
	CREATE TABLE IF NOT EXISTS migrations (
		version    integer NOT NULL PRIMARY KEY,
		name       text    NOT NULL,
		checksum   text    NOT NULL,
		applied_at bigint  NOT NULL
	)`

// bringUp brings a database that can hold the store to this program's schema.
func bringUp(ctx context.Context, conn *pgx.Conn) error {
	var encoding string
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return publicPostgres(err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, and must be UTF8", encoding)
	}
	return publicPostgres(migratePostgres(ctx, conn, postgresMigrations))
}

// migratePostgres applies what is missing, each migration in a transaction of
// its own that nobody else has at the same time: of ten starting nodes one does
// the work, and the others find it done. The lock is the transaction's and not
// the connection's, because a pooler gives connections of one client to many.
func migratePostgres(ctx context.Context, conn *pgx.Conn, known []migration) error {
	for {
		// Most starts find nothing to do and take no lock, so that a node can
		// start while another holds it, or where nothing can be written.
		applied, err := appliedMigrations(ctx, conn, known)
		if err != nil || applied == len(known) {
			return err
		}
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return migrateOne(ctx, tx, known) })
		if err != nil {
			return err
		}
	}
}

func migrateOne(ctx context.Context, tx pgx.Tx, known []migration) error {
	for _, setup := range []string{
		`SET LOCAL statement_timeout = 0`, `SET LOCAL lock_timeout = 0`, `SET LOCAL idle_in_transaction_session_timeout = 0`,
	} {
		if _, err := tx.Exec(ctx, setup); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey("migrations")); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, createPostgresMigrations); err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, tx, known)
	if err != nil || applied == len(known) {
		return err
	}
	m := known[applied]
	// Several statements in one string need the simple protocol.
	if _, err := tx.Exec(ctx, m.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO migrations (version, name, checksum, applied_at)
		VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)`, applied+1, m.name, m.checksum)
	return err
}

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func appliedMigrations(ctx context.Context, conn querier, known []migration) (applied int, err error) {
	var made bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('migrations') IS NOT NULL`).Scan(&made); err != nil || !made {
		return 0, err
	}
	rows, err := conn.Query(ctx, `SELECT version, name, checksum FROM migrations ORDER BY version`)
	if err != nil {
		return 0, err
	}
	var version int
	var name, checksum string
	_, err = pgx.ForEachRow(rows, []any{&version, &name, &checksum}, func() error {
		applied++
		return checkApplied(known, applied, version, name, checksum)
	})
	return applied, err
}
