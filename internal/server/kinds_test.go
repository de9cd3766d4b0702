package server_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// issued is one session's tokens of every kind, and what looks like one.
type issued struct {
	session token.SessionID
	// byKind are the tokens by the names that the table uses.
	byKind map[string]string
}

func (o *office) issue(admin string) issued {
	o.t.Helper()
	s := o.login()
	now := o.config.Now()
	caller, err := o.Sessions().Check(context.Background(), s.Access, token.KindAccess)
	o.must(err)
	permissions := []string{"orders.collection.get", "auth.token.sign.post", "auth.token.refresh.post"}
	mint := func(c token.Claims) string {
		raw, err := o.Tokens().Mint(c)
		o.must(err)
		return raw
	}
	raised := caller.Claims
	raised.Kind, raised.Permissions, raised.ID = token.KindElevated, []string{"orders.collection.delete"}, ""
	return issued{s.Session, map[string]string{
		"access": s.Access, "refresh": s.Refresh, "elevated": mint(raised),
		"module": mint(token.Claims{
			Kind: token.KindModule, Tenant: "diku", Subject: "reader", UserID: readerID, Session: s.Session,
			Module: "mod-orders-1.0.0", RequestID: "1/orders", Permissions: permissions, IssuedAt: now, Expires: now.Add(time.Hour),
		}),
		"dummy": mint(token.Claims{
			Kind: token.KindDummy, Tenant: "diku", Subject: "link", Permissions: permissions, IssuedAt: now, Expires: now.Add(time.Hour),
		}),
		"legacy": legacyToken(), "garbage": "a.b.c", "admin": admin,
	}}
}

// legacyToken is what mod-authtoken gave before tokens expired, signed with
// the key that its demonstrations have.
func legacyToken() string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(
		[]byte(`{"sub":"reader","user_id":"`+readerID+`","type":"access","iat":1700000000,"tenant":"diku"}`))
	mac := hmac.New(sha256.New, []byte("CorrectBatteryHorseStaple"))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// slot is a place where a token can be put.
type slot struct {
	listener, method, path string
	// header is the name and what stands before the token, or "" for a slot in
	// the body.
	header, before string
	// body is sent along; in "refreshToken" of it a token is put if there is
	// no header.
	body map[string]any
	// caller is the kind of whoever asks with the token in the body, in
	// X-Okapi-Token; "" is nobody.
	caller string
	// ends is whether acceptance shows in the end of the session and not in
	// the status.
	ends bool
	// accepts are the kinds that pass.
	accepts string
}

var (
	passwordBody = map[string]any{"password": readerPW, "permissions": []string{"orders.collection.delete"}}
	signBody     = map[string]any{"payload": map[string]any{"sub": "link", "dummy": true}}
)

