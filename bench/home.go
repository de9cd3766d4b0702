package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// home is where one Counterfoil keeps what it has.
type home struct {
	data string // directory
	// store is the URL of a database, empty for SQLite in the directory.
	store  string
	remove func()
}

// newHome makes a directory, and a database where PostgreSQL is measured.
func (b *bench) newHome(ctx context.Context, name string) (home, error) {
	data, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return home{}, err
	}
	h := home{data: data, remove: func() { _ = os.RemoveAll(data) }}
	if b.postgres == nil {
		return h, nil
	}
	b.databases++
	database := fmt.Sprintf("%s_%d", name, b.databases)
	if err := b.operator(ctx, "CREATE DATABASE "+database+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		return home{}, errors.Join(err, os.RemoveAll(data))
	}
	h.store = b.postgres.URL(database)
	h.remove = func() {
		_ = os.RemoveAll(data)
		_ = b.operator(context.WithoutCancel(ctx), "DROP DATABASE "+database+" WITH (FORCE)")
	}
	return h, nil
}

// operator runs statements that belong to no database of ours.
func (b *bench) operator(ctx context.Context, statements ...string) error {
	return execute(ctx, b.postgres.URL("postgres"), statements...)
}

func execute(ctx context.Context, database string, statements ...string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// usePostgres starts a server for the run.
func (b *bench) usePostgres(ctx context.Context) (stop func(), err error) {
	if b.postgres, err = pgtest.Start(); err != nil {
		return nil, err
	}
	var version string
	conn, err := pgx.Connect(ctx, b.postgres.URL("postgres"))
	if err == nil {
		err = errors.Join(conn.QueryRow(ctx, `SELECT current_setting('server_version')`).Scan(&version), conn.Close(ctx))
	}
	if err != nil {
		b.postgres.Stop()
		return nil, err
	}
	fmt.Printf("PostgreSQL %s with its own defaults, on the same cores\n", version)
	return b.postgres.Stop, nil
}
