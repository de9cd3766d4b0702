package folio_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/folio"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	adminID   = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	readerID  = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	blockedID = "0a1b2c3d-0000-4000-8000-000000000001"
	otherID   = "0a1b2c3d-0000-4000-8000-000000000002"
)

// setup says how a world differs from the defaults.
type setup struct {
	Policy  func(*session.Policy)
	Prefix  string
	Origins []string
	// Deactivate is FOLIO's rule, LoginLog and Eureka the handler's fields.
	Deactivate int
	LoginLog   []string
	Eureka     bool
	// Unauthorized is the handler's field.
	Unauthorized func(tenant string) bool
	// NoLinks is that no page sets passwords.
	NoLinks bool
	// Modules are the tenant diku's, by path.
	Modules map[string]http.HandlerFunc
}

// world is the whole program below the listeners, but for TLS and proxying:
// a real store, real keys, the real guard, and a clock that tests move.
type world struct {
	t        testing.TB
	clock    *clock
	store    *store.SQLite
	ring     *token.Ring
	sessions *session.Service
	// public and internal are the two listeners' handlers.
	public, internal http.Handler
	strangers        int
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	ctx := context.Background()
	// Clocks in libraries do not run in UTC.
	copenhagen := time.FixedZone("CET", 3600)
	w := &world{t: t, clock: &clock{now: time.Date(2024, 1, 1, 9, 0, 0, 0, copenhagen)}}
	now := w.clock.Now
	log := slog.New(slog.DiscardHandler)
	var err error
	w.store, err = store.Open(ctx, store.Config{Path: filepath.Join(t.TempDir(), "folio.db"), Now: now, Log: log})
	w.must(err)
	people := &directory.Cache{Source: w.store, Builtin: folio.PermissionSets(), Now: now, TTL: -1}
	w.must(people.Load(ctx))
	w.ring, err = token.OpenRing(ctx, token.Config{
		Store: w.store, Master: []byte("0123456789abcdefghijklmnopqrstuv"), Issuer: "https://folio.example.org", Audience: "folio", Now: now,
	})
	w.must(err)
	policy := session.DefaultPolicy()
	policy.Jitter = 0 // so that transcripts repeat; the rule does not depend on it
	if s.Policy != nil {
		s.Policy(&policy)
	}
	w.sessions = &session.Service{
		Store: w.store, Feed: w.store, Cluster: w.store, Accounts: w.store, Credentials: w.store, Events: w.store, Users: w.store, Directory: people, Tokens: w.ring,
		Passwords: &credential.Hasher{Memory: 64, Time: 1, Queue: 1000}, Limits: &credential.Regulator{Deactivation: credential.Deactivation{After: s.Deactivate}},
		Policies: &session.Policies{Default: policy}, Now: now, Log: log,
	}
	gw := &gateway.Gateway{
		Sessions: w.sessions, Directory: people, Tokens: w.ring, Store: w.store,
		Prefix: s.Prefix, Origins: s.Origins, Now: now, Log: log,
	}
	w.store.OnChange(func(changes []session.Change) {
		for _, c := range changes {
			var err error
			switch c.Kind {
			case session.TenantsChanged:
				err = people.ReloadTenants(ctx)
			case session.ModulesChanged:
				err = gw.Reload(ctx)
			}
			if err != nil {
				t.Error(err) // not Fatal: this is the store's goroutine
			}
		}
	})
	w.must(w.sessions.Start(ctx))
	t.Cleanup(func() {
		w.must(w.sessions.Close(ctx))
		w.must(w.store.Close())
	})
	w.populate()
	w.modules(gw, s.Modules)
	recovery := &folio.Recovery{
		Sessions: w.sessions, Call: gw.Call, ResetURL: "https://ui.example.org/reset-password",
		ForgotURL: "https://ui.example.org/forgot-password", Now: now, Log: log,
	}
	if s.NoLinks {
		recovery.ResetURL = ""
	}
	recovery.Start(ctx)
	t.Cleanup(recovery.Close)
	mount := func(internal bool) http.Handler {
		mux := http.NewServeMux()
		(&folio.Handler{
			Sessions: w.sessions, Directory: people, Tokens: w.ring, Cookies: session.Cookies{Prefix: s.Prefix},
			Prefix: s.Prefix, TrustedOrigins: s.Origins, Now: now, Log: log,
			Guard: gw.Guard(internal), ModuleGuard: gw.ModuleGuard(internal), PermissionGuard: gw.PermissionGuard(internal),
			Call: gw.Call, Recovery: recovery, EurekaPermissions: s.Eureka, LoginLog: s.LoginLog, Unauthorized: s.Unauthorized,
		}).Mount(mux)
		mux.Handle("/", http.NotFoundHandler()) // the modules' routes
		return fromAddress(mux)
	}
	w.public, w.internal = mount(false), mount(true)
	return w
}

