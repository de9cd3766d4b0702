package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

const olgaID = "7c1e3f2a-58a1-4a56-8ad4-0d4ab8b8f1aa"

// desk is an operator's browser at the console, without JavaScript.
type desk struct {
	*office
	jar    http.CookieJar
	client *http.Client
}

// openDesk starts the program with operator olga, who has permissions, and is
// not logged in yet.
func openDesk(t *testing.T, permissions ...string) *desk {
	t.Helper()
	o := openOffice(t, func(c *server.Config) { c.Cookies.Insecure = true })
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	olga := directory.User{ID: olgaID, Tenant: directory.SuperTenant, Username: "olga", Active: true}
	o.must(o.Sessions().CreateUser(ctx, olga, directory.Grants{Permissions: permissions}, readerPW))
	jar, err := cookiejar.New(nil)
	o.must(err)
	return &desk{office: o, jar: jar, client: &http.Client{Jar: jar, Timeout: 30 * time.Second}}
}

// page is what the operator sees at last, after redirects.
type consolePage struct {
	status int
	path   string
	header http.Header
	text   string
}

func (d *desk) do(r *http.Request) consolePage {
	d.t.Helper()
	answer, err := d.client.Do(r)
	d.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	d.must(err)
	return consolePage{answer.StatusCode, answer.Request.URL.RequestURI(), answer.Header, string(text)}
}

func (d *desk) see(path string) consolePage {
	d.t.Helper()
	r, err := http.NewRequest("GET", d.URL(server.Admin)+path, nil)
	d.must(err)
	return d.do(r)
}

// press sends a form as a page of the console does; pairs are its fields.
func (d *desk) press(path string, pairs ...string) consolePage {
	d.t.Helper()
	return d.pressFrom(d.URL(server.Admin), path, pairs...)
}

