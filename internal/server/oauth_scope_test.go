package server_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// scopedTokens logs in and redeems the code, with a scope.
func (s *standards) scopedTokens(client, scope string) *oauthReply {
	s.t.Helper()
	c := s.config(client)
	c.Scopes = []string{scope}
	code, verifier := s.codeFrom(c)
	return s.tokenOf("grant_type", "authorization_code", "code", code, "client_id", client, "redirect_uri", redirectTo, "code_verifier", verifier)
}

// deletes is the status of a call that needs raised scope.
func (s *standards) deletes(access string) int {
	s.t.Helper()
	got, err := s.send(http.MethodDelete, s.URL(server.Public)+"/desk", nil, "Authorization", "Bearer "+access, "X-Okapi-Tenant", "diku")
	s.must(err)
	return got.status
}

// O-4: a refresh may ask for less, and the next one has everything again.
func TestOAuthScopeIsNarrowedForOneTokenOrForAll(t *testing.T) {
	s := openStandards(t, nil)
	got := s.tokens("web").RefreshToken
	refresh := func(scope string) *oauthReply {
		pairs := []string{"grant_type", "refresh_token", "refresh_token", got, "client_id", "web"}
		if scope != "" {
			pairs = append(pairs, "scope", scope)
		}
		a := s.tokenOf(pairs...)
		if a.status == http.StatusOK {
			got = a.json.RefreshToken
		}
		return a
	}
	narrow := refresh("users.item.get users.collection.get")
	if narrow.json.Scope != "users.collection.get users.item.get" || s.orders(narrow.json.AccessToken) != http.StatusForbidden {
		t.Errorf("a token for less: %s", narrow.body)
	}
	if whole := refresh(""); whole.json.Scope != "*" || s.orders(whole.json.AccessToken) != http.StatusOK {
		t.Errorf("the next one: %s", whole.body)
	}

	session := s.scopedTokens("web", "users.item.get")
	got = session.json.RefreshToken
	if session.json.Scope != "users.item.get" || s.orders(session.json.AccessToken) != http.StatusForbidden {
		t.Errorf("a session for less: %s", session.body)
	}
	before := got
	want(t, "more than the session has", refresh("users.item.get orders.collection.get"), 400, "invalid_scope")
	if next := refresh(""); next.status != http.StatusOK || next.json.Scope != "users.item.get" || next.json.RefreshToken == before {
		t.Errorf("after that: %s", next.body)
	}
	want(t, "a client's, from FOLIO's door", s.tokenOf("grant_type", "client_credentials", "client_id", "shop", "client_secret", s.secret, "scope", "users.all"), 400, "invalid_scope")
	few := s.tokenOf("grant_type", "client_credentials", "client_id", "shop", "client_secret", s.secret, "scope", "orders.collection.get")
	if few.json.Scope != "orders.collection.get" || s.orders(few.json.AccessToken) != http.StatusOK {
		t.Errorf("client_credentials: %s", few.body)
	}
}

func (s *standards) exchange(client, subject string, pairs ...string) *oauthReply {
	s.t.Helper()
	return s.tokenOf(append([]string{
		"grant_type", session.GrantExchange, "client_id", client, "subject_token", subject,
		"subject_token_type", "urn:ietf:params:oauth:token-type:access_token",
	}, pairs...)...)
}

