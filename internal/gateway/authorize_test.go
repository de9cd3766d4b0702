package gateway_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestTheModuleIsToldWhoCalls(t *testing.T) {
	w := echoing(t)
	claims := w.claims()
	before := w.Now()
	s := w.get("/items/1", "X-Okapi-Token", w.mint(claims), "Accept", "text/x", "X-Other", "kept").seen(t)
	told := maps.Collect(func(yield func(string, string) bool) {
		for name := range s.Header {
			if strings.HasPrefix(name, "X-") && !yield(name, s.Header.Get(name)) {
				return
			}
		}
	})
	at, _ := strconv.ParseInt(told["X-Okapi-Request-Timestamp"], 10, 64)
	if d := time.UnixMilli(at).Sub(before); d < -time.Second || d > time.Minute {
		t.Errorf("timestamp is %s off", d)
	}
	id := told["X-Okapi-Request-Id"]
	if len(id) != 12 || !strings.HasSuffix(id, "/items") {
		t.Errorf("request id %q", id)
	}
	got, err := w.ring.Verify(told["X-Okapi-Token"], w.Now(), token.KindModule)
	if err != nil {
		t.Fatal(err)
	}
	want := token.Claims{
		Kind: token.KindModule, Issuer: got.Issuer, Audience: got.Audience, Tenant: "diku", Subject: "alice", UserID: alice,
		Module: "mod-echo-1.0.0", Session: claims.Session, Permissions: []string{}, RequestID: id,
		IssuedAt: got.IssuedAt, Expires: got.IssuedAt.Add(20 * time.Minute),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"X-Okapi-Request-Timestamp", "X-Okapi-Request-Id", "X-Okapi-Token"} {
		delete(told, name)
	}
	if diff := cmp.Diff(map[string]string{
		"X-Okapi-Url": w.internal, "X-Okapi-Tenant": "diku", "X-Okapi-User-Id": alice, "X-Okapi-Permissions": `["echo.get"]`,
		"X-Okapi-Request-Ip": "127.0.0.1", "X-Okapi-Request-Method": "GET", "X-Okapi-Match-Path-Pattern": "/items/{id}", "X-Other": "kept",
	}, told); diff != "" {
		t.Error(diff)
	}
	if s.Header.Get("Accept") != "text/x" {
		t.Error("Accept did not pass")
	}
}

func TestNobodyGetsAModuleTokenToo(t *testing.T) {
	w := echoing(t)
	s := w.get("/lent").seen(t)
	c, err := w.ring.Verify(s.Header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Subject, "UNDEFINED_USER__") || c.UserID != "" || !c.Session.IsZero() || !slices.Equal(c.Permissions, []string{"lent.get"}) {
		t.Errorf("claims %+v", c)
	}
	if _, told := s.Header["X-Okapi-User-Id"]; told || s.Header.Get("X-Okapi-Permissions") != "[]" {
		t.Errorf("headers %v", s.Header)
	}
}

func TestDesiredPermissionsAreReportedWhereTheyAreHeld(t *testing.T) {
	w := echoing(t)
	w.grant("echo.get", "wish.b", "wish.a", "wishes", "hidden")
	s := w.get("/wish", "X-Okapi-Token", w.access()).seen(t)
	if got := s.Header.Get("X-Okapi-Permissions"); got != `["echo.get","wish.a","wish.b"]` {
		t.Errorf("got %s", got)
	}
}

func TestATenantsOwnRouteNeedsNoPermission(t *testing.T) {
	w := echoing(t)
	w.get("/own/diku", "X-Okapi-Token", w.access()).want(t, 200, "")
	w.get("/own/other", "X-Okapi-Token", w.access()).want(t, 403, "Access for user")
	w.get("/own/diku").want(t, 401, "Token missing, access requires permission: own.any")
}

func TestPermissionSetsOfAModuleCanBeGranted(t *testing.T) {
	w := echoing(t)
	w.grant("echo.all")
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 200, "")
}

