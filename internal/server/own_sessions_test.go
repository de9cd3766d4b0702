package server_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// ownBrowser is a browser in which reader is logged in to FOLIO.
type ownBrowser struct {
	*office
	client *http.Client
}

func openOwn(t *testing.T, adjust ...func(*server.Config)) *ownBrowser {
	t.Helper()
	o := openOffice(t, func(c *server.Config) {
		c.Cookies.Insecure = true
		for _, change := range adjust {
			change(c)
		}
	})
	b := &ownBrowser{office: o}
	b.logIn()
	return b
}

func (b *ownBrowser) logIn() {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	b.must(err)
	b.client = &http.Client{Jar: jar, Timeout: 30 * time.Second}
	r, err := http.NewRequest("POST", b.URL(server.Public)+"/authn/login-with-expiry", strings.NewReader(`{"username":"reader","password":"`+readerPW+`"}`))
	b.must(err)
	r.Header = http.Header{"X-Okapi-Tenant": {"diku"}, "Content-Type": {"application/json"}}
	b.do(r).want(b.t, 201)
}

func (b *ownBrowser) do(r *http.Request) consolePage {
	b.t.Helper()
	answer, err := b.client.Do(r)
	b.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	b.must(err)
	return consolePage{answer.StatusCode, answer.Request.URL.RequestURI(), answer.Header, string(text)}
}

func (b *ownBrowser) see() consolePage {
	b.t.Helper()
	r, err := http.NewRequest("GET", b.URL(server.Public)+"/authn/my/sessions", nil)
	b.must(err)
	return b.do(r)
}

func (b *ownBrowser) press(origin, path string) consolePage { return b.send(origin, path, "") }

// send is press with a password.
func (b *ownBrowser) send(origin, path, password string) consolePage {
	b.t.Helper()
	r, err := http.NewRequest("POST", b.URL(server.Public)+"/authn/my/sessions"+path, strings.NewReader(url.Values{"password": {password}}.Encode()))
	b.must(err)
	r.Header.Set("Origin", origin)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// here is the browser's own session.
func (b *ownBrowser) here() *session.Session {
	b.t.Helper()
	at, err := url.Parse(b.URL(server.Public) + "/authn/refresh")
	b.must(err)
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == session.AccessCookie {
			row, err := b.Sessions().Session(context.Background(), b.claims(c.Value).Session)
			b.must(err)
			return row
		}
	}
	b.t.Fatal("no cookie")
	return nil
}

func TestOwnSessions(t *testing.T) {
	b := openOwn(t)
	other := b.login()
	own := b.URL(server.Public)
	b.see().want(t, 200, "You are reader.", "this one", "End all others", "/authn/my/sessions/"+other.Session.String()+"/end")
	b.press(own, "/"+other.Session.String()+"/end").want(t, 200, "The session was ended.")
	if b.refresh(other.Refresh).status != 422 {
		t.Error("the other session goes on")
	}
	first, second := b.login(), b.login()
	b.press(own, "/end").want(t, 200, "All other sessions were ended.", "this one")
	if b.refresh(first.Refresh).status != 422 || b.refresh(second.Refresh).status != 422 {
		t.Error("others go on")
	}
	// Its access token is over: the page refreshes as the application would.
	b.wait(11 * time.Minute)
	b.see().want(t, 200, "You are reader.")
	b.press(own, "/"+b.here().ID.String()+"/end").want(t, 401, "You are not logged in here")
	b.see().want(t, 401, "You are not logged in here")
}

// Nobody ends, or sees, what is not his; and no page of another site does.
func TestT48OwnSessionsAreTheUsersAlone(t *testing.T) {
	b := openOwn(t)
	d := b.office
	olga, err := d.Sessions().SignFor(context.Background(), "diku", readerID, "reader")
	d.must(err)
	foreign := foreignSession(t, d)
	own := b.URL(server.Public)
	if p := b.see().want(t, 200); strings.Contains(p.text, foreign.Session.String()) {
		t.Error("a session of somebody else is listed")
	}
	b.press(own, "/"+foreign.Session.String()+"/end").want(t, 404, "That is no session of yours")
	b.press(own, "/x/end").want(t, 404)
	if p := b.press("https://evil.example", "/"+olga.Session.String()+"/end"); p.status != 403 {
		t.Errorf("a page of another site: %d", p.status)
	}
	if p := b.press("https://evil.example", "/end"); p.status != 403 {
		t.Errorf("a page of another site: %d", p.status)
	}
	for _, one := range []*session.Tokens{olga, foreign} {
		row, err := d.Sessions().Session(t.Context(), one.Session)
		d.must(err)
		if !row.RevokedAt.IsZero() {
			t.Errorf("session of %s has ended", row.Username)
		}
	}
	csp := b.see().header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("%q", csp)
	}
	got, err := d.send("GET", d.URL(server.Internal)+"/authn/my/sessions", nil)
	d.must(err)
	if got.status == 200 {
		t.Error("the internal listener has the page")
	}
}

// foreignSession is one of another user of the tenant.
func foreignSession(t *testing.T, o *office) *session.Tokens {
	t.Helper()
	const id = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	o.must(o.Sessions().CreateUser(ctx, directory.User{ID: id, Tenant: "diku", Username: "writer", Active: true}, directory.Grants{}, readerPW))
	tokens, err := o.Sessions().SignFor(ctx, "diku", id, "writer")
	o.must(err)
	return tokens
}

// T-57: where the policy says so, a stolen access token or an unattended browser
// ends no other session.
func TestT57OthersAreEndedAfterAnotherProof(t *testing.T) {
	b := openOwn(t, func(c *server.Config) {
		c.Policy.StepUp = &session.StepUps{session.EndOthers: {MaxAge: session.Duration(5 * time.Minute)}}
	})
	own, here := b.URL(server.Public), b.here()
	first := b.login()
	b.press(own, "/"+first.Session.String()+"/end").want(t, 200, "The session was ended.") // the login is fresh
	other := b.login()
	b.wait(6 * time.Minute)
	path := "/" + other.Session.String() + "/end"
	b.press(own, path).want(t, 200, "Your password, reader")
	b.press(own, "/end").want(t, 200, "Your password, reader")
	b.send(own, path, "wrong").want(t, 422, "That is not your password")
	if b.refresh(other.Refresh).status != 201 {
		t.Fatal("the other session ended without a password")
	}
	b.send(own, path, readerPW).want(t, 200, "The session was ended.")

	// The same over JSON.
	other = b.login()
	access := other.Access
	b.wait(6 * time.Minute)
	ask := func(token, path string) *reply {
		got, err := b.office.send(http.MethodDelete, own+"/authn/sessions/_self"+path, nil, "X-Okapi-Token", token)
		b.must(err)
		return got
	}
	for _, path := range []string{"", "/" + here.ID.String()} {
		got := ask(access, path)
		if got.status != 401 || !strings.Contains(string(got.body), "ELEVATION_REQUIRED") || !strings.Contains(got.header.Get("WWW-Authenticate"), `max_age="300"`) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	raised := b.post("/authn/elevate", map[string]any{"password": readerPW, "permissions": []string{session.EndOthers}}, "X-Okapi-Token", access)
	if got := ask(raised.json.AccessToken, "/"+here.ID.String()); got.status != 204 {
		t.Errorf("with raised scope: %d %s", got.status, got.body)
	}
	if got := ask(access, "/"+other.Session.String()); got.status != 204 {
		t.Errorf("its own session: %d %s", got.status, got.body)
	}
	b.see().want(t, 401)
}
