package folio_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

const linkBase = "https://ui.example.org/reset-password/"

// link has a link made by somebody who may, and returns its token.
func (w *world) link(userID string, header ...string) string {
	w.t.Helper()
	a := w.ask("POST", "/bl-users/password-reset/link", `{"userId":"`+userID+`"}`, append(header, w.lent("users-bl.password-reset-link.generate"))...)
	return w.tokenIn(a.field("link"))
}

func (w *world) tokenIn(link string) string {
	w.t.Helper()
	rest, ok := strings.CutPrefix(link, linkBase)
	raw, query, _ := strings.Cut(rest, "?")
	if !ok || query != "tenant=diku" || !strings.HasPrefix(raw, "cfpl_") {
		w.t.Fatalf("link %q", link)
	}
	return raw
}

func (w *world) validate(raw string) answer {
	w.t.Helper()
	return w.ask("POST", "/bl-users/password-reset/validate", "", "X-Okapi-Token: "+raw)
}

func (w *world) reset(raw, password string) answer {
	w.t.Helper()
	return w.ask("POST", "/bl-users/password-reset/reset", `{"newPassword":"`+password+`"}`, "X-Okapi-Token: "+raw)
}

// notified is what a notification module was told.
func notified(t *testing.T, one asked) (event, recipient string, context map[string]any) {
	t.Helper()
	var n struct {
		Event     string         `json:"eventConfigName"`
		Recipient string         `json:"recipientId"`
		Context   map[string]any `json:"context"`
	}
	if err := json.Unmarshal([]byte(one.body), &n); err != nil {
		t.Fatal(err)
	}
	return n.Event, n.Recipient, n.Context
}

func withNotify(t *testing.T, status int) (*world, *office) {
	notify := newOffice(status, `{}`)
	return newWorld(t, setup{Modules: map[string]http.HandlerFunc{"/notify": notify.serve}}), notify
}

