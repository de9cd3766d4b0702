package store

import (
	"testing"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func someClient(id string) session.Client {
	return session.Client{
		ID: id, Tenant: "diku", Name: "Bøger \\ '", Grants: []string{session.GrantCode}, Redirects: []string{"https://app.example.org/?a=1&b=<"},
		Scopes: []string{"openid", "orders.item.get"}, Keys: []token.JWK{{Type: "OKP", Algorithm: token.EdDSA, Curve: "Ed25519", X: "x"}},
	}
}

var clientEvent = audit.Event{Kind: audit.ClientChanged, Tenant: "diku"}

var clientTests = map[string]func(*testing.T, bench, engine){
	"clients are kept, changed and forgotten, and every node hears of it": func(t *testing.T, b bench, _ engine) {
		one, two := someClient("one"), someClient("two")
		must(t, b.CreateClient(t.Context(), two, clientEvent))
		must(t, b.CreateClient(t.Context(), one, clientEvent))
		wantError(t, b.CreateClient(t.Context(), one, clientEvent), directory.ErrExists)
		list, err := b.OAuthClients(t.Context())
		must(t, err)
		wantEqual(t, list, []session.Client{one, two})
		got, err := b.UpdateClient(t.Context(), "one", func(c *session.Client) error { c.Name = "another"; return nil }, clientEvent)
		must(t, err)
		one.Name = "another"
		wantEqual(t, got, one)
		_, err = b.UpdateClient(t.Context(), "one", func(c *session.Client) error { c.Name = "third"; return session.ErrInvalid }, clientEvent)
		wantError(t, err, session.ErrInvalid)
		must(t, b.DeleteClient(t.Context(), "two", clientEvent))
		list, err = b.OAuthClients(t.Context())
		must(t, err)
		wantEqual(t, list, []session.Client{one})
		changes := b.heard.take()
		wantEqual(t, len(changes), 4)
		for _, c := range changes {
			wantEqual(t, c.Kind, session.ClientsChanged)
		}
		wantEqual(t, len(b.events(t, audit.ClientChanged)), 4)
	},
	"clients belong to a tenant, and leave with it": func(t *testing.T, b bench, _ engine) {
		lost := someClient("lost")
		lost.Tenant = "unknown"
		wantError(t, b.CreateClient(t.Context(), lost, clientEvent), session.ErrNotFound)
		wantError(t, b.DeleteClient(t.Context(), "lost", clientEvent), session.ErrNotFound)
		_, err := b.UpdateClient(t.Context(), "lost", func(*session.Client) error { return nil }, clientEvent)
		wantError(t, err, session.ErrNotFound)
		must(t, b.CreateClient(t.Context(), someClient("one"), clientEvent))
		must(t, b.DeleteTenant(t.Context(), "diku", audit.Event{Kind: audit.TenantDeleted, Tenant: "diku"}))
		list, err := b.OAuthClients(t.Context())
		must(t, err)
		wantEqual(t, len(list), 0)
	},
}
