package folio_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// Threat: a sibling host plants a second cookie of the same name, and we
// refresh or end the wrong session.
func TestT54CookiesThatCameTwiceAreRefused(t *testing.T) {
	w := newWorld(t, setup{})
	mine, planted := w.web("reader"), w.web("diku_admin")
	w.clock.add(10 * time.Minute)
	line := mine.cookie(session.RefreshCookie)
	for name, header := range map[string][]string{
		"in one line":           {line + "; folioRefreshToken=" + planted.cookies[session.RefreshCookie].Value},
		"in two lines":          {line, planted.cookie(session.RefreshCookie)},
		"planted first":         {planted.cookie(session.RefreshCookie), line},
		"the same value":        {line, line},
		"access twice":          {line + "; folioAccessToken=a; folioAccessToken=b"},
		"device twice":          {line + "; counterfoilDevice=a; counterfoilDevice=b"},
		"with a token in a way": {line, "Cookie: folioRefreshToken=garbage"},
	} {
		for _, path := range []string{"/authn/refresh", "/authn/logout", "/authn/logout-all"} {
			a := w.do(call{method: "POST", path: path, header: header})
			if a.status != http.StatusBadRequest || a.code() != "token.parse.failure" || len(a.cookies) > 0 {
				t.Errorf("%s at %s: %d %s", name, path, a.status, a.body)
			}
		}
	}
	if a := w.refresh(line); a.status != http.StatusCreated || a.cookies[session.RefreshCookie].Value == mine.cookies[session.RefreshCookie].Value {
		t.Errorf("nothing should have been consumed or ended: %d %s", a.status, a.body)
	}
}