func TestChecklistOfPasswordLinks(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"7.5-09 who has forgotten the password is sent a link, whatever the user calls it": func(t *testing.T) {
			for _, who := range []string{adminID, "diku_admin", "DIKU_ADMIN", "Admin@Example.org"} {
				w, notify := withNotify(t, 201)
				w.ask("POST", "/bl-users/forgotten/password", `{"id":"`+who+`"}`).want(t, 204, "")
				event, recipient, context := notified(t, <-notify.heard)
				if event != "RESET_PASSWORD_EVENT" || recipient != adminID {
					t.Errorf("%s: %s to %s", who, event, recipient)
				}
				w.reset(w.tokenIn(fmt.Sprint(context["link"])), newPassword).want(t, 204, "")
			}
		},
		"7.5-09 who has forgotten the name is sent it": func(t *testing.T) {
			w, notify := withNotify(t, 201)
			w.ask("POST", "/bl-users/forgotten/username", `{"id":"admin@example.org"}`).want(t, 204, "")
			event, _, context := notified(t, <-notify.heard)
			if event != "USERNAME_LOCATED_EVENT" || context["user"].(map[string]any)["username"] != "diku_admin" || context["link"] != nil {
				t.Errorf("%s %v", event, context)
			}
		},
		"7.5-11 a link is validated as often as its page is loaded": func(t *testing.T) {
			w := newWorld(t, setup{})
			raw := w.link(readerID)
			w.validate(raw).want(t, 204, "")
			w.validate(raw).want(t, 204, "")
			for _, bad := range []string{"", "x", raw[:len(raw)-1], raw + "A", strings.ToUpper(raw), w.moduleToken("diku", readerID, "users-bl.all")} {
				if a := w.validate(bad); a.status != 422 || a.code() != "link.invalid" {
					t.Errorf("%.10s: %d %s", bad, a.status, a.body)
				}
			}
			other := w.link(adminID)
			mixed := raw[:len("cfpl_")+22] + other[len("cfpl_")+22:] // the id of one, the secret of another
			if a := w.validate(mixed); a.status != 422 {
				t.Errorf("two halves: %d %s", a.status, a.body)
			}
			_, err := w.sessions.DeleteUser(t.Context(), "diku", adminID)
			w.must(err)
			if a := w.validate(other); a.status != 422 {
				t.Errorf("user gone: %d %s", a.status, a.body)
			}
			w.clock.add(15 * time.Minute)
			if a := w.validate(raw); a.code() != "link.expired" {
				t.Errorf("expired: %d %s", a.status, a.body)
			}
			if a := w.reset(raw, newPassword); a.status != 422 || a.code() != "link.expired" {
				t.Errorf("expired: %d %s", a.status, a.body)
			}
		},
		"7.5-12 a link sets a password once": func(t *testing.T) {
			w, notify := withNotify(t, 201)
			session := w.web("reader")
			raw := w.link(readerID)
			<-notify.heard
			if a := w.reset(raw, "short"); a.status != 422 || a.code() != "password.not.accepted" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a := w.reset(raw, ""); a.status != 422 {
				t.Errorf("%d %s", a.status, a.body)
			}
			w.reset(raw, newPassword).want(t, 204, "")
			if event, recipient, _ := notified(t, <-notify.heard); event != "PASSWORD_CHANGED_EVENT" || recipient != readerID {
				t.Errorf("%s to %s", event, recipient)
			}
			w.refresh(session.cookie("folioRefreshToken")).want(t, 422, "")
			if old, fresh := w.tryLogin("reader", "secret of reader"), w.tryLogin("reader", newPassword); old != 422 || fresh != 201 {
				t.Errorf("old password %d, new one %d", old, fresh)
			}
			for _, a := range []answer{w.validate(raw), w.reset(raw, newPassword+"!")} {
				if a.status != 422 || a.code() != "link.used" {
					t.Errorf("used: %d %s", a.status, a.body)
				}
			}
		},
		"7.5-13 a link leads where the operator said and is sent to its user": func(t *testing.T) {
			w, notify := withNotify(t, 201)
			raw := w.link(readerID)
			all := notify.all()
			if len(all) != 1 {
				t.Fatalf("%d notifications", len(all))
			}
			event, recipient, context := notified(t, all[0])
			if event != "RESET_PASSWORD_EVENT" || recipient != readerID || context["link"] != linkBase+raw+"?tenant=diku" ||
				context["forgotPasswordLink"] != "https://ui.example.org/forgot-password" || context["expirationTime"] != "15" {
				t.Errorf("%s to %s: %v", event, recipient, context)
			}
			bare := "00000000-0000-4000-8000-00000000dead"
			w.must(w.sessions.CreateUser(t.Context(), directory.User{ID: bare, Tenant: "diku", Username: "bare", Active: true}, directory.Grants{}, ""))
			w.link(bare)
			if event, _, _ := notified(t, notify.all()[1]); event != "CREATE_PASSWORD_EVENT" {
				t.Errorf("%s for a first password", event)
			}
			a := w.ask("POST", "/bl-users/password-reset/link", `{"userId":"`+otherID+`"}`, w.lent("users-bl.all"))
			if a.status != 422 || a.code() != "user.not-found" {
				t.Errorf("user of another tenant: %d %s", a.status, a.body)
			}
			failing, _ := withNotify(t, 500)
			failing.link(readerID)
			alone := newWorld(t, setup{})
			alone.link(readerID)
		},
	} {
		t.Run(name, test)
	}
}

// T-66: whoever sends a request chooses its Host, and must not choose where
// the token of a link goes.
func TestT66LinksLeadWhereTheOperatorSaid(t *testing.T) {
	w, notify := withNotify(t, 201)
	w.link(readerID, "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Proto: http", "Origin: http://folio.example.org",
		"X-Okapi-Url: https://evil.example", "Referer: https://evil.example/")
	r := httptest.NewRequest("POST", "http://evil.example/bl-users/forgotten/password", strings.NewReader(`{"id":"reader"}`))
	r.Host = "evil.example"
	r.Header.Set("X-Okapi-Tenant", "diku")
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	w.public.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusNoContent {
		t.Fatalf("%d %s", recorder.Code, recorder.Body)
	}
	for range 2 {
		if one := <-notify.heard; strings.Contains(one.body, "evil") {
			t.Errorf("told %s", one.body)
		}
	}
}

