package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	goodbye = "https://app.example.org/bye"
	// openScope is what the clients of these tests ask for.
	openScope = "openid profile email orders.collection.get"
)

// party is a client that believes an independent library: what it gets from the
// program's own discovery and keys.
type party struct {
	*standards
	provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
}

func openParty(t *testing.T, adjust func(*server.Config)) *party {
	t.Helper()
	p := &party{standards: openStandards(t, func(c *server.Config) {
		all := []string{session.GrantCode, session.GrantRefresh}
		c.OAuth.Clients = append(c.OAuth.Clients,
			session.Client{ID: "party", Tenant: "diku", Grants: all, Scopes: []string{"openid", "profile", "email", "orders.collection.get"}, Redirects: []string{redirectTo}, LogoutRedirects: []string{goodbye + "?x=1"}},
			session.Client{ID: "bare", Tenant: "diku", Grants: all, Scopes: []string{"openid"}, Redirects: []string{redirectTo}},
		)
		if adjust != nil {
			adjust(c)
		}
	})}
	base := p.URL(server.Public)
	// The program lives at another address than its issuer says, as behind a proxy.
	client := &http.Client{Transport: rerouted{base, p.office.client.Transport}}
	ctx := oidc.ClientContext(t.Context(), client)
	var err error
	p.provider, err = oidc.NewProvider(ctx, issuer)
	p.must(err)
	p.verifier = p.provider.VerifierContext(ctx, &oidc.Config{ClientID: "party", Now: p.office.config.Now})
	return p
}

// rerouted sends what is meant for the issuer to the program.
type rerouted struct {
	base string
	next http.RoundTripper
}

func (r rerouted) RoundTrip(request *http.Request) (*http.Response, error) {
	to, err := url.Parse(r.base)
	if err != nil {
		return nil, err
	}
	out := request.Clone(request.Context())
	out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, ""
	return r.next.RoundTrip(out)
}

// logInAs goes through the code flow of a client with OpenID's scope.
func (p *party) logInAs(client, scope string, options ...oauth2.AuthCodeOption) *oauth2.Token {
	p.t.Helper()
	c := p.config(client)
	c.Scopes = []string{scope}
	verifier := oauth2.GenerateVerifier()
	back := p.logIn(c.AuthCodeURL("s", append(options, oauth2.S256ChallengeOption(verifier))...), readerPW)
	to, err := url.Parse(back.header.Get("Location"))
	p.must(err)
	got, err := c.Exchange(context.Background(), to.Query().Get("code"), oauth2.VerifierOption(verifier))
	p.must(err)
	return got
}

func idOf(t *oauth2.Token) string { text, _ := t.Extra("id_token").(string); return text }

func TestOpenIDByAnIndependentLibrary(t *testing.T) {
	for _, algorithm := range []string{token.EdDSA, token.ES256, token.RS256} {
		t.Run(algorithm, func(t *testing.T) {
			p := openParty(t, func(c *server.Config) {
				if algorithm != token.EdDSA {
					c.Policy.Signing = &algorithm
				}
			})
			got := p.logInAs("party", openScope, oidc.Nonce("a nonce"), oauth2.SetAuthURLParam("max_age", "0"))
			id, err := p.verifier.Verify(t.Context(), idOf(got))
			p.must(err)
			p.must(id.VerifyAccessToken(got.AccessToken))
			var more struct {
				Session  string `json:"sid"`
				AuthTime int64  `json:"auth_time"`
			}
			p.must(id.Claims(&more))
			access := p.claims(got.AccessToken)
			if id.Subject != readerID || id.Nonce != "a nonce" || more.Session != access.Session.String() || more.AuthTime != access.AuthTime.Unix() {
				t.Errorf("%+v %+v", id, more)
			}
			if p.orders(got.AccessToken) != http.StatusOK || p.orders(idOf(got)) != http.StatusUnauthorized {
				t.Error("the access token does not work, or the ID token does")
			}
			next := p.tokenOf("grant_type", "refresh_token", "client_id", "party", "refresh_token", got.RefreshToken)
			again, err := p.verifier.Verify(t.Context(), next.json.IDToken)
			p.must(err)
			if again.Nonce != "" || again.Subject != readerID {
				t.Errorf("after a refresh: %+v", again)
			}
		})
	}
}