// Threat: an attacker puts the cookie of a session of his own into a victim's
// browser, and the victim goes on in that session after logging in.
func TestT55LoginBeginsASessionOfItsOwn(t *testing.T) {
	w := newWorld(t, setup{})
	planted := w.web("reader")
	for _, path := range []string{"/authn/login-with-expiry", "/bl-users/login-with-expiry"} {
		a := w.login(path, "diku_admin", planted.cookie(session.RefreshCookie)+"; folioAccessToken="+planted.cookies[session.AccessCookie].Value)
		before, after := w.row(planted.cookies[session.RefreshCookie].Value), w.row(a.cookies[session.RefreshCookie].Value)
		if before.ID == after.ID || after.Username != "diku_admin" {
			t.Errorf("%s went on in session %s of %s", path, after.ID, after.Username)
		}
	}
	// Clients log in anew with cookies of long ago, doubled ones too.
	a := w.login("/authn/login-with-expiry", "reader", "Cookie: folioAccessToken=a; folioAccessToken=b; folioRefreshToken=c; folioRefreshToken=d", "X-Okapi-Token: old", "Authorization: Bearer older")
	if a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Threat: a page of another site sends the user's cookies along, or logs the
// user in as the attacker.
func TestT56RequestsOfOtherOriginsAreRefused(t *testing.T) {
	w := newWorld(t, setup{Origins: []string{"https://ui.example.org", "not an origin", "https://*.example.net"}})
	login := w.web("reader")
	for name, test := range map[string]struct {
		header []string
		pass   bool
	}{
		"program":                        {nil, true},
		"same origin":                    {[]string{"Sec-Fetch-Site: same-origin", "Origin: http://folio.example.org"}, true},
		"typed by the user":              {[]string{"Sec-Fetch-Site: none"}, true},
		"same origin, old browser":       {[]string{"Origin: http://folio.example.org"}, true},
		"trusted, another site":          {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://ui.example.org"}, true},
		"trusted, same site":             {[]string{"Sec-Fetch-Site: same-site", "Origin: https://ui.example.org"}, true},
		"another site":                   {[]string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.test"}, false},
		"sibling":                        {[]string{"Sec-Fetch-Site: same-site", "Origin: https://shop.example.org"}, false},
		"another site, old browser":      {[]string{"Origin: https://evil.test"}, false},
		"sandboxed frame":                {[]string{"Origin: null"}, false},
		"another site without an origin": {[]string{"Sec-Fetch-Site: cross-site"}, false},
		"trusted name on another port":   {[]string{"Origin: https://ui.example.org:8443"}, false},
		"trusted name without TLS":       {[]string{"Origin: http://ui.example.org"}, false},
		"what is no origin":              {[]string{"Origin: not an origin"}, false},
		"a wildcard is no origin":        {[]string{"Origin: https://a.example.net"}, false},
		"misleading":                     {[]string{"Origin: https://ui.example.org.evil.test"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			login.header = nil
			for _, c := range []call{
				{method: "POST", path: "/authn/refresh", header: []string{login.cookie(session.RefreshCookie)}},
				{method: "POST", path: "/authn/login-with-expiry", header: []string{"X-Okapi-Tenant: diku", jsonType}, body: `{"username":"reader","password":"secret of reader"}`},
			} {
				c.header = append(c.header, test.header...)
				a := w.do(c)
				if test.pass && a.status != http.StatusCreated {
					t.Errorf("%s: %d %s", c.path, a.status, a.body)
				}
				if !test.pass && (a.status != http.StatusForbidden || a.code() != "origin.not.trusted" || len(a.cookies) > 0) {
					t.Errorf("%s: %d %s, want 403 and no cookie", c.path, a.status, a.body)
				}
			}
			if test.pass {
				return
			}
			for _, c := range []call{
				{method: "POST", path: "/authn/logout", header: []string{login.cookie(session.RefreshCookie)}},
				{method: "POST", path: "/authn/logout-all", header: []string{login.cookie(session.RefreshCookie)}},
				{method: "POST", path: "/authn/logout-all", header: []string{login.cookie(session.AccessCookie)}},
				{method: "POST", path: "/authn/elevate", header: []string{login.cookie(session.AccessCookie)}},
				{method: "DELETE", path: "/authn/sessions/_self", header: []string{login.cookie(session.AccessCookie)}},
			} {
				c.header = append(c.header, test.header...)
				if a := w.do(c); a.status != http.StatusForbidden {
					t.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
				}
			}
		})
	}
	if a := w.refresh(login.cookie(session.RefreshCookie)); a.status != http.StatusCreated {
		t.Errorf("the session did not survive: %d %s", a.status, a.body)
	}
}

// Threat: logout-all is abused by whoever has any old token: mod-authtoken ends
// all sessions of a user for a token that was logged out long ago.
func TestT57LogoutAllNeedsALivingSession(t *testing.T) {
	w := newWorld(t, setup{})
	dead, living := w.script("reader"), w.script("reader")
	w.do(call{method: "POST", path: "/authn/logout", header: []string{jsonType}, body: `{"refreshToken":"` + dead.field("refreshToken") + `"}`})
	for name, c := range map[string]call{
		"ended":         {header: []string{jsonType}, body: `{"refreshToken":"` + dead.field("refreshToken") + `"}`},
		"ended, access": {header: []string{"X-Okapi-Token: " + dead.field("accessToken")}},
		"forged":        {header: []string{jsonType}, body: `{"refreshToken":"cfrt_x"}`},
		"nothing":       {},
		"module":        {header: []string{"X-Okapi-Token: " + w.moduleToken("diku", "", "x")}},
	} {
		c.method, c.path = "POST", "/authn/logout-all"
		if a := w.do(c); a.status != http.StatusUnauthorized || len(a.cookies) > 0 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.refreshBody(living.field("refreshToken")); a.status != http.StatusCreated {
		t.Fatalf("the living session was ended: %d", a.status)
	}
	a := w.do(call{method: "POST", path: "/authn/logout-all", header: []string{"X-Okapi-Token: " + living.field("accessToken")}})
	if a.status != http.StatusNoContent {
		t.Fatalf("with a valid access token: %d %s", a.status, a.body)
	}
	if a := w.refreshBody(living.field("refreshToken")); a.status != http.StatusUnprocessableEntity {
		t.Errorf("after logout-all: %d", a.status)
	}
	if kinds := w.events(living.field("refreshToken")); !slices.Contains(kinds, audit.LogoutAll) {
		t.Errorf("events %v", kinds)
	}
}

// Threat: a cache keeps an answer with tokens, or a path that looks static
// makes it think that it may. Every answer in these tests is checked for
// no-store; these are the odd paths.
func TestT61OddPathsAreNotCached(t *testing.T) {
	w := newWorld(t, setup{})
	token := "X-Okapi-Token: " + w.script("diku_admin").field("accessToken")
	for _, path := range []string{"/authn/sessions/x.css", "/authn/sessions/_self/x.css", "/authn/sessions/x/events/y.js", "/authn/sessions/"} {
		if a := w.do(call{method: "GET", path: path, header: []string{token}}); a.status != http.StatusNotFound || !strings.Contains(a.header.Get("Vary"), "Origin") {
			t.Errorf("%s: %d, Vary %q", path, a.status, a.header.Get("Vary"))
		}
	}
}

// Threat: what is said about a refused token tells whether it was expired,
// revoked or never ours. Only that a session has ended can be known, by whoever
// has a token of it: browsers lose their cookies then, and only then, so a word
// for clients without cookies tells nobody more.
func TestT69RefusedRefreshesAreAlike(t *testing.T) {
	const refused = `{"errors":[{"message":"Authorization server unable to process token refresh request","type":"error","code":"token.refresh.unprocessable"}]}`
	ended := strings.Replace(refused, `"}]}`, `","parameters":[{"key":"reason","value":"ended"}]}]}`, 1)
	w := newWorld(t, setup{})
	revoked, expired := w.script("reader"), w.script("reader")
	w.do(call{method: "POST", path: "/authn/logout", header: []string{jsonType}, body: `{"refreshToken":"` + revoked.field("refreshToken") + `"}`})
	w.clock.add(8 * 24 * time.Hour)
	genuine := w.script("reader").field("refreshToken")
	blocked := w.script("diku_admin")
	user, err := w.store.User(t.Context(), "diku", adminID)
	w.must(err)
	user.Active = false
	_, err = w.sessions.UpdateUser(t.Context(), user)
	w.must(err)
	for _, tt := range []struct {
		name, raw, tenant, want string
	}{
		{"revoked", revoked.field("refreshToken"), "diku", ended},
		{"expired", expired.field("refreshToken"), "diku", ended},
		{"ended with its user", blocked.field("refreshToken"), "diku", ended},
		{"another tenant's", genuine, "other", refused},
		{"forged", genuine[:20] + "AAAA" + genuine[24:], "diku", refused},
		{"nonsense", "nonsense", "diku", refused},
	} {
		inBody := w.refreshBody(tt.raw, "X-Okapi-Tenant: "+tt.tenant)
		if inBody.status != http.StatusUnprocessableEntity || inBody.body != tt.want || len(inBody.cookies) > 0 {
			t.Errorf("%s in the body: %d %s, %d cookies", tt.name, inBody.status, inBody.body, len(inBody.cookies))
		}
		inCookie := w.refresh("Cookie: folioRefreshToken="+tt.raw, "X-Okapi-Tenant: "+tt.tenant)
		if inCookie.status != http.StatusUnprocessableEntity || inCookie.body != refused {
			t.Errorf("%s in the cookie: %d %s", tt.name, inCookie.status, inCookie.body)
		}
		if cleared := len(inCookie.cookies) > 0; cleared != (tt.want == ended) {
			t.Errorf("%s: cookies cleared %v, and the body says %s", tt.name, cleared, inBody.body)
		}
	}
}

// A browser takes a cookie without SameSite for half a Lax one. Path,
// Max-Age and Expires belong to every cookie, set and cleared alike.
func TestCookiesSayEverythingThatBrowsersGuess(t *testing.T) {
	w := newWorld(t, setup{Policy: func(p *session.Policy) { p.Binding = session.BindingDevice }})
	login := w.web("reader")
	logout := w.do(call{method: "POST", path: "/authn/logout", header: []string{login.cookie(session.RefreshCookie)}})
	shape := regexp.MustCompile(`^\w+=[\w.-]*; Path=/(authn)?; Expires=\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT; Max-Age=\d+; HttpOnly; Secure; SameSite=Lax$`)
	var names []string
	for _, line := range append(login.header["Set-Cookie"], logout.header["Set-Cookie"]...) {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, name)
		if !shape.MatchString(line) {
			t.Errorf("cookie %s", line)
		}
	}
	want := []string{session.AccessCookie, session.RefreshCookie, session.DeviceCookie, session.AccessCookie, session.RefreshCookie}
	if !slices.Equal(names, want) {
		t.Errorf("cookies %v, want %v", names, want)
	}
}

// A link must change nothing, since browsers send the cookies along.
func TestReadingChangesNothing(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.web("reader")
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		for _, path := range []string{"/authn/login", "/authn/login-with-expiry", "/bl-users/login-with-expiry", "/authn/refresh", "/authn/logout", "/authn/logout-all", "/authn/elevate", "/token/sign", "/token"} {
			a := w.do(call{method: method, path: path, header: []string{login.cookie(session.RefreshCookie), login.cookie(session.AccessCookie)}})
			if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" || len(a.cookies) > 0 {
				t.Errorf("%s %s: %d, Allow %q", method, path, a.status, a.header.Get("Allow"))
			}
		}
	}
	if a := w.refresh(login.cookie(session.RefreshCookie)); a.status != http.StatusCreated {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A cookie is cleared with the path that it was set with. mod-login
// forgets the path of the gateway, and the cookie stays.
func TestLogoutBelowAPathEmptiesTheJar(t *testing.T) {
	w := newWorld(t, setup{Prefix: "/okapi"})
	b := w.browser("/okapi")
	b.do("POST", "/authn/login-with-expiry", `{"username":"reader","password":"secret of reader"}`)
	if b.cookie("/authn/refresh", session.RefreshCookie) == "" || b.cookie("/orders", session.AccessCookie) == "" {
		t.Fatal("the cookies did not come back")
	}
	if b.cookie("/orders", session.RefreshCookie) != "" {
		t.Error("the refresh cookie travels further than it must")
	}
	if got := b.jar.Cookies(&url.URL{Scheme: "https", Host: "folio.example.org", Path: "/other"}); len(got) > 0 {
		t.Errorf("outside of the path: %v", got)
	}
	if a := b.do("POST", "/authn/logout", ""); a.status != http.StatusNoContent {
		t.Fatal(a.status)
	}
	if got := b.jar.Cookies(b.url("/authn/refresh")); len(got) > 0 {
		t.Errorf("left in the jar: %v", got)
	}
}

// Three tabs share a jar, refresh when they like, and their answers overtake
// each other. None is logged out.
func TestTabsOfOneBrowserDoNotLogEachOtherOut(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser("")
	b.do("POST", "/authn/login-with-expiry", `{"username":"reader","password":"secret of reader"}`)
	for round := range 6 {
		w.clock.add(10 * time.Minute)
		var answers []answer
		for range 3 {
			answers = append(answers, b.send("POST", "/authn/refresh", ""))
		}
		// While they are on their way, a fourth has its answer already, and
		// asks once more.
		b.keep("/authn/refresh", answers[0])
		w.clock.add(time.Second)
		answers = append(answers, b.send("POST", "/authn/refresh", ""))
		newest := b.cookie("/authn/refresh", session.RefreshCookie)
		for i := range answers {
			a := answers[(i+round)%len(answers)]
			if a.status != http.StatusCreated {
				t.Fatalf("round %d: %d %s", round, a.status, a.body)
			}
			b.keep("/authn/refresh", a)
		}
		if got := b.cookie("/authn/refresh", session.RefreshCookie); got != newest {
			t.Fatalf("round %d: an answer that was overtaken turned the jar back", round)
		}
	}
}

// A tab that was very late is superseded. What is in the jar stays there, and
// the tab's next try heals the strike.
func TestLateTabHealsItsStrike(t *testing.T) {
	w := newWorld(t, setup{})
	b := w.browser("")
	b.do("POST", "/authn/login-with-expiry", `{"username":"reader","password":"secret of reader"}`)
	stuck := "Cookie: folioRefreshToken=" + b.cookie("/authn/refresh", session.RefreshCookie)
	w.clock.add(10 * time.Minute)
	b.do("POST", "/authn/refresh", "")
	b.do("POST", "/authn/refresh", "") // the newest was seen to arrive
	newest := b.cookie("/authn/refresh", session.RefreshCookie)
	w.clock.add(11 * time.Second)
	for n := range session.MaxStrikes {
		late := w.refresh(stuck, "Sec-Fetch-Site: same-origin")
		if late.status != http.StatusUnprocessableEntity || late.field("errors", "parameters", "value") != "superseded" {
			t.Fatalf("%d %s", late.status, late.body)
		}
		b.keep("/authn/refresh", late)
		if b.cookie("/authn/refresh", session.RefreshCookie) != newest || b.cookie("/orders", session.AccessCookie) == "" {
			t.Fatal("the late answer took the cookies away")
		}
		if b.cookie("/authn/refresh", fmt.Sprint(session.HealCookie, (n+1)%session.MaxStrikes)) == "" {
			t.Fatalf("no nonce in slot %d: %v", (n+1)%session.MaxStrikes, late.header["Set-Cookie"])
		}
	}
	w.clock.add(20 * time.Second)
	if a := b.do("POST", "/authn/refresh", ""); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.clock.add(time.Hour)
	if a := b.do("POST", "/authn/refresh", ""); a.status != http.StatusCreated {
		t.Errorf("an hour later: %d %s", a.status, a.body)
	}
	if kinds := w.events(newest); !slices.Contains(kinds, audit.StrikeHealed) {
		t.Errorf("events %v", kinds)
	}
}

// A thief with an old token cannot heal his strike, and too many of them end
// the session at once.
func TestFifthOpenStrikeEndsTheSessionAndClearsCookies(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.web("reader")
	stolen := login.cookie(session.RefreshCookie)
	w.clock.add(10 * time.Minute)
	second := w.refresh(stolen)
	w.refresh(second.cookie(session.RefreshCookie))
	w.clock.add(11 * time.Second)
	for range session.MaxStrikes {
		if a := w.refresh(stolen); a.cookies[session.RefreshCookie] != nil {
			t.Fatal("cookies were touched while the session goes on")
		}
	}
	last := w.refresh(stolen)
	if last.status != http.StatusUnprocessableEntity || len(last.cookies) != 2 || last.cookies[session.RefreshCookie].MaxAge >= 0 {
		t.Fatalf("%d %v", last.status, last.header["Set-Cookie"])
	}
	if a := w.refresh(second.cookie(session.RefreshCookie)); a.status != http.StatusUnprocessableEntity {
		t.Errorf("the session goes on: %d", a.status)
	}
}

// Cookies are never cleared where it is not certain that the session is over.
func TestDoubtfulRefusalsLeaveCookiesAlone(t *testing.T) {
	w := newWorld(t, setup{Policy: func(p *session.Policy) { p.Binding = session.BindingSubnet }})
	login := w.web("reader")
	raw := login.cookies[session.RefreshCookie].Value
	other := "A"
	if raw[50:51] == other {
		other = "B"
	}
	for name, header := range map[string][]string{
		"forged":          {"Cookie: folioRefreshToken=" + raw[:50] + other + raw[51:]},
		"garbage":         {"Cookie: folioRefreshToken=x"},
		"altered at end":  {"Cookie: folioRefreshToken=" + raw[:len(raw)-4] + "AAAA"},
		"another network": {login.cookie(session.RefreshCookie), "Test-Address: 203.0.113.77"},
		"another tenant":  {login.cookie(session.RefreshCookie), "X-Okapi-Tenant: other"},
		"none":            nil,
	} {
		a := w.refresh(header...)
		if a.status != http.StatusUnprocessableEntity && a.status != http.StatusBadRequest || len(a.cookies) > 0 {
			t.Errorf("%s: %d, cookies %v", name, a.status, a.header["Set-Cookie"])
		}
	}
	if a := w.refresh(login.cookie(session.RefreshCookie)); a.status != http.StatusCreated {
		t.Errorf("the session did not survive: %d %s", a.status, a.body)
	}
}
