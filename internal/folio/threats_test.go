package folio_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Threat: many requests present one refresh token at once, and each gets a
// successor of its own, or one of them ends the session of the others.
func TestT6ParallelRefreshesHaveOneSuccessor(t *testing.T) {
	for _, n := range []int{16, 50} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, setup{})
			login := w.web("reader")
			w.clock.add(10 * time.Minute)
			answers := together(n, func() answer { return w.refresh(login.cookie(session.RefreshCookie)) })
			var successors []string
			for _, a := range answers {
				if a.status != http.StatusCreated {
					t.Fatalf("refused: %d %s", a.status, a.body)
				}
				successors = append(successors, a.cookies[session.RefreshCookie].Value)
			}
			slices.Sort(successors)
			if distinct := slices.Compact(successors); len(distinct) != 1 {
				t.Fatalf("%d different successors", len(distinct))
			}
			w.clock.add(10 * time.Minute)
			if a := w.refreshBody(successors[0]); a.status != http.StatusCreated {
				t.Errorf("the successor was refused: %d %s", a.status, a.body)
			}
		})
	}
}

// With mod-authtoken's rule one of them gets an answer, and nobody keeps a
// session.
func TestT6ParallelRefreshesInExactMode(t *testing.T) {
	w := newWorld(t, setup{Policy: exact})
	login := w.web("reader")
	byStatus := map[int]int{}
	var winner answer
	for _, a := range together(16, func() answer { return w.refresh(login.cookie(session.RefreshCookie)) }) {
		byStatus[a.status]++
		if a.status == http.StatusCreated {
			winner = a
		}
	}
	if diff := cmp.Diff(map[int]int{201: 1, 422: 15}, byStatus); diff != "" {
		t.Fatal(diff)
	}
	if a := w.refresh(winner.cookie(session.RefreshCookie)); a.status != http.StatusUnprocessableEntity {
		t.Errorf("the winner's token still works: %d", a.status)
	}
}

func exact(p *session.Policy) { *p = p.FOLIOExact() }

func together(n int, do func() answer) []answer {
	answers := make([]answer, n)
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range answers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			answers[i] = do()
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return answers
}

// Threat: the answer is lost after the commit, and the client's retry counts
// as theft.
func TestT7LostAnswerIsGivenAgain(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.script("reader")
	old := login.field("refreshToken")
	w.clock.add(10 * time.Minute)
	lost := w.refreshBody(old)
	for range 3 {
		w.clock.add(3 * time.Second)
		again := w.refreshBody(old)
		if again.status != http.StatusCreated || again.field("refreshToken") != lost.field("refreshToken") {
			t.Fatalf("%d %s, want the successor that was lost", again.status, again.body)
		}
	}
	// Later than the grace window, but nobody has used the successor: once a
	// day it is given all the same, as soon as it is known that nobody has.
	w.clock.add(time.Minute)
	late := w.refreshBody(old)
	if late.status != http.StatusCreated || late.field("refreshToken") != lost.field("refreshToken") {
		t.Fatalf("late: %d %s", late.status, late.body)
	}
	if kinds := w.events(old); !slices.Contains(kinds, audit.LateRecovery) {
		t.Errorf("events %v, want %s among them", kinds, audit.LateRecovery)
	}
}

// Threat: a token of one tenant is used in another.
func TestT8TokenOfAnotherTenantIsRefusedAndNotConsumed(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.web("reader")
	w.clock.add(10 * time.Minute)
	before := w.row(login.cookies[session.RefreshCookie].Value)
	for _, tenant := range []string{"other", "nowhere", "DIKU"} {
		a := w.refresh(login.cookie(session.RefreshCookie), "X-Okapi-Tenant: "+tenant)
		if a.status != http.StatusUnprocessableEntity || a.code() != "token.refresh.unprocessable" || len(a.cookies) > 0 {
			t.Errorf("tenant %s: %d %s, %d cookies", tenant, a.status, a.body, len(a.cookies))
		}
	}
	if diff := cmp.Diff(before.Family, w.row(login.cookies[session.RefreshCookie].Value).Family); diff != "" {
		t.Errorf("the session changed (-before +after):\n%s", diff)
	}
	token := w.moduleToken("other", otherID, "auth.token.refresh.post")
	a := w.do(call{
		method: "POST", path: "/token/refresh", internal: true, header: []string{"X-Okapi-Token: " + token, jsonType},
		body: `{"refreshToken":"` + login.cookies[session.RefreshCookie].Value + `"}`,
	})
	if a.status != http.StatusUnauthorized || a.body != "Invalid token" {
		t.Errorf("through a module of another tenant: %d %s", a.status, a.body)
	}
	if a := w.refresh(login.cookie(session.RefreshCookie), "X-Okapi-Tenant: diku"); a.status != http.StatusCreated {
		t.Errorf("in its own tenant: %d %s", a.status, a.body)
	}
}