func (d *desk) pressFrom(origin, path string, pairs ...string) consolePage {
	d.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequest("POST", d.URL(server.Admin)+path, strings.NewReader(form.Encode()))
	d.must(err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", origin)
	return d.do(r)
}

func (d *desk) logIn() consolePage {
	d.t.Helper()
	return d.press("/console/login", "username", "olga", "password", readerPW)
}

func (p consolePage) want(t *testing.T, status int, texts ...string) consolePage {
	t.Helper()
	if p.status != status {
		t.Fatalf("%s: %d, want %d: %s", p.path, p.status, status, p.text)
	}
	for _, text := range texts {
		if !strings.Contains(p.text, text) {
			t.Errorf("%s has no %q: %s", p.path, text, p.text)
		}
	}
	return p
}

func TestConsoleLogIn(t *testing.T) {
	d := openDesk(t, "counterfoil.console.all")
	if p := d.see("/console/sessions?tenant=diku"); p.path != "/console/login?next=%2Fconsole%2Fsessions%3Ftenant%3Ddiku" {
		t.Errorf("a stranger is at %s", p.path)
	}
	d.press("/console/login", "username", "olga", "password", "wrong").want(t, 422, "User name or password is wrong", `value="olga"`)
	d.press("/console/login", "username", "nobody", "password", "wrong").want(t, 422, "User name or password is wrong")
	if p := d.press("/console/login", "username", "olga", "password", readerPW, "next", "/console/sessions?tenant=diku"); p.path != "/console/sessions?tenant=diku" {
		t.Errorf("after the log-in at %s", p.path)
	}
	for _, next := range []string{"https://elsewhere.example/console/", "//elsewhere.example/console/", "/console/../authn/x", `/console\elsewhere`, "javascript:alert(1)", ""} {
		if p := d.press("/console/login", "username", "olga", "password", readerPW, "next", next); p.path != "/console/" || p.status != 200 {
			t.Errorf("%q leads to %s", next, p.path)
		}
	}
	if p := d.press("/console/logout"); p.path != "/console/login" {
		t.Errorf("after the log-out at %s", p.path)
	}
	if p := d.see("/console/"); p.path != "/console/login" {
		t.Errorf("logged out, and at %s", p.path)
	}
}

// Somebody of another tenant, and somebody without the permission, is let in
// nowhere, and leaves no session behind.
func TestConsoleIsForOperatorsOfTheSupertenant(t *testing.T) {
	d := openDesk(t, "orders.collection.get")
	d.logIn().want(t, 403, "counterfoil.console.get")
	d.press("/console/login", "username", "reader", "password", readerPW).want(t, 422)
	list, err := d.Sessions().List(t.Context(), session.Filter{Live: true})
	d.must(err)
	if len(list.Sessions) != 0 {
		t.Errorf("%d sessions", len(list.Sessions))
	}
}

func TestConsoleEndsWhenARoleIsTakenAway(t *testing.T) {
	d := openDesk(t, "counterfoil.console.all")
	tokens := d.login()
	d.logIn().want(t, 200, "Overview")
	d.must(d.Sessions().SetGrants(t.Context(), directory.SuperTenant, olgaID, directory.Grants{Permissions: []string{"counterfoil.console.get"}}))
	end := "/console/sessions/" + tokens.Session.String() + "/end"
	d.press(end).want(t, 403, "counterfoil.console.put")
	if p := d.see("/console/sessions/"+tokens.Session.String()).want(t, 200, "live"); strings.Contains(p.text, end) {
		t.Error("a button that may not be pressed")
	}
	d.must(d.Sessions().SetGrants(t.Context(), directory.SuperTenant, olgaID, directory.Grants{}))
	d.see("/console/sessions").want(t, 403, "counterfoil.console.get")
	_, err := d.Sessions().UpdateUser(t.Context(), directory.User{ID: olgaID, Tenant: directory.SuperTenant, Username: "olga"})
	d.must(err)
	if p := d.see("/console/sessions"); !strings.HasPrefix(p.path, "/console/login") {
		t.Errorf("an inactive operator is at %s", p.path)
	}
}

func TestConsoleSessionIsShort(t *testing.T) {
	d := openDesk(t, "counterfoil.console.all")
	d.logIn().want(t, 200)
	for range 3 { // in use
		d.wait(14 * time.Minute)
		d.see("/console/").want(t, 200, "Overview")
	}
	// What a page that was left open asks by itself keeps nothing alive.
	for range 4 {
		d.wait(4 * time.Minute)
		r, err := http.NewRequest("GET", d.URL(server.Admin)+"/console/live", nil)
		d.must(err)
		r.Header.Set("HX-Request", "true")
		if p := d.do(r); p.status == 401 && p.header.Get("HX-Redirect") != "/console/login" {
			t.Errorf("sent to %q", p.header.Get("HX-Redirect"))
		}
	}
	if p := d.see("/console/"); p.path != "/console/login" {
		t.Errorf("idle for 16 minutes, and at %s", p.path)
	}
	d.logIn().want(t, 200)
	for range 12*60/14 + 1 {
		d.wait(14 * time.Minute)
		d.see("/console/")
	}
	if p := d.see("/console/"); p.path != "/console/login" {
		t.Errorf("in use for more than 12 hours, and at %s", p.path)
	}
}

// Tokens of the console hold in it alone, and others not in it (B-10).
func TestConsoleTokensHoldNowhereElse(t *testing.T) {
	d := openDesk(t, "counterfoil.console.all")
	d.logIn().want(t, 200)
	at, err := url.Parse(d.URL(server.Admin))
	d.must(err)
	var access string
	for _, c := range d.jar.Cookies(at) {
		if c.Name == "counterfoil-console" {
			access = c.Value
		}
	}
	got, err := d.send("GET", d.URL(server.Public)+"/authn/sessions/_self", nil, "X-Okapi-Tenant", directory.SuperTenant, "X-Okapi-Token", access)
	d.must(err)
	if got.status != 401 {
		t.Errorf("the console's token passes the gateway: %d", got.status)
	}
	tokens, err := d.Sessions().SignFor(context.Background(), directory.SuperTenant, olgaID, "olga")
	d.must(err)
	d.jar.SetCookies(at, []*http.Cookie{{Name: "counterfoil-console", Value: tokens.Access, Path: "/"}, {Name: "counterfoil-console-session", Value: tokens.Refresh, Path: "/"}})
	if p := d.see("/console/"); p.path != "/console/login" {
		t.Errorf("another token leads to %s", p.path)
	}
}

// TestT48Console: what strangers wrote is text, pages of other sites act for
// nobody, and no page can be put into a frame.
func TestT48Console(t *testing.T) {
	const script = `<img src=x onerror=alert(1)>`
	d := openDesk(t, "counterfoil.console.all")
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "anonymous", Address: "192.0.2.7", UserAgent: script})
	mallory := directory.User{ID: uuid.NewString(), Tenant: "diku", Username: script, FirstName: script, Active: true}
	d.must(d.Sessions().CreateUser(ctx, mallory, directory.Grants{Permissions: []string{"a<b>"}}, readerPW))
	tokens, err := d.Sessions().Login(ctx, session.LoginRequest{Tenant: "diku", Username: script, Password: readerPW, Client: session.ClientAPI})
	d.must(err)
	d.enable("mod-x-1.0.0", `[{"methods":["GET"],"pathPattern":"/x","permissionsRequired":["<b>"]}]`, "http://127.0.0.1:1")
	d.logIn().want(t, 200)
	for _, path := range []string{
		"/console/", "/console/live", "/console/sessions", "/console/sessions?tenant=diku&user=" + url.QueryEscape(script), "/console/sessions/" + tokens.Session.String(),
		"/console/users?tenant=diku", "/console/users/diku/" + mallory.ID, "/console/policies?tenant=diku", "/console/keys", "/console/api-keys",
		"/console/audit?kind=" + url.QueryEscape(script), "/console/audit", "/console/modules?tenant=diku", "/console/nothing", "/console/login?next=" + url.QueryEscape(script),
		"/console/static/console.js", "/console/static/",
	} {
		p := d.see(path)
		if strings.Contains(p.text, "<img") || strings.Contains(p.text, "<b>") {
			t.Errorf("%s shows markup of strangers: %s", path, p.text)
		}
		csp := p.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s has no %s: %q", path, part, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || p.header.Get("X-Frame-Options") != "DENY" || p.header.Get("Referrer-Policy") != "no-referrer" || p.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, p.header)
		}
	}
	end := "/console/sessions/" + tokens.Session.String() + "/end"
	if p := d.pressFrom("https://evil.example", end); p.status != 403 {
		t.Errorf("a page of another site: %d", p.status)
	}
	row, err := d.Sessions().Session(t.Context(), tokens.Session)
	d.must(err)
	if !row.RevokedAt.IsZero() {
		t.Error("it ended the session")
	}
}

