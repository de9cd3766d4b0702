package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// routes are all resources, for what holds for each of them.
var routes = []string{
	"GET /counterfoil/tenants", "POST /counterfoil/tenants", "DELETE /counterfoil/tenants/diku", "DELETE /counterfoil/tenants/diku/sessions",
	"GET /counterfoil/tenants/diku/users", "POST /counterfoil/tenants/diku/users", "GET /counterfoil/tenants/diku/users/reader",
	"PUT /counterfoil/tenants/diku/users/reader", "DELETE /counterfoil/tenants/diku/users/reader",
	"PUT /counterfoil/tenants/diku/users/reader/password", "PUT /counterfoil/tenants/diku/users/reader/permissions",
	"DELETE /counterfoil/tenants/diku/users/reader/sessions", "GET /counterfoil/tenants/diku/permissions",
	"PUT /counterfoil/tenants/diku/permissions/orders.all", "DELETE /counterfoil/tenants/diku/permissions/orders.all",
	"GET /counterfoil/sessions", "GET /counterfoil/sessions/x", "DELETE /counterfoil/sessions/x", "GET /counterfoil/keys",
	"POST /counterfoil/keys/access/rotate", "POST /counterfoil/keys/access/x/retire", "DELETE /counterfoil/keys/access/x",
	"GET /counterfoil/policies", "PUT /counterfoil/policies", "GET /counterfoil/policies/effective", "GET /counterfoil/events",
	"GET /counterfoil/nothing", "PATCH /counterfoil/tenants",
}

func TestNothingIsAnsweredWithoutTheTokenOfThisRun(t *testing.T) {
	w := newWorld(t)
	w.reader()
	before := w.events("diku")
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		for _, authorization := range []string{
			"", "Bearer", "Bearer ", runToken[1:], "Bearer " + runToken + "x", "Bearer " + runToken[:len(runToken)-1], "Basic " + runToken,
		} {
			answer := w.send(method, path, `{}`, "Authorization", authorization)
			if answer.Code != http.StatusUnauthorized || answer.Header().Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s with %q answered %d %s", route, authorization, answer.Code, answer.Body)
			}
			if strings.Contains(answer.Body.String(), runToken) {
				t.Errorf("%s tells the token", route)
			}
		}
	}
	if after := w.events("diku"); len(after) != len(before) {
		t.Errorf("something happened all the same: %v", after[len(before):])
	}
	w.handler.Token = ""
	if answer := w.send("GET", "/counterfoil/tenants", "", "Authorization", "Bearer "); answer.Code != http.StatusUnauthorized {
		t.Errorf("without a token of its own the API answered %d", answer.Code)
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	w := newWorld(t)
	w.reader()
	for name, body := range map[string]string{
		"empty": ``, "null": `null`, "array": `[]`, "text": `"diku"`, "unknown name": `{"id":"a","colour":"red"}`,
		"name twice": `{"id":"a","id":"b"}`, "name in other case": `{"ID":"a"}`, "folded name": "{\"\u017fid\":\"a\"}",
		"wrong type": `{"id":7}`, "invalid UTF-8": "{\"id\":\"\xff\"}", "trailing data": `{"id":"a"}{}`,
		"deep": strings.Repeat(`{"id":`, 20_000), "cut off": `{"id":"a"`,
	} {
		for _, route := range []string{
			"POST /counterfoil/tenants", "POST /counterfoil/tenants/diku/users", "PUT /counterfoil/tenants/diku/users/reader",
			"PUT /counterfoil/tenants/diku/users/reader/password", "PUT /counterfoil/tenants/diku/users/reader/permissions",
			"PUT /counterfoil/tenants/diku/permissions/orders.all", "PUT /counterfoil/policies", "POST /counterfoil/bootstrap",
		} {
			method, path, _ := strings.Cut(route, " ")
			answer := w.send(method, path, body, "Authorization", "Bearer "+runToken)
			if answer.Code != http.StatusBadRequest && !(name == "deep" && answer.Code == http.StatusRequestEntityTooLarge) {
				t.Errorf("%s of %s answered %d %s", name, route, answer.Code, answer.Body)
			}
		}
	}
	got := w.call(413, "POST", "/counterfoil/tenants", `{"id":"`+strings.Repeat("a", 64<<10)+`"}`)
	if got["code"] != "too_large" {
		t.Errorf("a body that is too large is %v", got)
	}
	// What was typed may be a password in the wrong place.
	for _, route := range []string{"/password", "/permissions"} {
		got = w.call(400, "PUT", "/counterfoil/tenants/diku/users/reader"+route, `{"swordfish":"swordfish"}`)
		if strings.Contains(fmt.Sprint(got), "swordfish") {
			t.Errorf("the refusal repeats what was sent: %v", got)
		}
	}
}

