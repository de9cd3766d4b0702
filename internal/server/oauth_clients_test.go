package server_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// A client that is registered, changed or removed at one node is so at the other at
// once, and what it may do counts for the tokens that it has.
func TestOAuthClientsAreRegisteredWhileNodesRun(t *testing.T) {
	database := pgtest.Database(t)
	key := []byte("0123456789abcdefghijklmnopqrstuv")
	one := openStandards(t, func(c *server.Config) { c.Store, c.MasterKey = database, key })
	two := &standards{office: emptyOffice(t, func(c *server.Config) { c.Store, c.PublicURL, c.MasterKey = database, issuer, key })}
	two.office.client.CheckRedirect = one.office.client.CheckRedirect
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	// reach waits until both nodes know what one of them did.
	reach := func(by *standards) {
		t.Helper()
		reached, err := by.Sessions().Await(ctx, 10*time.Second)
		one.must(err)
		if reached.Reached != reached.Live {
			t.Fatalf("%+v", reached)
		}
	}
	late := session.Client{
		ID: "late", Tenant: "diku", Grants: []string{session.GrantCredentials, session.GrantRefresh}, Scopes: []string{"*"}, User: readerID,
	}
	_, secret, err := one.Sessions().RegisterClient(ctx, late, true)
	one.must(err)
	reach(one)
	ask := func(s *standards, secret string) *oauthReply {
		return s.tokenOf("grant_type", "client_credentials", "client_id", "late", "client_secret", secret)
	}
	got := ask(two, secret)
	want(t, "at the other node", got, 200, "")
	if two.orders(got.json.AccessToken) != http.StatusOK {
		t.Error("the access token does not work")
	}
	_, next, err := two.Sessions().RotateClientSecret(ctx, "late", time.Hour)
	two.must(err)
	reach(two)
	want(t, "the secret before", ask(one, secret), 200, "")
	want(t, "the new one", ask(one, next), 200, "")
	_, third, err := one.Sessions().RotateClientSecret(ctx, "late", 0)
	one.must(err)
	reach(one)
	want(t, "the secret before, at once", ask(two, next), 401, "invalid_client")
	got = ask(two, third)
	want(t, "a token of now", got, 200, "")
	_, err = one.Sessions().ChangeClient(ctx, "late", func(c *session.Client) error { c.Scopes = []string{"users.item.get"}; return nil })
	one.must(err)
	reach(one)
	if status := two.orders(got.json.AccessToken); status != http.StatusForbidden {
		t.Errorf("with less scope: %d", status)
	}
	n, err := one.Sessions().RemoveClient(ctx, "late")
	one.must(err)
	if n == 0 {
		t.Error("no session ended")
	}
	reach(one)
	if status := two.orders(got.json.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("of a client that is gone: %d", status)
	}
	want(t, "a client that is gone", ask(two, third), 401, "invalid_client")
}