// fromAddress tells who calls, as the listeners do.
func fromAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		actor := &audit.Actor{Kind: "anonymous", Address: cmp.Or(r.Header.Get("Test-Address"), "192.0.2.1"), UserAgent: r.UserAgent()}
		next.ServeHTTP(w, r.WithContext(audit.WithActor(r.Context(), actor)))
	})
}

// populate stores two tenants that both have a user called reader.
func (w *world) populate() {
	w.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	for _, id := range []string{"diku", "other"} {
		w.must(w.store.CreateTenant(ctx, directory.Tenant{ID: id}, audit.Event{Kind: audit.TenantCreated, Tenant: id}))
	}
	for _, set := range []directory.PermissionSet{
		{Name: "orders.all", Sub: []string{"orders.collection.get", "orders.collection.delete"}},
		{Name: "orders.collection.delete", ElevatedOnly: true},
	} {
		w.must(w.store.SavePermissionSet(ctx, "diku", set, audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}))
	}
	for _, u := range []struct {
		user   directory.User
		grants directory.Grants
	}{
		{
			directory.User{ID: adminID, Tenant: "diku", Username: "diku_admin", Active: true, FirstName: "Diku", LastName: "Admin", Email: "admin@example.org"},
			directory.Grants{Permissions: []string{"orders.all", "counterfoil.all", "orders.collection.delete"}},
		},
		{
			directory.User{ID: readerID, Tenant: "diku", Username: "reader", Active: true, LastName: "Reader"},
			directory.Grants{Permissions: []string{"orders.collection.get"}},
		},
		{directory.User{ID: blockedID, Tenant: "diku", Username: "blocked"}, directory.Grants{}},
		{directory.User{ID: otherID, Tenant: "other", Username: "reader", Active: true}, directory.Grants{}},
	} {
		encoded, err := w.sessions.Passwords.Hash(ctx, "secret of "+u.user.Username)
		w.must(err)
		w.must(w.store.CreateUser(ctx, u.user, u.grants, encoded, audit.Event{Kind: audit.UserCreated, Tenant: u.user.Tenant, UserID: u.user.ID}))
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// moduleToken is the token that a module has while it serves the admin.
func (w *world) moduleToken(tenant, userID string, permissions ...string) string {
	w.t.Helper()
	now := w.clock.Now()
	raw, err := w.ring.Mint(token.Claims{
		Kind: token.KindModule, Tenant: tenant, Subject: "diku_admin", UserID: userID, Module: "mod-test-1.0.0",
		Permissions: permissions, RequestID: "1/test", IssuedAt: now, Expires: now.Add(time.Hour),
	})
	w.must(err)
	return raw
}

// call is one request. Header lines are "Name: value".
type call struct {
	method, path, body string
	header             []string
	internal           bool
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    string
	cookies map[string]*http.Cookie
}

func (w *world) do(c call) answer {
	w.t.Helper()
	r := httptest.NewRequest(c.method, "http://folio.example.org"+c.path, strings.NewReader(c.body))
	for _, line := range c.header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	recorder := httptest.NewRecorder()
	handler := w.public
	if c.internal {
		handler = w.internal
	}
	handler.ServeHTTP(recorder, r)
	return w.read(recorder.Result())
}

// read checks what holds for every answer of this package.
func (w *world) read(response *http.Response) answer {
	w.t.Helper()
	body, err := io.ReadAll(response.Body)
	w.must(err)
	a := answer{response.StatusCode, response.Header, string(body), map[string]*http.Cookie{}}
	for _, c := range response.Cookies() {
		a.cookies[c.Name] = c
		if !c.HttpOnly || !c.Secure || c.SameSite == 0 || c.Domain != "" || len(c.Name)+len(c.Value) > 4096 {
			w.t.Errorf("cookie %s: HttpOnly %t, Secure %t, SameSite %v, Domain %q", c.Name, c.HttpOnly, c.Secure, c.SameSite, c.Domain)
		}
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		w.t.Errorf("%d with Cache-Control %q, want no-store", a.status, got)
	}
	if a.header.Get("X-Content-Type-Options") != "nosniff" {
		w.t.Errorf("%d without nosniff", a.status)
	}
	kind := a.header.Get("Content-Type")
	if isJSON := json.Unmarshal(body, new(any)) == nil; (kind == "application/json") != isJSON || len(body) > 0 && kind == "" {
		w.t.Errorf("Content-Type %q of %q", kind, body)
	}
	return a
}

// cookie is a header line.
func (a answer) cookie(name string) string {
	if c := a.cookies[name]; c != nil {
		return "Cookie: " + name + "=" + c.Value
	}
	return "Cookie: " + name + "="
}

// field is a text of the body, by the names on the way to it.
func (a answer) field(path ...string) string {
	var v any
	if json.Unmarshal([]byte(a.body), &v) != nil {
		return ""
	}
	for _, name := range path {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			if len(at) == 0 {
				return ""
			}
			v = at[0].(map[string]any)[name]
		}
	}
	text, _ := v.(string)
	return text
}