func TestWhatWasTakenFromAUserIsGoneAtOnce(t *testing.T) {
	w := echoing(t)
	at := w.access()
	w.get("/echo", "X-Okapi-Token", at).want(t, 200, "")
	w.grant("other")
	w.get("/echo", "X-Okapi-Token", at).want(t, 403, "Access for user")
	w.grant("echo.get")
	w.get("/echo", "X-Okapi-Token", at).want(t, 200, "")
	_, err := w.sessions.UpdateUser(t.Context(), directory.User{ID: alice, Tenant: "diku", Username: "alice"})
	w.must(err)
	w.get("/echo", "X-Okapi-Token", at).want(t, 401, invalid)
}

func TestARevokedSessionIsRefusedOnTheNextRequest(t *testing.T) {
	w := echoing(t)
	login := func() *session.Tokens {
		tokens, err := w.sessions.Login(t.Context(), session.LoginRequest{
			Tenant: "diku", Username: "alice", Password: password, Client: session.ClientWeb,
		})
		w.must(err)
		return tokens
	}
	one, two := login(), login()
	w.get("/echo", "X-Okapi-Token", one.Access).want(t, 200, "")
	w.must(w.sessions.Logout(t.Context(), one.Refresh))
	w.get("/echo", "X-Okapi-Token", one.Access).want(t, 401, invalid)
	w.get("/echo", "X-Okapi-Token", two.Access).want(t, 200, "")
	_, err := w.sessions.EndUser(t.Context(), session.Scope{Tenant: "diku", UserID: alice}, session.RevokedByAdmin, audit.SessionRevoked)
	w.must(err)
	w.get("/echo", "X-Okapi-Token", two.Access).want(t, 401, invalid)
}

func TestT45AModulesTokenIsWorthNothingOutside(t *testing.T) {
	w := echoing(t)
	captured := w.get("/lent", "X-Okapi-Token", w.access()).seen(t).Header.Get("X-Okapi-Token")
	for _, path := range []string{"/echo", "/open", "/guarded", "/_/version"} {
		w.get(path, "X-Okapi-Token", captured).want(t, 401, invalid)
	}
	call(t, "GET", w.admin+"/_/version", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", captured).want(t, 401, invalid)
	inside := []string{"X-Okapi-Tenant", "diku", "X-Okapi-Token", captured}
	call(t, "GET", w.internal+"/echo", "", inside...).want(t, 200, "")
	// Nor do permissions widen by it: what was lent is all there is.
	w.grant()
	call(t, "GET", w.internal+"/echo", "", inside...).want(t, 403, "Access for user 'alice'")
}

func TestT46AModulesTokenExpires(t *testing.T) {
	w := echoing(t)
	captured := w.get("/open", "X-Okapi-Token", w.access()).seen(t).Header.Get("X-Okapi-Token")
	inside := []string{"X-Okapi-Tenant", "diku", "X-Okapi-Token", captured}
	w.advance(19 * time.Minute) // longer than its caller's own token
	call(t, "GET", w.internal+"/open", "", inside...).want(t, 200, "")
	w.advance(2 * time.Minute)
	call(t, "GET", w.internal+"/open", "", inside...).want(t, 401, expired)
}

func TestNestedCallsGainWhatTheModuleWasLent(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, echo)
	w.module(`{"id":"mod-chain-1.0.0","provides":[{"id":"chain","version":"1.0","handlers":[
		{"methods":["GET"],"pathPattern":"/chain/{n}","permissionsRequired":["chain.get"],"modulePermissions":["chain.get","echo.all"]}]}]}`,
		func(rw http.ResponseWriter, r *http.Request) {
			next := map[string]string{"/chain/2": "/chain/1", "/chain/1": "/echo"}[r.RequestURI]
			a := call(t, "GET", r.Header.Get("X-Okapi-Url")+next, "", "X-Okapi-Tenant", r.Header.Get("X-Okapi-Tenant"),
				"X-Okapi-Token", r.Header.Get("X-Okapi-Token"), "X-Okapi-Request-Id", r.Header.Get("X-Okapi-Request-Id"))
			rw.WriteHeader(a.status)
			_, _ = rw.Write([]byte(a.body))
		})
	w.grant("chain.get")
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 403, "")
	s := w.get("/chain/2", "X-Okapi-Token", w.access(), "X-Okapi-Request-Id", "client-1").seen(t)
	links := strings.Split(s.Header.Get("X-Okapi-Request-Id"), ";")
	if len(links) != 4 || links[0] != "client-1" || !strings.HasSuffix(links[1], "/chain") || !strings.HasSuffix(links[3], "/echo") {
		t.Errorf("chain of request ids %q", links)
	}
	if s.Header.Get("X-Okapi-User-Id") != alice {
		t.Errorf("the user was lost on the way: %v", s.Header)
	}
	c, err := w.ring.Verify(s.Header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil || c.Module != "mod-echo-1.0.0" || len(c.Permissions) > 0 {
		t.Errorf("what was lent to one module went on to the next: %+v, %v", c, err)
	}
}