func TestTenantsComeAndGo(t *testing.T) {
	w := newWorld(t)
	w.reader()
	w.call(409, "POST", "/counterfoil/tenants", `{"id":"diku"}`)
	for _, id := range []string{"", "Diku", "di-ku", "di_ku", "9diku", strings.Repeat("a", 32)} {
		w.call(422, "POST", "/counterfoil/tenants", `{"id":"`+id+`"}`)
	}
	got := w.call(200, "GET", "/counterfoil/tenants", "")
	if text := fmt.Sprint(got["tenants"]); !strings.Contains(text, "map[id:diku name:Institut]") {
		t.Errorf("the list is %s", text)
	}
	w.call(422, "DELETE", "/counterfoil/tenants/supertenant", "")
	w.call(404, "DELETE", "/counterfoil/tenants/nobody", "")
	tokens := w.logIn()
	w.call(204, "DELETE", "/counterfoil/tenants/diku", "")
	if w.holds(tokens) || w.refreshes(tokens) {
		t.Error("tokens outlive their tenant")
	}
	w.call(404, "GET", "/counterfoil/tenants/diku/users", "")
}

func TestEndingATenantsSessionsEndsEveryToken(t *testing.T) {
	w := newWorld(t)
	w.reader()
	first, second := w.logIn(), w.logIn()
	w.call(404, "DELETE", "/counterfoil/tenants/nobody/sessions", "")
	if !w.holds(first) {
		t.Fatal("another tenant's end ended this one's session")
	}
	if got := w.call(200, "DELETE", "/counterfoil/tenants/diku/sessions", ""); got["ended"] != 2.0 {
		t.Errorf("the answer is %v", got)
	}
	for _, tokens := range []*session.Tokens{first, second} {
		if w.holds(tokens) || w.refreshes(tokens) {
			t.Error("a token outlives the end of all sessions")
		}
	}
	// The timeline of each tells why, although nothing was written in its row.
	got := w.call(200, "GET", "/counterfoil/sessions/"+first.Session.String(), "")
	events := got["events"].([]any)
	last := events[len(events)-1].(map[string]any)
	if got["state"] != "ended" || last["kind"] != "tenant_sessions_ended" || last["actor"] != "test" {
		t.Errorf("state %v, last event %v", got["state"], last)
	}
	if third := w.logIn(); !w.holds(third) || !w.refreshes(third) {
		t.Error("nobody can log in anew")
	}
}