func TestConsoleEndsSessions(t *testing.T) {
	d := openDesk(t, "counterfoil.all")
	first, second := d.login(), d.login()
	d.logIn().want(t, 200)
	page := "/console/sessions/" + first.Session.String()
	d.see("/console/sessions?tenant=diku&user=reader").want(t, 200, first.Session.String(), second.Session.String())
	d.see("/console/sessions?user=reader").want(t, 200, "Choose the tenant of the user")
	d.see("/console/sessions?tenant=diku&user=nobody").want(t, 200, "There is no such user")
	d.see(page).want(t, 200, "End this session")
	d.press(page+"/end").want(t, 200, "1 session ended.", "Effective on 1/1 nodes")
	d.press(page+"/end").want(t, 409, "over already")
	d.see(page).want(t, 200, "ended at", "it was revoked by olga")
	if d.refresh(first.Refresh).status != 422 || d.refresh(second.Refresh).status != 201 {
		t.Error("the wrong session ended")
	}
	d.press("/console/users/diku/"+readerID+"/end").want(t, 200, "1 session ended.")
	third := d.login()
	d.press("/console/users/diku/"+readerID+"/state", "active", "false").want(t, 200, "1 session ended.")
	d.see("/console/users/diku/reader").want(t, 200, "blocked", "Let in again")
	d.press("/console/users/diku/"+readerID+"/state", "active", "true").want(t, 200)
	d.see("/console/sessions/"+third.Session.String()).want(t, 200, "the user was made inactive by olga")
	d.press("/console/users/supertenant/olga/state", "active", "false").want(t, 409, "You cannot block yourself")
	d.see("/console/sessions/"+uuid.NewString()).want(t, 404, "It does not exist")
	d.see("/console/sessions/x").want(t, 404)
}

