package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestSessionsAreListedNewestFirstInPages(t *testing.T) {
	w := newWorld(t)
	w.reader()
	var want []string
	for range 5 {
		want = append([]string{w.logIn().Session.String()}, want...)
		w.pass(time.Second)
	}
	var got []string
	cursor := ""
	for range 3 {
		page := w.call(200, "GET", "/counterfoil/sessions?tenant=diku&user=reader&limit=2&cursor="+cursor, "")
		for _, s := range page["sessions"].([]any) {
			got = append(got, s.(map[string]any)["id"].(string))
		}
		cursor = page["next"].(string)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || cursor != "" {
		t.Errorf("the pages hold %v, want %v; then %q", got, want, cursor)
	}
	count := func(query string) int {
		t.Helper()
		return len(w.call(200, "GET", "/counterfoil/sessions?"+query, "")["sessions"].([]any))
	}
	w.call(200, "DELETE", "/counterfoil/sessions/"+want[0], "")
	for query, n := range map[string]int{
		"": 5, "live=true": 4, "tenant=other": 0, "client=folio-api": 5, "client=folio-web": 0,
		"address=198.51.100.1": 5, "address=198.51.100.2": 0,
	} {
		if got := count(query); got != n {
			t.Errorf("%q finds %d, want %d", query, got, n)
		}
	}
	w.call(400, "GET", "/counterfoil/sessions?user=reader", "")
	w.call(404, "GET", "/counterfoil/sessions?tenant=diku&user=nobody", "")
	w.call(422, "GET", "/counterfoil/sessions?cursor=x", "")
	w.call(400, "GET", "/counterfoil/sessions?limit=1001", "")
}

func TestASessionTellsItsStory(t *testing.T) {
	w := newWorld(t)
	w.reader()
	tokens := w.logIn()
	path := "/counterfoil/sessions/" + tokens.Session.String()
	w.pass(time.Minute)
	if !w.refreshes(tokens) {
		t.Fatal("the refresh was refused")
	}
	got := w.call(200, "GET", path, "")
	for name, want := range map[string]any{
		"username": "reader", "tenant": "diku", "client": "folio-api", "state": "live", "rotations": 1.0,
		"loginAddress": "198.51.100.1", "userAgent": "browser", "endedWhy": nil, "endedAt": nil,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got := w.call(200, "DELETE", path, ""); got["ended"] != 1.0 {
		t.Errorf("ended %v", got["ended"])
	}
	if w.holds(tokens) || w.refreshes(tokens) {
		t.Error("a token still holds")
	}
	if got := w.call(200, "DELETE", path, ""); got["ended"] != 0.0 {
		t.Errorf("ended again %v", got["ended"])
	}
	got = w.call(200, "GET", path, "")
	events := got["events"].([]any)
	last := events[len(events)-1].(map[string]any)
	if got["state"] != "ended" || got["endedBy"] != "test" || got["endedWhy"] != string(session.RevokedByAdmin) || got["endedAt"] == nil {
		t.Errorf("ended %v by %v for %v at %v", got["state"], got["endedBy"], got["endedWhy"], got["endedAt"])
	}
	if len(events) != 2 || last["kind"] != "session_revoked" || last["actor"] != "test" || last["address"] != "192.0.2.7" {
		t.Errorf("the events are %v", events)
	}
	w.call(400, "GET", "/counterfoil/sessions/x", "")
	w.call(400, "DELETE", "/counterfoil/sessions/x", "")
	w.call(404, "GET", "/counterfoil/sessions/6f1c2a50-0000-4000-8000-000000000000", "")
	w.call(404, "DELETE", "/counterfoil/sessions/6f1c2a50-0000-4000-8000-000000000000", "")
}

func TestASessionTellsTheKeyThatItIsBoundTo(t *testing.T) {
	w := newWorld(t)
	w.reader()
	free := w.call(200, "GET", "/counterfoil/sessions/"+w.logIn().Session.String(), "")
	tokens, err := w.sessions.Login(t.Context(), session.LoginRequest{
		Tenant: "diku", Username: "reader", Password: password, Client: session.ClientAPI, Confirm: token.ConfirmKey("some"),
	})
	w.must(err)
	bound := w.call(200, "GET", "/counterfoil/sessions/"+tokens.Session.String(), "")
	if free["boundTo"] != nil || bound["boundTo"] != "jkt:some" {
		t.Errorf("%v, %v", free["boundTo"], bound["boundTo"])
	}
}

func TestAnIdleSessionIsExpired(t *testing.T) {
	w := newWorld(t)
	w.reader()
	id := w.logIn().Session.String()
	w.pass(8 * 24 * time.Hour)
	if got := w.call(200, "GET", "/counterfoil/sessions/"+id, ""); got["state"] != "expired" || got["expiresAt"] != "2026-03-08T09:00:00Z" {
		t.Errorf("state %v, expires %v", got["state"], got["expiresAt"])
	}
}

// The end of another generation of sessions does not explain this one's.
func TestOnlyTheEndAfterTheLoginExplains(t *testing.T) {
	w := newWorld(t)
	w.reader()
	w.call(200, "DELETE", "/counterfoil/tenants/diku/sessions", "")
	w.pass(time.Second)
	id := w.logIn().Session.String()
	for range 2 {
		w.pass(time.Minute)
		w.call(200, "DELETE", "/counterfoil/tenants/diku/sessions", "")
	}
	events := w.call(200, "GET", "/counterfoil/sessions/"+id, "")["events"].([]any)
	if last := events[len(events)-1].(map[string]any); len(events) != 2 || last["time"] != "2026-03-01T09:01:01Z" {
		t.Errorf("the events are %v", events)
	}
}

func TestKeysAreRotatedRetiredAndRemoved(t *testing.T) {
	w := newWorld(t)
	w.reader()
	tokens := w.logIn()
	state := func(id string) string {
		t.Helper()
		for _, k := range w.call(200, "GET", "/counterfoil/keys", "")["keys"].([]any) {
			if k := k.(map[string]any); k["id"] == id && k["purpose"] == "access" {
				return k["state"].(string)
			}
		}
		return ""
	}
	old := w.call(200, "GET", "/counterfoil/keys", "")["keys"].([]any)[0].(map[string]any)["id"].(string)
	next := w.call(201, "POST", "/counterfoil/keys/access/rotate", "")
	if next["state"] != "pending" || next["dueAt"] == nil || state(old) != "active" {
		t.Errorf("the next key is %v, the old one %s", next, state(old))
	}
	if got := w.call(201, "POST", "/counterfoil/keys/access/rotate?now=true", ""); got["id"] != next["id"] || got["state"] != "active" || state(old) != "retired" {
		t.Errorf("at once it is %v, the old one %s", got, state(old))
	}
	if !w.holds(tokens) {
		t.Error("rotation cut a token short")
	}
	w.call(204, "POST", "/counterfoil/keys/access/"+next["id"].(string)+"/retire", "")
	w.call(204, "DELETE", "/counterfoil/keys/access/"+old, "")
	if w.holds(tokens) {
		t.Error("a token of a removed key holds")
	}
	w.call(404, "POST", "/counterfoil/keys/access/"+old+"/retire", "")
	for _, request := range []string{"POST other/rotate", "POST access/nokey/retire", "DELETE access/nokey", "DELETE other/" + old} {
		method, path, _ := strings.Cut(request, " ")
		w.call(404, method, "/counterfoil/keys/"+path, "")
	}
	answer := w.send("GET", "/counterfoil/keys", "", "Authorization", "Bearer "+runToken).Body.String()
	for _, secret := range []string{"wrapped", "secret", "Wrapped", "private"} {
		if strings.Contains(answer, secret) {
			t.Errorf("the list tells %s: %s", secret, answer)
		}
	}
}

func TestPoliciesAreRefusedByTheLinter(t *testing.T) {
	w := newWorld(t)
	w.reader()
	for body, want := range map[string]string{
		`{"tenant":"diku","scope":"tenant","policy":{"access_ttl":"30s"}}`:           "grace: 10s",
		`{"tenant":"diku","scope":"client","name":"x","policy":{"absolute":"500d"}}`: "absolute",
		`{"tenant":"diku","scope":"user","name":"x","policy":{"binding":"iris"}}`:    "binding",
		`{"tenant":"diku","scope":"tenant","name":"x","policy":{}}`:                  "scope must be",
		`{"tenant":"diku","scope":"client","policy":{}}`:                             "scope must be",
		`{"tenant":"diku","scope":"planet","policy":{}}`:                             "scope must be",
	} {
		if got := w.call(422, "PUT", "/counterfoil/policies", body); !strings.Contains(got["message"].(string), want) {
			t.Errorf("%s is refused with %v", body, got)
		}
	}
	w.call(404, "PUT", "/counterfoil/policies", `{"tenant":"nobody","scope":"tenant","policy":{}}`)
	w.call(400, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"tenant","policy":{"access_ttl":"soon"}}`)
	w.call(400, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"tenant","policy":{"colour":"red"}}`)
	if got := w.call(200, "GET", "/counterfoil/policies", "")["policies"].([]any); len(got) != 0 {
		t.Errorf("a refusal stored %v", got)
	}
}

func TestPoliciesHaveEffectAndFindingsAreTold(t *testing.T) {
	w := newWorld(t)
	w.reader()
	got := w.call(200, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"client","name":"folio-api","policy":{"grace":"0s","access_ttl":"5m"}}`)
	findings := got["findings"].([]any)
	if len(findings) != 1 || findings[0].(map[string]any)["field"] != "grace" || findings[0].(map[string]any)["refuse"] != false {
		t.Errorf("the findings are %v", findings)
	}
	if policy := got["policy"].(map[string]any); policy["access_ttl"] != "5m0s" || policy["idle"] != "168h0m0s" || len(policy) != 18 {
		t.Errorf("what holds is %v", policy)
	}
	tokens := w.logIn()
	if d := tokens.AccessExpires.Sub(w.Now()); d > 5*time.Minute {
		t.Errorf("a token lives for %s", d)
	}
	effective := func(query string) map[string]any {
		t.Helper()
		return w.call(200, "GET", "/counterfoil/policies/effective?tenant=diku"+query, "")["policy"].(map[string]any)
	}
	if effective("&client=folio-api")["access_ttl"] != "5m0s" || effective("")["access_ttl"] != "10m0s" {
		t.Error("the override is not where it was put")
	}
	w.call(404, "GET", "/counterfoil/policies/effective?tenant=nobody", "")
	w.call(200, "PUT", "/counterfoil/policies", `{"tenant":"diku","scope":"client","name":"folio-api","policy":{}}`)
	if got := w.call(200, "GET", "/counterfoil/policies", "")["policies"].([]any); len(got) != 0 || effective("&client=folio-api")["access_ttl"] != "10m0s" {
		t.Errorf("an empty override leaves %v", got)
	}
}
