package folio_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Threat: whoever copied a jar asks, with the access token in it, again and
// again when the session rotated last, and then presents the old refresh
// token within the grace window each time. What a token is told about its own
// session must not change with a rotation.
func TestT73TokenDoesNotLearnWhenItsSessionRotates(t *testing.T) {
	w := newWorld(t, setup{Policy: func(p *session.Policy) { p.AccessTTL = 24 * time.Hour }})
	login := w.script("diku_admin")
	raw, id := login.field("refreshToken"), w.row(login.field("refreshToken")).ID.String()
	token := "X-Okapi-Token: " + login.field("accessToken")
	look := func() (list []string) {
		for _, path := range []string{
			"/authn/sessions/_self", "/authn/sessions", "/authn/sessions/" + id,
			"/authn/sessions/" + id + "/events", "/authn/sessions/_self/" + id + "/events",
		} {
			a := w.do(call{method: "GET", path: path, header: []string{token}})
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", path, a.status, a.body)
			}
			list = append(list, a.body)
		}
		return list
	}
	w.clock.add(10 * time.Minute)
	before := look()
	w.clock.add(10 * time.Minute)
	next := w.refreshBody(raw, "Test-Address: 203.0.113.5") // rotated, from elsewhere
	w.refreshBody(next.field("refreshToken"))               // floor
	w.clock.add(15 * time.Second)
	superseded := w.refreshBody(raw)
	body, _ := json.Marshal(map[string]string{"refreshToken": next.field("refreshToken"), "heal": heal(t, superseded)})
	w.do(call{method: "POST", path: "/authn/refresh", header: []string{jsonType}, body: string(body)})
	if kinds := w.events(raw); !slices.Contains(kinds, audit.StrikeHealed) {
		t.Fatalf("nothing to hide happened: %v", kinds)
	}
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("the session rotated and its token saw it (-before +after):\n%s", diff)
	}
	// Others see it, which is what the list is for.
	reader := w.script("reader")
	rid := w.row(reader.field("refreshToken")).ID.String()
	w.refreshBody(reader.field("refreshToken"))
	a := w.do(call{method: "GET", path: "/authn/sessions/" + rid, header: []string{token}})
	if !strings.Contains(a.body, `"rotations":1`) {
		t.Errorf("the administrator does not see the rotations of another session: %s", a.body)
	}
}

// heal is the nonce in the body of a superseded answer.
func heal(t *testing.T, a answer) string {
	t.Helper()
	var body struct {
		Errors []struct {
			Parameters []struct{ Key, Value string }
		}
	}
	if err := json.Unmarshal([]byte(a.body), &body, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	for _, p := range body.Errors[0].Parameters {
		if p.Key == "heal" {
			return p.Value
		}
	}
	t.Fatalf("no nonce in %s", a.body)
	return ""
}

// The timeline of another session tells all of it.
func TestTimelineAnswersWhyASessionEnded(t *testing.T) {
	w := newWorld(t, setup{})
	raw := w.script("reader").field("refreshToken")
	w.clock.add(10 * time.Minute)
	next := w.refreshBody(raw)
	w.refreshBody(next.field("refreshToken")) // arrived
	w.clock.add(15 * time.Second)
	w.refreshBody(raw, "Test-Address: 203.0.113.5") // stolen
	w.clock.add(31 * time.Second)
	w.refreshBody(next.field("refreshToken"))
	admin := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	a := w.do(call{method: "GET", path: "/authn/sessions/" + w.row(raw).ID.String() + "/events", header: []string{admin}})
	for _, want := range []string{
		`"kind":"login"`, `"kind":"superseded"`, `"kind":"refresh_reuse"`, `"state":"ended"`, `"endReason":"refresh_reuse"`,
		`"rotations":1`, `"address":"203.0.113.5"`, `"detail":{`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
}

// What was allowed when the token was issued does not count.
func TestSessionsAPIAsksForPermissions(t *testing.T) {
	w := newWorld(t, setup{})
	reader := w.script("reader")
	id := w.row(reader.field("refreshToken")).ID.String()
	for _, test := range []struct{ method, path, permission string }{
		{"GET", "/authn/sessions", "counterfoil.sessions.collection.get"},
		{"DELETE", "/authn/sessions?userId=" + readerID, "counterfoil.sessions.collection.delete"},
		{"GET", "/authn/sessions/" + id, "counterfoil.sessions.item.get"},
		{"DELETE", "/authn/sessions/" + id, "counterfoil.sessions.item.delete"},
		{"GET", "/authn/sessions/" + id + "/events", "counterfoil.sessions.events.get"},
	} {
		a := w.do(call{method: test.method, path: test.path, header: []string{"X-Okapi-Token: " + reader.field("accessToken")}})
		if a.status != http.StatusForbidden || !strings.HasSuffix(a.body, "requires permission: "+test.permission) {
			t.Errorf("%s %s: %d %s", test.method, test.path, a.status, a.body)
		}
		a = w.do(call{method: test.method, path: test.path})
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d %s", test.method, test.path, a.status, a.body)
		}
	}
	if a := w.do(call{method: "GET", path: "/authn/sessions/_self", header: []string{"X-Okapi-Token: " + reader.field("accessToken")}}); a.status != http.StatusOK {
		t.Errorf("own sessions: %d %s", a.status, a.body)
	}
}

// A misspelt or doubled filter must not select more than was meant.
func TestSessionQueriesAreStrict(t *testing.T) {
	w := newWorld(t, setup{})
	token := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	for query, want := range map[string]int{
		"":                   200,
		"limit=1000":         200,
		"limit=1001":         400,
		"limit=0":            400,
		"limit=-1":           400,
		"limit=x":            400,
		"limit=":             400,
		"live=1&limit=2":     200,
		"live=maybe":         400,
		"userId=x":           400,
		"userId=":            400,
		"UserId=" + readerID: 400,
		"userId=" + readerID + "&userId=" + adminID: 400,
		"userId=" + strings.ToUpper(readerID):       200,
		"tenant=other":                              400,
		"query=cql.allRecords=1":                    400,
		"a;b":                                       400,
		"%zz":                                       400,
	} {
		if a := w.do(call{method: "GET", path: "/authn/sessions?" + query, header: []string{token}}); a.status != want {
			t.Errorf("%s: %d %s, want %d", query, a.status, a.body, want)
		}
	}
	for _, query := range []string{"", "?", "?userId=", "?userId=x", "?userid=" + readerID, "?userId=" + readerID + "&live=true"} {
		if a := w.do(call{method: "DELETE", path: "/authn/sessions" + query, header: []string{token}}); a.status != http.StatusBadRequest {
			t.Errorf("DELETE %s: %d %s", query, a.status, a.body)
		}
	}
	if a := w.do(call{method: "DELETE", path: "/authn/sessions/_self?except=current", header: []string{token}}); a.status != http.StatusBadRequest {
		t.Errorf("DELETE _self with a filter that does not exist: %d %s", a.status, a.body)
	}
}