func TestConsolePagesOlderSessions(t *testing.T) {
	d := openDesk(t, "counterfoil.console.get")
	for range 60 {
		d.login()
	}
	d.logIn().want(t, 200)
	p := d.see("/console/sessions?tenant=diku").want(t, 200, "Older sessions")
	_, rest, _ := strings.Cut(p.text, `<a href="/console/sessions?cursor`)
	href, _, _ := strings.Cut(rest, `"`)
	next := d.see("/console/sessions?cursor"+strings.ReplaceAll(href, "&amp;", "&")).want(t, 200)
	if n := strings.Count(next.text, "Show session of reader"); n != 10 {
		t.Errorf("%d on the second page", n)
	}
}

func TestConsolePolicies(t *testing.T) {
	d := openDesk(t, "counterfoil.all")
	d.logIn().want(t, 200)
	d.see("/console/policies?tenant=diku&scope=tenant").want(t, 200, "access_ttl", "10m")
	of := []string{"tenant", "diku", "scope", "client", "name", "folio-api"}
	d.press("/console/policies", append(of, "do", "preview", "access_ttl", "5m")...).want(t, 200, "(changes)", "5m", `value="save"`)
	if got := d.Sessions().Policies.For("diku", "folio-api", "").AccessTTL; got != 10*time.Minute {
		t.Errorf("a preview changed it to %s", got)
	}
	d.press("/console/policies", append(of, "do", "save", "access_ttl", "5m")...).want(t, 200, "was saved")
	if got := d.Sessions().Policies.For("diku", "folio-api", "").AccessTTL; got != 5*time.Minute {
		t.Errorf("saved: %s", got)
	}
	d.see("/console/policies").want(t, 200, "access_ttl 5m")
	d.press("/console/policies", append(of, "do", "save", "access_ttl", "soon")...).want(t, 422, "cannot be", `value="soon"`)
	d.press("/console/policies", "tenant", "diku", "scope", "client", "do", "save", "access_ttl", "1h").want(t, 422, "client or user (with one)")
	d.press("/console/policies", "tenant", "nowhere", "scope", "tenant", "do", "save").want(t, 422, "no such tenant")
	d.press("/console/policies", append(of, "do", "save")...).want(t, 200)
	d.see("/console/policies").want(t, 200, "None: every tenant")
}

func TestConsoleKeys(t *testing.T) {
	d := openDesk(t, "counterfoil.all")
	d.logIn().want(t, 200)
	d.see("/console/keys").want(t, 200, "signs access tokens", "EdDSA")
	before := len(d.Tokens().Keys())
	d.press("/console/keys/access/rotate").want(t, 200, "was made")
	keys := d.Tokens().Keys()
	if len(keys) != before+1 {
		t.Errorf("%d keys, then %d", before, len(keys))
	}
	for _, k := range keys {
		if k.Purpose != "access" || k.State == "active" {
			continue
		}
		remove := fmt.Sprintf("/console/keys/%s/%s/remove", k.Purpose, k.ID)
		d.press(remove, "confirm", "yes").want(t, 422, "Nothing was removed")
		d.press(remove, "confirm", k.ID).want(t, 200, "was removed")
	}
	d.press("/console/keys/nothing/rotate").want(t, 404)
}

func TestConsoleAudit(t *testing.T) {
	d := openDesk(t, "counterfoil.console.get")
	tokens := d.login()
	d.must(d.Sessions().Logout(context.Background(), tokens.Refresh))
	d.logIn().want(t, 200)
	d.see("/console/audit?tenant=diku&kind=logout").want(t, 200, "logout")
	d.see("/console/audit?kind=no+such").want(t, 200, "No event is like that")
	d.see("/console/audit?since=yesterday").want(t, 400, "A day is written as")
	d.see("/console/audit?before=x").want(t, 404)
	p := d.see("/console/audit.jsonl?tenant=diku").want(t, 200)
	lines := strings.Split(strings.TrimSpace(p.text), "\n")
	if len(lines) < 3 || p.header.Get("Content-Type") != "application/jsonl" {
		t.Errorf("%d lines of %s", len(lines), p.header.Get("Content-Type"))
	}
	for i, line := range lines {
		record, err := audit.ParseRecord([]byte(line))
		if err != nil || record.Tenant != "diku" {
			t.Errorf("line %d: %v: %s", i, err, line)
		}
	}
}

