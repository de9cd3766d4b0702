package store

import (
	"context"

	"zombiezen.com/go/sqlite"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

func scanClient(stmt *sqlite.Stmt) (session.Client, error) { return decodeClient(stmt.ColumnText(0)) }

// OAuthClients lists all clients that were registered.
func (s *SQLite) OAuthClients(ctx context.Context) ([]session.Client, error) {
	return list(ctx, s, `SELECT client FROM oauth_clients ORDER BY tenant, id`, scanClient)
}

// CreateClient keeps a new client.
func (s *SQLite) CreateClient(ctx context.Context, c session.Client, event audit.Event) error {
	text, err := encodeClient(&c)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, func(t *tx) error {
		err := t.exec(`INSERT INTO oauth_clients (id, tenant, client, changed_at) VALUES (?1, ?2, ?3, ?4)`, c.ID, c.Tenant, text, micro(t.at))
		switch {
		case unique(err):
			return directory.ErrExists
		case foreign(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
}

// UpdateClient lets change change a client.
func (s *SQLite) UpdateClient(ctx context.Context, id string, change func(*session.Client) error, event audit.Event) (c session.Client, err error) {
	err = s.writer.do(ctx, func(t *tx) error {
		if c, err = t.client(id); err != nil {
			return err
		}
		if err := change(&c); err != nil {
			return err
		}
		text, err := encodeClient(&c)
		if err != nil {
			return err
		}
		if err := t.exec(`UPDATE oauth_clients SET client = ?2, changed_at = ?3 WHERE id = ?1`, id, text, micro(t.at)); err != nil {
			return err
		}
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
	return c, err
}

func (t *tx) client(id string) (c session.Client, err error) {
	err = rows(t.conn, `SELECT client FROM oauth_clients WHERE id = ?1`, func(stmt *sqlite.Stmt) (err error) {
		c, err = scanClient(stmt)
		return err
	}, id)
	if err == nil && c.ID == "" {
		err = notFound("client")
	}
	return c, err
}

// DeleteClient forgets a client.
func (s *SQLite) DeleteClient(ctx context.Context, id string, event audit.Event) error {
	return s.writer.do(ctx, func(t *tx) error {
		c, err := t.client(id)
		if err != nil {
			return err
		}
		if err := t.exec(`DELETE FROM oauth_clients WHERE id = ?1`, id); err != nil {
			return err
		}
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
}