// slots is the matrix: what is not named in accepts is refused. Each line is
// listener, method, path │ header, before │ body, caller, ends │ accepts.
var slots = map[string]slot{
	"route":                          {"public", "GET", "/orders", "X-Okapi-Token", "", nil, "", false, "access dummy elevated"},
	"route, Bearer":                  {"public", "GET", "/orders", "Authorization", "Bearer ", nil, "", false, "access dummy elevated"},
	"route, Authorization":           {"public", "GET", "/orders", "Authorization", "", nil, "", false, "access dummy elevated"},
	"route, access cookie":           {"public", "GET", "/orders", "Cookie", session.AccessCookie + "=", nil, "", false, "access dummy elevated"},
	"route, refresh cookie":          {"public", "GET", "/orders", "Cookie", session.RefreshCookie + "=", nil, "", false, ""},
	"route, query":                   {"public", "GET", "/orders?token=", "", "", nil, "", false, ""},
	"elevated-only route":            {"public", "DELETE", "/orders", "X-Okapi-Token", "", nil, "", false, "elevated"},
	"refresh, body":                  {"public", "POST", "/authn/refresh", "", "", map[string]any{}, "", false, "refresh"},
	"refresh, cookie":                {"public", "POST", "/authn/refresh", "Cookie", session.RefreshCookie + "=", nil, "", false, "refresh"},
	"refresh, access cookie":         {"public", "POST", "/authn/refresh", "Cookie", session.AccessCookie + "=", nil, "", false, ""},
	"refresh, X-Okapi-Token":         {"public", "POST", "/authn/refresh", "X-Okapi-Token", "", nil, "", false, ""},
	"logout, body":                   {"public", "POST", "/authn/logout", "", "", map[string]any{}, "", true, "refresh"},
	"logout, cookie":                 {"public", "POST", "/authn/logout", "Cookie", session.RefreshCookie + "=", nil, "", true, "refresh"},
	"logout, X-Okapi-Token":          {"public", "POST", "/authn/logout", "X-Okapi-Token", "", nil, "", true, ""},
	"logout-all, body":               {"public", "POST", "/authn/logout-all", "", "", map[string]any{}, "", true, "refresh"},
	"logout-all, X-Okapi-Token":      {"public", "POST", "/authn/logout-all", "X-Okapi-Token", "", nil, "", true, "access elevated"},
	"elevate":                        {"public", "POST", "/authn/elevate", "X-Okapi-Token", "", passwordBody, "", false, "access"},
	"own sessions":                   {"public", "GET", "/authn/sessions/_self", "X-Okapi-Token", "", nil, "", false, "access elevated"},
	"oneself":                        {"public", "GET", "/bl-users/_self", "X-Okapi-Token", "", nil, "", false, "access elevated"},
	"sign, from outside":             {"public", "POST", "/token/sign", "X-Okapi-Token", "", signBody, "", false, ""},
	"token refresh, from outside":    {"public", "POST", "/token/refresh", "", "", map[string]any{}, "module", false, ""},
	"invalidate, from outside":       {"public", "POST", "/token/invalidate", "", "", map[string]any{}, "module", true, ""},
	"invalidate-all, from outside":   {"public", "POST", "/token/invalidate-all", "X-Okapi-Token", "", nil, "", true, ""},
	"inner route":                    {"internal", "GET", "/orders", "X-Okapi-Token", "", nil, "", false, "access dummy elevated module"},
	"inner elevated-only route":      {"internal", "DELETE", "/orders", "X-Okapi-Token", "", nil, "", false, "elevated"},
	"inner elevate":                  {"internal", "POST", "/authn/elevate", "X-Okapi-Token", "", passwordBody, "", false, "access"},
	"inner own sessions":             {"internal", "GET", "/authn/sessions/_self", "X-Okapi-Token", "", nil, "", false, "access elevated module"},
	"inner refresh":                  {"internal", "POST", "/authn/refresh", "", "", map[string]any{}, "module", false, "refresh"},
	"sign":                           {"internal", "POST", "/token/sign", "X-Okapi-Token", "", signBody, "", false, "module"},
	"token refresh":                  {"internal", "POST", "/token/refresh", "", "", map[string]any{}, "module", false, "refresh"},
	"token refresh, not by a module": {"internal", "POST", "/token/refresh", "", "", map[string]any{}, "access", false, ""},
	"token refresh, by a dummy":      {"internal", "POST", "/token/refresh", "", "", map[string]any{}, "dummy", false, ""},
	"invalidate":                     {"internal", "POST", "/token/invalidate", "", "", map[string]any{}, "module", true, "refresh"},
	"invalidate, not by a module":    {"internal", "POST", "/token/invalidate", "", "", map[string]any{}, "access", true, ""},
	"invalidate-all":                 {"internal", "POST", "/token/invalidate-all", "X-Okapi-Token", "", nil, "", true, "module"},
	"operators' API":                 {"admin", "GET", "/counterfoil/sessions", "Authorization", "Bearer ", nil, "", false, "admin"},
	"operators' API, X-Okapi-Token":  {"admin", "GET", "/counterfoil/sessions", "X-Okapi-Token", "", nil, "", false, ""},
	"management, a tenant's reads":   {"admin", "GET", "/_/proxy/tenants/diku/modules", "X-Okapi-Token", "", nil, "", false, "access dummy elevated"},
	"management, Bearer":             {"admin", "GET", "/_/proxy/tenants/diku/modules", "Authorization", "Bearer ", nil, "", false, "access dummy elevated"},
	"management, a write":            {"admin", "DELETE", "/_/proxy/tenants/diku/modules", "X-Okapi-Token", "", nil, "", false, ""},
	"public management":              {"public", "GET", "/_/proxy/tenants/diku/modules", "X-Okapi-Token", "", nil, "", false, "access dummy elevated"},
}

// put sends a token in the slot and tells what came of it.
func (s slot) put(o *office, tokens issued, raw string) (status int, ended bool) {
	o.t.Helper()
	target, header := o.URL(s.listener)+s.path, []string{"X-Okapi-Tenant", "diku"}
	body := maps.Clone(s.body)
	switch {
	case s.header != "":
		header = append(header, s.header, s.before+raw)
	case strings.HasSuffix(target, "="):
		target += raw
	default:
		body["refreshToken"] = raw
	}
	if s.caller != "" {
		header = append(header, "X-Okapi-Token", tokens.byKind[s.caller])
	}
	var sent any
	if body != nil {
		sent = body
	}
	got, err := o.send(s.method, target, sent, header...)
	o.must(err)
	row, err := o.Store().Session(context.Background(), tokens.session)
	o.must(err)
	return got.status, !row.RevokedAt.IsZero()
}

// Threat: one kind of token is taken for another, such as the access token of
// anybody for the token of a module, or a long-lived one for a short.
func TestT10EachKindOfTokenPassesInItsOwnPlacesOnly(t *testing.T) {
	many := 10000
	o := openOffice(t, func(c *server.Config) { c.Demo, c.Policy.SessionsPerUser = false, &many })
	orders := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(orders.Close)
	o.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]},
		{"methods":["DELETE"],"pathPattern":"/orders","permissionsRequired":["orders.collection.delete"]}]`, orders.URL)
	grants := directory.Grants{Permissions: []string{"orders.collection.get", "okapi.all"}, Elevated: []string{"orders.collection.delete"}}
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	o.must(o.Sessions().SetGrants(ctx, "diku", readerID, grants))
	o.post("/authn/refresh", nil) // it announces itself before it answers
	running, _, err := server.FindRunning(o.config.Data)
	o.must(err)
	kinds := slices.Sorted(maps.Keys(o.issue(running.Token).byKind))
	cells := 0
	for name, s := range slots {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				tokens := o.issue(running.Token)
				status, ended := s.put(o, tokens, tokens.byKind[kind])
				passed := status < 300
				if s.ends {
					passed = ended
				} else if ended {
					t.Errorf("%s: the session ended", kind)
				}
				if want := slices.Contains(strings.Fields(s.accepts), kind); passed != want {
					t.Errorf("%s: status %d, session ended %v; accepted %v, want %v", kind, status, ended, passed, want)
				}
				if status >= 500 {
					t.Errorf("%s: status %d", kind, status)
				}
				cells++
			}
		})
	}
	t.Logf("%d kinds in %d places, %d cells", len(kinds), len(slots), cells)
}