func TestOAuthTokenExchangeGivesLess(t *testing.T) {
	s := openStandards(t, nil)
	subject := s.tokens("other")
	got := s.exchange("other", subject.AccessToken, "scope", "users.item.get")
	want(t, "less", got, 200, "")
	if got.json.Scope != "users.item.get" || got.json.RefreshToken != "" || got.json.IssuedType == "" || s.orders(got.json.AccessToken) != http.StatusForbidden {
		t.Errorf("%s", got.body)
	}
	want(t, "more than the subject token has", s.exchange("other", got.json.AccessToken, "scope", "orders.collection.get"), 400, "invalid_scope")
	s.wait(time.Minute)
	again := s.exchange("other", subject.AccessToken, "scope", "orders.collection.get")
	if s.orders(again.json.AccessToken) != http.StatusOK {
		t.Errorf("%s", again.body)
	}
	if a, b := s.claims(again.json.AccessToken), s.claims(subject.AccessToken); !a.Expires.Equal(b.Expires) || a.Session != b.Session || !a.AuthTime.Equal(b.AuthTime) {
		t.Errorf("exchanged %+v for %+v", b, a)
	}
	for name, test := range map[string]struct {
		client, subject string
		pairs           []string
		code            string
	}{
		"client without the grant":     {"web", s.tokens("web").AccessToken, nil, "unauthorized_client"},
		"another client's token":       {"other", s.tokens("web").AccessToken, nil, "invalid_request"},
		"FOLIO's own token":            {"other", s.login().Access, nil, "invalid_request"},
		"refresh token":                {"other", subject.RefreshToken, nil, "invalid_request"},
		"garbage":                      {"other", "x", nil, "invalid_request"},
		"nothing":                      {"other", "", nil, "invalid_request"},
		"other type of token":          {"other", subject.AccessToken, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"},
		"actor":                        {"other", subject.AccessToken, []string{"actor_token", "x"}, "invalid_request"},
		"audience":                     {"other", subject.AccessToken, []string{"audience", "elsewhere"}, "invalid_target"},
		"resource":                     {"other", subject.AccessToken, []string{"resource", "https://elsewhere.example.org"}, "invalid_target"},
		"other context":                {"other", subject.AccessToken, []string{"acr_values", "gold"}, "invalid_request"},
		"raised scope for nothing":     {"other", subject.AccessToken, []string{"acr_values", session.ACRElevated}, "invalid_request"},
		"raised scope, not the user's": {"other", subject.AccessToken, []string{"acr_values", session.ACRElevated, "scope", "users.item.delete"}, "invalid_scope"},
	} {
		want(t, name, s.exchange(test.client, test.subject, test.pairs...), 400, test.code)
	}
	s.wait(10 * time.Minute)
	want(t, "an expired token", s.exchange("other", subject.AccessToken), 400, "invalid_request")
}

// T-47: raised scope lives until five minutes after the password was given, is
// for what it names alone, and is never refreshed.
func TestT47OAuthRaisesScopeForFreshProofsAlone(t *testing.T) {
	s := openStandards(t, nil)
	s.enable("mod-desk-1.0.0", `[{"methods":["DELETE"],"pathPattern":"/desk","permissionsRequired":["orders.collection.delete"]}]`, moduleThatAnswers(t))
	subject := s.tokens("other")
	if status := s.deletes(subject.AccessToken); status != http.StatusForbidden {
		t.Fatalf("before: %d", status)
	}
	raise := func() *oauthReply {
		return s.exchange("other", subject.AccessToken, "acr_values", session.ACRElevated, "scope", "orders.collection.delete")
	}
	s.wait(4 * time.Minute)
	got := raise()
	want(t, "four minutes after the login", got, 200, "")
	if status := s.deletes(got.json.AccessToken); status != http.StatusOK || got.json.RefreshToken != "" {
		t.Errorf("with raised scope: %d, %s", status, got.body)
	}
	c := s.claims(got.json.AccessToken)
	if c.Kind != token.KindElevated || c.Expires.Sub(c.AuthTime) > 5*time.Minute {
		t.Errorf("%+v", c)
	}
	want(t, "raised scope for raised scope", s.exchange("other", got.json.AccessToken, "acr_values", session.ACRElevated, "scope", "orders.collection.delete"), 400, "invalid_request")
	events, err := s.Store().Events(t.Context(), session.EventFilter{Kind: audit.Elevated})
	s.must(err)
	if len(events) != 1 || events[0].Session != c.Session.String() {
		t.Errorf("not in the timeline: %+v", events)
	}
	s.wait(61 * time.Second)
	if status := s.deletes(got.json.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("five minutes after the login: %d", status)
	}
	want(t, "five minutes after the login", raise(), 400, "invalid_grant")
}