func TestOpenIDIsForThoseWhoAsk(t *testing.T) {
	p := openParty(t, nil)
	if id := idOf(p.logInAs("party", "orders.collection.get")); id != "" {
		t.Error("an ID token that nobody asked for")
	}
	bare := p.logInAs("bare", "openid")
	if idOf(bare) == "" || p.orders(bare.AccessToken) != http.StatusForbidden {
		t.Error("openid alone is about the user, and no permission")
	}
	if _, err := p.verifier.Verify(t.Context(), idOf(bare)); err == nil {
		t.Error("an ID token of another client")
	}
	c := p.config("party")
	c.Scopes = []string{openScope}
	for name, o := range map[string][2]string{"login_required": {"prompt", "none"}, "invalid_request": {"nonce", strings.Repeat("n", 201)}, "invalid_scope": {"scope", "openid address"}} {
		r, err := http.NewRequest(http.MethodGet, c.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam(o[0], o[1])), nil)
		p.must(err)
		to, _ := url.Parse(p.do(r).header.Get("Location"))
		if to.Query().Get("error") != name {
			t.Errorf("%v: %s", o, to)
		}
	}
	// A nonce is the code's: another one, or none, and it is no code any more.
	verifier := oauth2.GenerateVerifier()
	back := p.logIn(c.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oidc.Nonce("mine")), readerPW)
	to, _ := url.Parse(back.header.Get("Location"))
	code := to.Query().Get("code")
	bareCode, _, _ := strings.Cut(code, ".")
	for _, wrong := range []string{bareCode, bareCode + ".b3RoZXI", bareCode + ".", code + "x", code + "." + bareCode} {
		want(t, wrong, p.tokenOf("grant_type", "authorization_code", "client_id", "party", "redirect_uri", redirectTo, "code_verifier", verifier, "code", wrong), 400, "invalid_grant")
	}
	want(t, "after all of these", p.tokenOf("grant_type", "authorization_code", "client_id", "party", "redirect_uri", redirectTo, "code_verifier", verifier, "code", code), 200, "")
}

func TestUserinfo(t *testing.T) {
	p := openParty(t, nil)
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	_, err := p.Sessions().UpdateUser(ctx, directory.User{ID: readerID, Tenant: "diku", Username: "reader", Active: true, FirstName: "Rea", LastName: "Der", Email: "r@example.org"})
	p.must(err)
	ask := func(method, access string) (int, http.Header, map[string]any) {
		got, err := p.send(method, p.URL(server.Public)+"/oauth2/userinfo", nil, "Authorization", "Bearer "+access)
		p.must(err)
		var body map[string]any
		_ = json.Unmarshal(got.body, &body)
		return got.status, got.header, body
	}
	all := p.logInAs("party", openScope)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		status, header, body := ask(method, all.AccessToken)
		if status != 200 || body["sub"] != readerID || body["name"] != "Rea Der" || body["preferred_username"] != "reader" || body["email"] != "r@example.org" || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", method, status, body)
		}
	}
	if status, _, body := ask(http.MethodGet, p.logInAs("party", "openid").AccessToken); status != 200 || len(body) != 1 {
		t.Errorf("openid alone: %d %v", status, body)
	}
	if status, header, _ := ask(http.MethodGet, p.login().Access); status != 403 || !strings.Contains(header.Get("WWW-Authenticate"), "insufficient_scope") {
		t.Errorf("a token without the scope: %d %v", status, header)
	}
	for _, wrong := range []string{"x", idOf(all), all.RefreshToken} {
		if status, header, _ := ask(http.MethodGet, wrong); status != 401 || header.Get("WWW-Authenticate") == "" {
			t.Errorf("%.9s…: %d %v", wrong, status, header)
		}
	}
}

func TestLogoutThatAClientBegins(t *testing.T) {
	p := openParty(t, nil)
	ask := func(pairs ...string) *oauthReply {
		query := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			query.Set(pairs[i], pairs[i+1])
		}
		r, err := http.NewRequest(http.MethodGet, p.URL(server.Public)+"/oauth2/logout?"+query.Encode(), nil)
		p.must(err)
		return p.do(r)
	}
	got := p.logInAs("party", openScope)
	id := idOf(got)
	flipped := []byte(id)
	flipped[len(flipped)-3] ^= 1
	for name, pairs := range map[string][]string{
		"no hint":         {"client_id", "party", "post_logout_redirect_uri", goodbye + "?x=1"},
		"garbage":         {"id_token_hint", "x", "post_logout_redirect_uri", goodbye + "?x=1"},
		"forged":          {"id_token_hint", string(flipped)},
		"an access token": {"id_token_hint", got.AccessToken},
		"another client":  {"id_token_hint", id, "client_id", "web"},
	} {
		if a := ask(pairs...); a.status != 400 || a.header.Get("Location") != "" || !strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
	if p.orders(got.AccessToken) != http.StatusOK {
		t.Fatal("a session ended that nobody meant")
	}
	p.wait(time.Hour) // the hint may be old
	a := ask("id_token_hint", id, "client_id", "party", "post_logout_redirect_uri", goodbye+"?x=1", "state", "a&b")
	if a.status != 303 || a.header.Get("Location") != goodbye+"?state=a%26b&x=1" {
		t.Errorf("%d to %s", a.status, a.header.Get("Location"))
	}
	want(t, "its refresh token", p.tokenOf("grant_type", "refresh_token", "client_id", "party", "refresh_token", got.RefreshToken), 400, "invalid_grant")
	for _, to := range []string{"https://evil.test/", goodbye, goodbye + "?x=1#", "javascript:alert(1)"} {
		if a := ask("id_token_hint", id, "post_logout_redirect_uri", to); a.status != 200 || a.header.Get("Location") != "" {
			t.Errorf("%s: %d to %s", to, a.status, a.header.Get("Location"))
		}
	}
}