// code is the code of FOLIO's list of errors.
func (a answer) code() string { return a.field("errors", "code") }

// stranger is a header line with an address that nobody came from yet, so that
// the limits of one login do not answer for another.
func (w *world) stranger() string {
	w.strangers++
	return fmt.Sprintf("Test-Address: 10.0.%d.%d", w.strangers/250, w.strangers%250)
}

const jsonType = "Content-Type: application/json"

func (w *world) login(path, user string, header ...string) answer {
	w.t.Helper()
	a := w.do(call{
		method: "POST", path: path, header: append([]string{"X-Okapi-Tenant: diku", jsonType}, header...),
		body: `{"username":"` + user + `","password":"secret of ` + user + `"}`,
	})
	if a.status != http.StatusCreated {
		w.t.Fatalf("login of %s: %d %s", user, a.status, a.body)
	}
	return a
}

// web logs in as a browser, script as a program.
func (w *world) web(user string) answer    { return w.login("/authn/login-with-expiry", user) }
func (w *world) script(user string) answer { return w.login("/authn/login", user) }

// refresh presents what cookies the header lines hold, as a program does.
func (w *world) refresh(header ...string) answer {
	w.t.Helper()
	return w.do(call{method: "POST", path: "/authn/refresh", header: header})
}

// refreshBody presents a token in the body.
func (w *world) refreshBody(raw string, header ...string) answer {
	w.t.Helper()
	body, err := json.Marshal(map[string]string{"refreshToken": raw})
	w.must(err)
	return w.do(call{method: "POST", path: "/authn/refresh", header: append(header, jsonType), body: string(body)})
}

// events are the kinds of a session's events, oldest first.
func (w *world) events(raw string) []audit.Kind {
	w.t.Helper()
	row := w.row(raw)
	list, err := w.sessions.Timeline(context.Background(), row)
	w.must(err)
	var kinds []audit.Kind
	for _, e := range list {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// row is the session of a refresh token.
func (w *world) row(raw string) *session.Session {
	w.t.Helper()
	opened, err := w.ring.OpenRefresh(raw)
	w.must(err)
	row, err := w.sessions.Session(context.Background(), opened.Session)
	w.must(err)
	return row
}

// browser is a user agent with a cookie jar, in front of a proxy that serves
// us below a path.
type browser struct {
	w      *world
	jar    http.CookieJar
	prefix string
}

func (w *world) browser(prefix string) *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &browser{w, jar, prefix}
}

func (b *browser) url(path string) *url.URL {
	return &url.URL{Scheme: "https", Host: "folio.example.org", Path: b.prefix + path}
}

// send is what the browser does with a request before its answer is there.
func (b *browser) send(method, path, body string, header ...string) answer {
	b.w.t.Helper()
	header = append(header, "X-Okapi-Tenant: diku", "Sec-Fetch-Site: same-origin")
	if body != "" {
		header = append(header, jsonType)
	}
	for _, c := range b.jar.Cookies(b.url(path)) {
		header = append(header, "Cookie: "+c.Name+"="+c.Value)
	}
	return b.w.do(call{method: method, path: path, body: body, header: header})
}

// keep is what it does when the answer arrives.
func (b *browser) keep(path string, a answer) {
	var list []*http.Cookie
	for _, c := range a.cookies {
		list = append(list, c)
	}
	b.jar.SetCookies(b.url(path), list)
}

func (b *browser) do(method, path, body string, header ...string) answer {
	b.w.t.Helper()
	a := b.send(method, path, body, header...)
	b.keep(path, a)
	return a
}

// cookie is the value that a request to path would carry, empty for none.
func (b *browser) cookie(path, name string) string {
	for _, c := range b.jar.Cookies(b.url(path)) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}