// T-66: of fifty that use a link at once, one sets the password.
func TestT66FiftyUsesOfOneLinkSetOnePassword(t *testing.T) {
	w := newWorld(t, setup{})
	raw := w.link(readerID)
	var set, used atomic.Int32
	var group sync.WaitGroup
	for n := range 50 {
		address := w.stranger()
		group.Go(func() {
			a := w.do(call{
				method: "POST", path: "/bl-users/password-reset/reset", body: `{"newPassword":"` + numbered(n) + `"}`,
				header: []string{"X-Okapi-Tenant: diku", "X-Okapi-Token: " + raw, jsonType, address},
			})
			switch {
			case a.status == http.StatusNoContent:
				set.Add(1)
			case a.code() == "link.used":
				used.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	group.Wait()
	if set.Load() != 1 || used.Load() != 49 {
		t.Errorf("%d set the password, %d heard that the link was used", set.Load(), used.Load())
	}
	events, err := w.store.Events(t.Context(), sessionEvents(audit.PasswordReset))
	w.must(err)
	if len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}

// T-66: a link of one tenant, and the action of a module, are no links here.
func TestT66OtherRightsAreNoLinks(t *testing.T) {
	w := newWorld(t, setup{})
	raw := w.link(readerID)
	a := w.do(call{method: "POST", path: "/bl-users/password-reset/validate", header: []string{"X-Okapi-Tenant: other", "X-Okapi-Token: " + raw, w.stranger()}})
	if a.status != 422 || a.code() != "link.used" {
		t.Errorf("in another tenant: %d %s", a.status, a.body)
	}
	a = w.do(call{method: "POST", path: "/bl-users/password-reset/validate", header: []string{"X-Okapi-Tenant: diku", "X-Okapi-Token: " + raw, "X-Okapi-Token: x", w.stranger()}})
	if a.code() != "link.invalid" {
		t.Errorf("two tokens: %d %s", a.status, a.body)
	}
	// A module that may use actions must not use those of links, nor replace
	// their secret by knowing their id.
	action := w.actionOf(readerID)
	w.ask("POST", "/authn/reset-password", `{"passwordResetActionId":"`+action+`","newPassword":"`+newPassword+`"}`, w.lent("login.all")).want(t, 400, "Password action")
	w.reset(raw, newPassword).want(t, 204, "")
	// A link is no token for anything else.
	for _, path := range []string{"/bl-users/_self", "/authn/sessions/_self"} {
		w.ask("GET", path, "", "X-Okapi-Token: "+raw).want(t, 401, "")
	}
}

// actionOf is the id of the action behind a link, which is in its token.
func (w *world) actionOf(userID string) string {
	w.t.Helper()
	var id string
	for _, e := range w.all(audit.PasswordLink) {
		if e.UserID == userID {
			id = e.Detail["action"]
		}
	}
	return id
}

func (w *world) all(kind audit.Kind) []audit.Event {
	w.t.Helper()
	events, err := w.store.Events(w.t.Context(), sessionEvents(kind))
	w.must(err)
	return events
}

// T-33: whoever asks for a forgotten password or name hears the same whoever
// exists, and before anything is looked up; so does who is refused.
func TestT33ForgottenAnswersAreAlikeAndComeBeforeTheLookUp(t *testing.T) {
	w, notify := withNotify(t, 201)
	for _, path := range []string{"/bl-users/forgotten/password", "/bl-users/forgotten/username"} {
		var first *answer
		for _, who := range []string{"diku_admin", "nobody", "blocked", `x" or username==*`, readerID, otherID, "\\u0000"} {
			a := w.ask("POST", path, `{"id":"`+strings.ReplaceAll(who, `"`, `\"`)+`"}`)
			if first == nil {
				first = &a
			}
			if a.status != 204 || a.body != "" || fmt.Sprint(a.header) != fmt.Sprint(first.header) {
				t.Errorf("%s for %s: %d %s %v", path, who, a.status, a.body, a.header)
			}
		}
	}
	told := map[string]bool{}
	for range 4 { // the two who exist and are active, for each path
		_, recipient, _ := notified(t, <-notify.heard)
		told[recipient] = true
	}
	if !told[adminID] || !told[readerID] || len(told) != 2 {
		t.Errorf("told %v", told)
	}
	// With the store away nothing could be looked up, and the answer is the same.
	w.must(w.store.Close())
	w.ask("POST", "/bl-users/forgotten/password", `{"id":"diku_admin"}`).want(t, 204, "")
}

// T-31: nobody's mailbox is filled, and who asks a lot is told to wait.
func TestT31ForgottenPasswordsAreLimited(t *testing.T) {
	w, notify := withNotify(t, 201)
	for range 10 {
		w.ask("POST", "/bl-users/forgotten/password", `{"id":"reader"}`).want(t, 204, "")
	}
	w.ask("POST", "/bl-users/forgotten/password", `{"id":"diku_admin"}`).want(t, 204, "") // the last that is worked on
	sent := map[string]int{}
	for {
		_, recipient, _ := notified(t, <-notify.heard)
		if sent[recipient]++; recipient == adminID {
			break
		}
	}
	if sent[readerID] != 3 {
		t.Errorf("%d messages to one user, want 3", sent[readerID])
	}
	limited := false
	for range 30 {
		a := w.do(call{
			method: "POST", path: "/bl-users/password-reset/validate",
			header: []string{"X-Okapi-Tenant: diku", "X-Okapi-Token: cfpl_guess", "Test-Address: 198.51.100.9"},
		})
		limited = a.status == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("thirty guesses at links from one address, and no limit")
	}
}

// T-36: types are not converted, and what stands twice is refused.
func TestT36TypeConfusionIsRefused(t *testing.T) {
	w := newWorld(t, setup{})
	raw := w.link(readerID)
	may := w.lent("login.all", "users-bl.all")
	for path, members := range map[string][]string{
		"/authn/credentials":                    {"userId", "username", "password"},
		"/authn/update":                         {"username", "userId", "password", "newPassword"},
		"/authn/password/repeatable":            {"password", "userId"},
		"/authn/password-reset-action":          {"id", "userId", "expirationTime"},
		"/authn/reset-password":                 {"passwordResetActionId", "newPassword"},
		"/bl-users/password-reset/link":         {"userId"},
		"/bl-users/password-reset/reset":        {"newPassword"},
		"/bl-users/forgotten/password":          {"id"},
		"/bl-users/forgotten/username":          {"id"},
		"/bl-users/settings/myprofile/password": {"username", "password", "newPassword"},
	} {
		for _, member := range members {
			for _, value := range []string{`["x"]`, `{"$ne":""}`, `1`, `true`, `"x","` + member + `":"y"`} {
				token := may
				if strings.HasSuffix(path, "/reset") {
					token = "X-Okapi-Token: " + raw
				}
				if a := w.ask("POST", path, `{"`+member+`":`+value+`}`, token); a.status != http.StatusBadRequest {
					t.Errorf("%s with %s %s: %d %s", path, member, value, a.status, a.body)
				}
			}
		}
		if a := w.do(call{method: "POST", path: path, body: "id=x", header: []string{"X-Okapi-Tenant: diku", "Content-Type: application/x-www-form-urlencoded", may}, internal: true}); a.status != 415 && a.status != 422 {
			t.Errorf("%s takes a form: %d", path, a.status)
		}
	}
	w.validate(raw).want(t, 204, "")
}

// Without a page that sets passwords no link is made.
func TestWithoutAPageNoLinkIsMade(t *testing.T) {
	w := newWorld(t, setup{NoLinks: true})
	a := w.ask("POST", "/bl-users/password-reset/link", `{"userId":"`+readerID+`"}`, w.lent("users-bl.all"))
	if a.status != http.StatusNotImplemented || a.code() != "link.not-configured" {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.ask("POST", "/bl-users/forgotten/password", `{"id":"reader"}`).want(t, 204, "")
	if n := len(w.all(audit.PasswordLink)); n != 0 {
		t.Errorf("%d links", n)
	}
}