// listener is where a client hears of logouts.
type logoutListener struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	tokens []string
}

func openLogoutListener(t *testing.T) *logoutListener {
	t.Helper()
	l := &logoutListener{status: http.StatusOK}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.status == http.StatusOK {
			l.tokens = append(l.tokens, r.PostFormValue("logout_token"))
		}
		w.WriteHeader(l.status)
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *logoutListener) answer(status int) { l.mu.Lock(); defer l.mu.Unlock(); l.status = status }

// sessions are those that the client was told of.
func (l *logoutListener) sessions(t *testing.T, p *party) (ids []string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, raw := range l.tokens {
		id, err := p.verifier.Verify(t.Context(), raw)
		p.must(err)
		var c struct {
			Session string         `json:"sid"`
			Events  map[string]any `json:"events"`
			ID      string         `json:"jti"`
		}
		p.must(id.Claims(&c))
		if _, ok := c.Events["http://schemas.openid.net/event/backchannel-logout"]; !ok || id.Nonce != "" || id.Subject != readerID || c.ID == "" || id.Expiry.Sub(id.IssuedAt) > 2*time.Minute {
			t.Errorf("%+v %+v", id, c)
		}
		ids = append(ids, c.Session)
	}
	return ids
}

func TestBackChannelLogoutTellsOfEachEnd(t *testing.T) {
	l := openLogoutListener(t)
	p := openParty(t, func(c *server.Config) {
		for i := range c.OAuth.Clients {
			if c.OAuth.Clients[i].ID == "party" {
				c.OAuth.Clients[i].LogoutURI = l.URL + "/logout"
			}
		}
		c.Audit.SealEvery = session.Duration(100 * time.Millisecond)
	})
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	begin := func() token.SessionID { return p.claims(p.logInAs("party", openScope).AccessToken).Session }
	told := func(id token.SessionID) {
		t.Helper()
		p.eventually("the client hears of the end of "+id.String(), func() bool { return slices.Contains(l.sessions(t, p), id.String()) })
	}
	one, foreign := begin(), p.login()
	_, err := p.Sessions().Revoke(ctx, one)
	p.must(err)
	told(one)
	p.must(p.Sessions().Logout(ctx, foreign.Refresh)) // not this client's
	two := p.logInAs("party", openScope)
	want(t, "revoke", p.form("/oauth2/revoke", "client_id", "party", "token", two.RefreshToken), 200, "")
	told(p.claims(two.AccessToken).Session)
	three, four := begin(), begin()
	_, err = p.Sessions().EndUser(ctx, session.Scope{Tenant: "diku", UserID: readerID}, session.RevokedByAdmin, audit.SessionRevoked)
	p.must(err)
	told(three)
	told(four)
	five := begin()
	_, err = p.Sessions().EndUser(ctx, session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
	p.must(err)
	told(five)

	// A client that is away is told later, also by a program that was started anew.
	l.answer(http.StatusServiceUnavailable)
	six := begin()
	_, err = p.Sessions().Revoke(ctx, six)
	p.must(err)
	p.close()
	l.answer(http.StatusOK)
	p.start()
	told(six)
	if slices.Contains(l.sessions(t, p), foreign.Session.String()) {
		t.Error("the client hears of a session that is not its own")
	}
	// One that refuses for good is seen by operators, and holds nobody up.
	l.answer(http.StatusBadRequest)
	seven := begin()
	_, err = p.Sessions().Revoke(ctx, seven)
	p.must(err)
	p.eventually("a dead letter", func() bool {
		dead, err := p.Store().DeadLetters(t.Context(), 10)
		p.must(err)
		return len(dead) == 1 && dead[0].Sink == "logout party"
	})
}
