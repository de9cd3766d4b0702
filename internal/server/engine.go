package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil/internal/store"
)

// openStore opens the engine that the configuration names.
func openStore(ctx context.Context, c *Config, log *slog.Logger) (store.DB, error) {
	if !c.postgres() {
		return orNone(store.Open(ctx, store.Config{Path: strings.TrimPrefix(c.Store, "sqlite:"), Now: c.Now, Log: log}))
	}
	address, err := c.databaseURL(c.Store)
	if err != nil {
		return nil, err
	}
	listen, err := c.databaseURL(c.Postgres.Listen)
	if err != nil {
		return nil, err
	}
	return orNone(store.OpenPostgres(ctx, store.PostgresConfig{
		URL: address, Listen: listen, Pooled: c.Postgres.Pooled, Name: c.Node, MaxConns: c.Postgres.Connections,
		LiveFor: c.TrustMemory.Std(), Now: c.Now, Log: log,
	}))
}

// orNone keeps a nil pointer from becoming a store that is not nil.
func orNone[T store.DB](db T, err error) (store.DB, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}

// databaseURL adds to a URL what must not stand in a configuration file.
func (c *Config) databaseURL(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("store: the URL of the database cannot be read")
	}
	password := c.Postgres.password
	if password == "" && c.Postgres.PasswordFile != "" {
		text, err := os.ReadFile(c.Postgres.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("postgres.password_file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	if password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	certificates, err := c.serverCertificates()
	if err != nil {
		return "", err
	}
	if query := u.Query(); certificates != "" && !query.Has("sslrootcert") {
		query.Set("sslrootcert", certificates)
		query.Set("sslmode", "verify-full")
		u.RawQuery = query.Encode()
	}
	return u.String(), nil
}

// serverCertificates is the file with the certificates by which the database is
// known; those of the environment are written to one.
func (c *Config) serverCertificates() (string, error) {
	if c.Postgres.certificates == "" {
		return c.Postgres.ServerPEM, nil
	}
	file := filepath.Join(c.Data, "database.pem")
	if err := os.WriteFile(file, []byte(c.Postgres.certificates+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("DB_SERVER_PEM: %w", err)
	}
	return file, nil
}
