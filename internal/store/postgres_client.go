package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

func scanClientRow(row pgx.CollectableRow) (session.Client, error) {
	var text string
	if err := row.Scan(&text); err != nil {
		return session.Client{}, err
	}
	return decodeClient(text)
}

// OAuthClients lists all clients that were registered.
func (p *Postgres) OAuthClients(ctx context.Context) ([]session.Client, error) {
	return listRows(ctx, p, `SELECT client FROM oauth_clients ORDER BY tenant, id`, scanClientRow)
}

// CreateClient keeps a new client.
func (p *Postgres) CreateClient(ctx context.Context, c session.Client, event audit.Event) error {
	text, err := encodeClient(&c)
	if err != nil {
		return err
	}
	return p.do(ctx, func(t *pgTx) error {
		_, err := t.exec(`INSERT INTO oauth_clients (id, tenant, client, changed_at) VALUES ($1, $2, $3, $4)`, c.ID, c.Tenant, text, micro(t.at))
		switch {
		case uniqueKey(err):
			return directory.ErrExists
		case foreignKey(err):
			return notFound("tenant")
		case err != nil:
			return err
		}
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
}

// UpdateClient lets change change a client, under its lock.
func (p *Postgres) UpdateClient(ctx context.Context, id string, change func(*session.Client) error, event audit.Event) (c session.Client, err error) {
	err = p.do(ctx, func(t *pgTx) error {
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
		t.later(`UPDATE oauth_clients SET client = $2, changed_at = $3 WHERE id = $1`, id, text, micro(t.at))
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
	return c, err
}

func (t *pgTx) client(id string) (c session.Client, err error) {
	err = t.query(func(row pgx.CollectableRow) (err error) {
		c, err = scanClientRow(row)
		return err
	}, `SELECT client FROM oauth_clients WHERE id = $1 FOR UPDATE`, id)
	if err == nil && c.ID == "" {
		err = notFound("client")
	}
	return c, err
}

// DeleteClient forgets a client.
func (p *Postgres) DeleteClient(ctx context.Context, id string, event audit.Event) error {
	return p.do(ctx, func(t *pgTx) error {
		c, err := t.client(id)
		if err != nil {
			return err
		}
		t.later(`DELETE FROM oauth_clients WHERE id = $1`, id)
		t.changed(clientChanged(&c))
		return t.append(ctx, event)
	})
}