func TestRaisedScopeCountsAndDoesNotTravel(t *testing.T) {
	w := echoing(t)
	w.must(w.sessions.SetGrants(t.Context(), "diku", alice, directory.Grants{Elevated: []string{"echo.all"}}))
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 403, "")
	raised := w.claims()
	raised.Kind, raised.Permissions = token.KindElevated, []string{"echo.all"}
	s := w.get("/echo", "X-Okapi-Token", w.mint(raised)).seen(t)
	inside := []string{"X-Okapi-Tenant", "diku", "X-Okapi-Token", s.Header.Get("X-Okapi-Token")}
	call(t, "GET", w.internal+"/echo", "", inside...).want(t, 403, "")
	w.grant() // and it ends with the grant, not only with the token
	w.get("/echo", "X-Okapi-Token", w.mint(raised)).want(t, 403, "")
}

func TestADummyTokenHasWhatItWasSignedWith(t *testing.T) {
	w := echoing(t)
	c := token.Claims{
		Kind: token.KindDummy, Tenant: "diku", Subject: "UNDEFINED_USER__1", Permissions: []string{"echo.all"},
		IssuedAt: w.Now(), Expires: w.Now().Add(time.Minute),
	}
	s := w.get("/echo", "X-Okapi-Token", w.mint(c)).seen(t)
	if _, told := s.Header["X-Okapi-User-Id"]; told {
		t.Error("a token of nobody has a user")
	}
	c.Permissions = []string{"other"}
	w.get("/echo", "X-Okapi-Token", w.mint(c)).want(t, 403, "Access for user 'UNDEFINED_USER__1' () requires permission: echo.get")
	w.get("/self", "X-Okapi-Token", w.mint(c)).want(t, 401, invalid)
}

// A cookie is sent by a browser whichever site made it do so.
func TestAnotherSiteCannotSpendTheUsersCookie(t *testing.T) {
	w := echoing(t)
	cookie := "folioAccessToken=" + w.access()
	for _, test := range []struct {
		name    string
		method  string
		headers []string
		status  int
	}{
		{"script or old browser", "POST", nil, 200},
		{"same origin", "POST", []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{"another site", "POST", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, 403},
		{"a sibling host", "DELETE", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://old.example.org"}, 403},
		{"an opaque origin", "POST", []string{"Origin", "null"}, 403},
		{"the user interface", "PUT", []string{"Sec-Fetch-Site", "cross-site", "Origin", origin}, 200},
		{"reading", "GET", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"}, 200},
		{"with the token in a header", "POST", []string{"Sec-Fetch-Site", "cross-site", "X-Okapi-Token", strings.TrimPrefix(cookie, "folioAccessToken=")}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			headers := append([]string{"X-Okapi-Tenant", "diku", "Cookie", cookie}, test.headers...)
			call(t, test.method, w.public+"/echo", "", headers...).want(t, test.status, "")
		})
	}
}