func TestConsoleModules(t *testing.T) {
	d := openDesk(t, "counterfoil.console.get")
	d.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"],"modulePermissions":["users.item.get"]}]`, "http://127.0.0.1:1")
	d.logIn().want(t, 200)
	d.see("/console/modules").want(t, 200, "Choose a tenant")
	d.see("/console/modules?tenant=diku").want(t, 200, "/orders", "mod-orders-1.0.0", "orders.collection.get", "users.item.get")
	ask := "/console/modules?tenant=diku&method=GET&path=/orders"
	d.see(ask).want(t, 200, "refused with 401", "Nobody is logged in.", "orders.collection.get is required, and missing.")
	d.see(ask+"&user=reader").want(t, 200, "The request reaches the module.", "orders.collection.get is required, and there: it was granted.")
	d.see(ask+"&user=nobody").want(t, 200, "There is no such user")
	d.see("/console/modules?tenant=diku&method=DELETE&path=/orders%3Fx").want(t, 200, "refused with 404", "The path has others: GET /orders of mod-orders-1.0.0.")
}

// What was counted is stored when the program ends, and what another program
// shows is the sum of both.
func TestConsolePlotsWhatWasStored(t *testing.T) {
	d := openDesk(t, "counterfoil.console.get")
	for range 2 {
		tokens := d.login()
		d.refresh(tokens.Refresh)
		d.refresh(tokens.Refresh) // a retry
		d.must(d.Sessions().Logout(context.Background(), tokens.Refresh))
		d.close()
		d.start()
	}
	d.logIn()
	kept, err := d.Store().Usage(t.Context(), session.LastMonth)
	d.must(err)
	var u session.Usage
	for _, one := range kept {
		u.Refreshes += one.Refreshes
		u.Retries += one.Retries
		u.Ended += one.Ended
	}
	if u.Refreshes != 2 || u.Retries != 2 || u.Ended != 2 {
		t.Errorf("%+v", u)
	}
	d.see("/console/").want(t, 200, "Refreshes <strong>2</strong>", "Answers given again <strong>2</strong>", "<svg")
}

func TestConsoleEndsByFilter(t *testing.T) {
	d := openDesk(t, "counterfoil.all")
	var tokens []*session.Tokens
	for range 3 {
		tokens = append(tokens, d.login())
	}
	d.logIn().want(t, 200)
	d.see("/console/sessions?tenant=diku").want(t, 200, "End all live ones of these")
	d.see("/console/ending").want(t, 422, "name a tenant")
	d.see("/console/ending?tenant=diku&user=nobody").want(t, 422, "no such user")
	d.see("/console/ending?address=203.0.113.9").want(t, 200, "No live session matches")
	p := d.see("/console/ending?tenant=diku&user=reader&client=folio-api").want(t, 200, "<strong>3</strong> live sessions match")
	_, rest, _ := strings.Cut(p.text, `name="until" value="`)
	until, _, _ := strings.Cut(rest, `"`)
	form := []string{"tenant", "diku", "user", "reader", "client", "folio-api", "until", until, "count", "3", "confirm"}
	later := d.login()
	d.press("/console/ending", append(form, "4")...).want(t, 422, "Nothing ended: the number is 3")
	d.press("/console/ending", append(form, "3")...).want(t, 200, "3 sessions ended.", "Effective on 1/1 nodes")
	for _, one := range tokens {
		if d.refresh(one.Refresh).status != 422 {
			t.Error("a session that matched goes on")
		}
	}
	if d.refresh(later.Refresh).status != 201 {
		t.Error("a session ended that began after the operator had looked")
	}
	d.press("/console/ending", "until", until, "count", "1", "confirm", "1").want(t, 422, "name a tenant")
}