func TestEventsNameTheOperator(t *testing.T) {
	w := newWorld(t)
	id := w.reader()
	tokens := w.logIn()
	w.call(200, "DELETE", "/counterfoil/sessions/"+tokens.Session.String(), "")
	w.call(200, "PUT", "/counterfoil/tenants/diku/users/reader/permissions", `{"permissions":["a"],"elevated":[]}`)
	w.call(200, "PUT", "/counterfoil/tenants/diku/permissions/set", `{"subPermissions":["a"]}`)
	w.call(204, "DELETE", "/counterfoil/tenants/diku/permissions/set", "")
	w.call(200, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"tenant","policy":{"idle":"24h"}}`)
	w.call(200, "PUT", "/counterfoil/tenants/diku/users/reader/password", `{"password":"another horse entirely"}`)
	w.call(200, "PUT", "/counterfoil/tenants/diku/users/reader", `{"active":false}`)
	w.call(200, "DELETE", "/counterfoil/tenants/diku/users/"+id, "")
	w.call(204, "DELETE", "/counterfoil/tenants/diku", "")
	var want []string
	for _, kind := range []audit.Kind{
		audit.TenantCreated, audit.UserCreated, audit.Login, audit.SessionRevoked, audit.PermissionChanged, audit.PermissionChanged,
		audit.PermissionChanged, audit.PolicyChanged, audit.PasswordChanged, audit.UserDeactivated, audit.UserDeleted, audit.TenantDeleted,
	} {
		actor := " by operator test"
		if kind == audit.Login {
			actor = " by user reader"
		}
		want = append(want, string(kind)+actor)
	}
	if got := w.events("diku"); !slices.Equal(got, want) {
		t.Errorf("the events are\n%q, want\n%q", got, want)
	}
	w.call(201, "POST", "/counterfoil/keys/module/rotate", "")
	keys := w.events("supertenant")
	if last := keys[len(keys)-1]; last != "key_changed by operator test" {
		t.Errorf("the event of a key is %q", last)
	}
}

func TestEventsCanBeSearchedAndPaged(t *testing.T) {
	w := newWorld(t)
	id := w.reader()
	tokens := w.logIn()
	w.call(200, "DELETE", "/counterfoil/sessions/"+tokens.Session.String(), "")
	kinds := func(query string) (list []string, last float64) {
		t.Helper()
		for _, e := range w.call(200, "GET", "/counterfoil/events?"+query, "")["events"].([]any) {
			list = append(list, e.(map[string]any)["kind"].(string))
			last = e.(map[string]any)["seq"].(float64)
		}
		return list, last
	}
	if got, _ := kinds("session=" + tokens.Session.String()); !slices.Equal(got, []string{"session_revoked", "login"}) {
		t.Errorf("the session's events are %v", got)
	}
	if got, _ := kinds("userId=" + id + "&kind=user_created"); !slices.Equal(got, []string{"user_created"}) {
		t.Errorf("the user's creation is %v", got)
	}
	first, seq := kinds("tenant=diku&limit=2")
	rest, _ := kinds(fmt.Sprintf("tenant=diku&limit=2&before=%.0f", seq))
	if all, _ := kinds("tenant=diku"); len(first) != 2 || !slices.Equal(append(first, rest...), all) {
		t.Errorf("pages %v and %v are not %v", first, rest, all)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "before=-1", "before=x"} {
		w.call(400, "GET", "/counterfoil/events?"+query, "")
	}
}

// A stranger chooses the user agent. It must not make the lists unreadable.
func TestListsSurviveTextThatIsNotUTF8(t *testing.T) {
	w := newWorld(t)
	w.reader()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "anonymous", UserAgent: "evil \xff\xfe"})
	tokens, err := w.sessions.Login(ctx, session.LoginRequest{Tenant: "diku", Username: "reader", Password: password, Client: session.ClientAPI})
	w.must(err)
	answer := w.send("DELETE", "/counterfoil/sessions/"+tokens.Session.String(), "", "Authorization", "Bearer "+runToken, "X-Counterfoil-Command", "evil \xff")
	if answer.Code != http.StatusOK {
		t.Fatal(answer.Code)
	}
	got := w.call(200, "GET", "/counterfoil/sessions?tenant=diku", "")
	if n := len(got["sessions"].([]any)); n != 1 {
		t.Errorf("%d sessions", n)
	}
	if got = w.call(200, "GET", "/counterfoil/sessions/"+tokens.Session.String(), ""); got["endedBy"] != "admin API" {
		t.Errorf("ended by %q", got["endedBy"])
	}
	w.call(200, "GET", "/counterfoil/events", "")
}

func TestAStoreThatIsAwayIs503WithoutDetail(t *testing.T) {
	w := newWorld(t)
	w.reader()
	w.must(w.store.Close())
	answer := w.send("GET", "/counterfoil/sessions", "", "Authorization", "Bearer "+runToken)
	if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || strings.Contains(answer.Body.String(), "closed") {
		t.Errorf("answered %d %v %s", answer.Code, answer.Header(), answer.Body)
	}
	if !strings.Contains(w.log.String(), "store") {
		t.Errorf("the log does not say why: %s", w.log)
	}
}