// Threat: sessions of another tenant can be seen or ended by their id.
func TestT8SessionOfAnotherTenantDoesNotExist(t *testing.T) {
	w := newWorld(t, setup{})
	foreign := w.do(call{
		method: "POST", path: "/authn/login", header: []string{"X-Okapi-Tenant: other", jsonType},
		body: `{"username":"reader","password":"secret of reader"}`,
	})
	raw := foreign.field("refreshToken")
	id := w.row(raw).ID.String()
	admin := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	for _, c := range []call{
		{method: "GET", path: "/authn/sessions/" + id},
		{method: "DELETE", path: "/authn/sessions/" + id},
		{method: "GET", path: "/authn/sessions/" + id + "/events"},
		{method: "DELETE", path: "/authn/sessions/_self/" + id},
		{method: "GET", path: "/authn/sessions/_self/" + id + "/events"},
	} {
		c.header = []string{admin}
		if a := w.do(c); a.status != http.StatusNotFound || a.code() != "not.found" {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
	if a := w.do(call{method: "GET", path: "/authn/sessions", header: []string{admin}}); strings.Contains(a.body, id) {
		t.Error("the list shows a session of another tenant")
	}
	if a := w.do(call{method: "GET", path: "/authn/sessions?userId=" + otherID, header: []string{admin}}); strings.Contains(a.body, id) {
		t.Error("the list shows a session of another tenant by its user")
	}
	w.do(call{method: "DELETE", path: "/authn/sessions?userId=" + otherID, header: []string{admin}})
	if a := w.refreshBody(raw); a.status != http.StatusCreated {
		t.Errorf("the session of another tenant was touched: %d", a.status)
	}
}

// Threat: logout answers 204 and ends nothing, because it looked in the tenant
// of the header.
func TestT9LogoutWorksInTheTenantOfTheToken(t *testing.T) {
	w := newWorld(t, setup{})
	for _, path := range []string{"/authn/logout", "/authn/logout-all"} {
		login := w.web("reader")
		a := w.do(call{method: "POST", path: path, header: []string{"X-Okapi-Tenant: other", login.cookie(session.RefreshCookie)}})
		if a.status != http.StatusNoContent || a.cookies[session.AccessCookie].MaxAge >= 0 || a.cookies[session.RefreshCookie].MaxAge >= 0 {
			t.Fatalf("%s: %d, cookies %v", path, a.status, a.header["Set-Cookie"])
		}
		if a := w.refresh(login.cookie(session.RefreshCookie)); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s answered 204, and the token works: %d", path, a.status)
		}
		if a := w.do(call{method: "GET", path: "/bl-users/_self", header: []string{login.cookie(session.AccessCookie)}}); a.status != http.StatusUnauthorized {
			t.Errorf("%s answered 204, and the access token works: %d", path, a.status)
		}
	}
}

// Threat: an access or module token is taken for a refresh token, as
// mod-authtoken does, and so becomes a session of a week.
func TestT10OtherTokensAreNoRefreshTokens(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.script("diku_admin")
	access := login.field("accessToken")
	signer := w.moduleToken("diku", adminID, "auth.token.sign.post")
	dummy := w.do(call{
		method: "POST", path: "/token/sign", internal: true, header: []string{"X-Okapi-Token: " + signer, jsonType},
		body: `{"payload":{"sub":"x","dummy":true}}`,
	}).field("token")
	raised := w.do(call{
		method: "POST", path: "/authn/elevate", header: []string{"X-Okapi-Token: " + access, jsonType},
		body: `{"password":"secret of diku_admin","permissions":["orders.collection.delete"]}`,
	}).field("accessToken")
	refresher := w.moduleToken("diku", adminID, "auth.token.refresh.post")
	for name, raw := range map[string]string{
		"access": access, "elevated": raised, "module": signer, "dummy": dummy,
		"cut": login.field("refreshToken")[:80], "longer": login.field("refreshToken") + "A", "empty": "cfrt_", "FOLIO": "eyJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiZGlyIn0..a.b.c",
	} {
		if raw == "" {
			t.Fatalf("no %s token", name)
		}
		if a := w.refreshBody(raw); a.status != http.StatusUnprocessableEntity || a.code() != "token.refresh.unprocessable" {
			t.Errorf("%s in the body: %d %s", name, a.status, a.body)
		}
		if a := w.refresh("Cookie: folioRefreshToken=" + raw); a.status != http.StatusUnprocessableEntity || len(a.cookies) > 0 {
			t.Errorf("%s in the cookie: %d %s, %d cookies", name, a.status, a.body, len(a.cookies))
		}
		a := w.do(call{method: "POST", path: "/token/refresh", internal: true, header: []string{"X-Okapi-Token: " + refresher, jsonType}, body: `{"refreshToken":"` + raw + `"}`})
		if a.status != http.StatusUnauthorized || a.body != "Invalid token" {
			t.Errorf("%s at /token/refresh: %d %s", name, a.status, a.body)
		}
		// Nor does it end anything.
		w.do(call{method: "POST", path: "/authn/logout", header: []string{jsonType}, body: `{"refreshToken":"` + raw + `"}`})
	}
	// The other way round, a refresh token opens no door.
	for _, header := range []string{"X-Okapi-Token: ", "Authorization: Bearer ", "Cookie: folioAccessToken="} {
		a := w.do(call{method: "GET", path: "/bl-users/_self", header: []string{header + login.field("refreshToken"), "X-Okapi-Tenant: diku"}})
		if a.status != http.StatusUnauthorized {
			t.Errorf("refresh token as %s%d", header, a.status)
		}
	}
	if a := w.refreshBody(login.field("refreshToken")); a.status != http.StatusCreated {
		t.Errorf("the session did not survive: %d %s", a.status, a.body)
	}
}

// Threat: the answer to a failed login tells whether the user exists.
func TestT33FailedLoginsAreAlike(t *testing.T) {
	w := newWorld(t, setup{})
	const want = `{"errors":[{"message":"Wrong username or wrong password or account blocked","type":"error","code":"wrong.username.or.wrong.password.or.account.blocked"}]}`
	for _, path := range []string{"/authn/login", "/authn/login-with-expiry", "/bl-users/login-with-expiry"} {
		for name, body := range map[string]string{
			"unknown":  `{"username":"nobody","password":"secret"}`,
			"wrong":    `{"username":"diku_admin","password":"secret"}`,
			"blocked":  `{"username":"blocked","password":"secret of blocked"}`,
			"long":     `{"username":"reader","password":"` + strings.Repeat("x", 5000) + `"}`,
			"strange":  `{"username":"\u202ereader","password":"secret of reader"}`,
			"wildcard": `{"username":"*","password":"secret of reader"}`,
		} {
			// An address each, so that the limits of one do not answer for another.
			a := w.do(call{method: "POST", path: path, body: body, header: []string{"X-Okapi-Tenant: diku", jsonType, w.stranger()}})
			if a.status != http.StatusUnprocessableEntity || a.body != want || len(a.cookies) > 0 || a.header.Get("X-Okapi-Token") != "" {
				t.Errorf("%s at %s: %d %s", name, path, a.status, a.body)
			}
		}
	}
}

// Threat: passwords are guessed without end, or a flood of wrong ones locks
// out the user who knows the right one.
func TestFailedLoginsAreSlowedDown(t *testing.T) {
	w := newWorld(t, setup{})
	w.web("reader") // this network knows the user from now on
	try := func(address, password string) answer {
		return w.do(call{
			method: "POST", path: "/authn/login", header: []string{"X-Okapi-Tenant: diku", jsonType, "Test-Address: " + address},
			body: `{"username":"reader","password":"` + password + `"}`,
		})
	}
	var last answer
	for range 10 {
		last = try("203.0.113.9", "guess")
	}
	if last.status != http.StatusTooManyRequests || last.code() != "login.limited" {
		t.Fatalf("%d %s", last.status, last.body)
	}
	if seconds := last.header.Get("Retry-After"); seconds != "1" {
		t.Errorf("Retry-After %q, want 1", seconds)
	}
	if a := try("192.0.2.1", "secret of reader"); a.status != http.StatusCreated {
		t.Errorf("the owner was locked out: %d %s", a.status, a.body)
	}
}

// Bodies that nobody can read count for their address alone.
func TestUnparsableLoginsAreLimitedByAddress(t *testing.T) {
	w := newWorld(t, setup{})
	send := func(address string) int {
		return w.do(call{method: "POST", path: "/authn/login", header: []string{"X-Okapi-Tenant: diku", jsonType, "Test-Address: " + address}, body: `{"username"`}).status
	}
	var last int
	for range 30 {
		last = send("203.0.113.9")
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("30 unparsable bodies: %d", last)
	}
	if got := send("203.0.113.10"); got != http.StatusBadRequest {
		t.Errorf("from another address: %d", got)
	}
	w.web("reader")
}
