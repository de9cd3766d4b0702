package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

func TestT45PermissionsTakenInFOLIOHaveNoEffectWithinTTL(t *testing.T) {
	l := openLibrary(t, nil)
	access := l.login().json.AccessToken
	l.orders("GET", access)
	l.folio.Grant("diku", readerID, "orders.sub")
	if got := l.orders("GET", access); got != http.StatusOK {
		t.Errorf("within the TTL: %d", got)
	}
	l.wait(time.Minute)
	if got := l.orders("GET", access); got != http.StatusForbidden {
		t.Errorf("after the TTL: %d", got)
	}
	if got := l.orders("DELETE", access); got != http.StatusOK {
		t.Errorf("what was left: %d", got)
	}
}

func TestT45PermissionsTakenInFOLIOAreForgottenOnDemand(t *testing.T) {
	for _, path := range []string{"/users/reader/memory", "/users/" + readerID + "/memory", "/memory"} {
		l := openLibrary(t, nil)
		access := l.login().json.AccessToken
		l.orders("GET", access)
		l.folio.Grant("diku", readerID, "nothing")
		if got := l.ask("DELETE", "/counterfoil/tenants/diku"+path, nil); got.status != http.StatusNoContent {
			t.Fatalf("%s answered %d %s", path, got.status, got.body)
		}
		if got := l.orders("GET", access); got != http.StatusForbidden {
			t.Errorf("after %s: %d", path, got)
		}
	}
}

func TestT65DeactivatedInFOLIOSessionsEndForGood(t *testing.T) {
	for name, notice := range map[string]func(*library, *reply) int{
		"on a request": func(l *library, in *reply) int { return l.orders("GET", in.json.AccessToken) },
		"on a refresh": func(l *library, in *reply) int { return l.refresh(in.json.RefreshToken).status },
	} {
		t.Run(name, func(t *testing.T) {
			l := openLibrary(t, nil)
			first, second := l.login(), l.login()
			l.folio.SetActive("diku", readerID, false)
			l.wait(time.Minute)
			if got := notice(l, first); got != http.StatusUnauthorized && got != http.StatusUnprocessableEntity {
				t.Errorf("inactive: %d", got)
			}
			// Active again: the old sessions stay over, all of them.
			l.folio.SetActive("diku", readerID, true)
			l.wait(time.Minute)
			for _, in := range []*reply{first, second} {
				if got := l.orders("GET", in.json.AccessToken); got != http.StatusUnauthorized {
					t.Errorf("an access token from before: %d", got)
				}
				if got := l.refresh(in.json.RefreshToken); got.status != http.StatusUnprocessableEntity {
					t.Errorf("a refresh token from before: %d", got.status)
				}
			}
			events, err := l.Store().Events(t.Context(), session.EventFilter{Tenant: "diku", UserID: readerID, Kind: audit.UserDeactivated})
			if err != nil || len(events) == 0 {
				t.Errorf("nobody learns why: %v, %v", events, err)
			}
			if got := l.orders("GET", l.login().json.AccessToken); got != http.StatusOK {
				t.Errorf("logged in anew: %d", got)
			}
		})
	}
}

func TestT65DeletedInFOLIOUsersAreRefused(t *testing.T) {
	l := openLibrary(t, nil)
	in := l.login()
	l.folio.RemoveUser("diku", readerID)
	l.wait(time.Minute)
	if got := l.orders("GET", in.json.AccessToken); got != http.StatusUnauthorized {
		t.Errorf("a request: %d", got)
	}
	got := l.refresh(in.json.RefreshToken)
	if got.status != http.StatusUnprocessableEntity || len(got.cookies) != 0 {
		t.Errorf("a refresh: %d %v", got.status, got.cookies)
	}
	// An empty answer by mistake has ended nothing.
	l.folio.AddUser("diku", foliotest.User{ID: readerID, Username: "reader", Active: foliotest.Active(true)})
	if got := l.orders("GET", in.json.AccessToken); got != http.StatusOK {
		t.Errorf("back again: %d", got)
	}
}

// askedForNobody is what is asked after a name or an id that nobody has.
const askedForNobody = `id=="00000000-0000-0000-0000-000000000000"`

func TestT38ALoginNameCannotBecomeAQuery(t *testing.T) {
	l := openLibrary(t, nil)
	for _, name := range []string{"*", "read*", "reade?", `" or id=*`, `x" or username=="reader`, `reader" or id=="` + readerID, `\`, `r*`} {
		l.folio.Forget()
		got := l.post("/authn/login", map[string]string{"username": name, "password": readerPW}, "X-Okapi-Tenant", "diku")
		if got.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d %s", name, got.status, got.body)
		}
		for _, asked := range l.folio.Requests(foliotest.Users) {
			if q := asked.Query("query"); q != askedForNobody && (!strings.HasPrefix(q, `username=="`) || !strings.HasSuffix(q, `"`)) {
				t.Errorf("%q was asked as %s", name, q)
			}
		}
	}
	l.folio.AddUser("diku", foliotest.User{ID: "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007", Username: "other", Active: foliotest.Active(true)})
	l.folio.Misbehave(foliotest.Users, foliotest.AnswersWith(foliotest.User{ID: readerID, Username: "reader", Active: foliotest.Active(true)}))
	if got := l.post("/authn/login", map[string]string{"username": "other", "password": readerPW}, "X-Okapi-Tenant", "diku"); got.status < 400 {
		t.Errorf("another user's password let in %d %s", got.status, got.body)
	}
}

func TestT39AUserIDCannotBecomeAPath(t *testing.T) {
	l := openLibrary(t, nil)
	access := l.login().json.AccessToken
	l.folio.Forget()
	for _, id := range []string{"../perms/users?x=", "..%2f..%2fperms", `" or id=*`} {
		got := l.post("/authn/login", map[string]string{"userId": id, "password": readerPW}, "X-Okapi-Tenant", "diku")
		if got.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %d", id, got.status)
		}
		_, err := l.send("GET", l.URL(server.Public)+"/orders", nil, "X-Okapi-Token", access, "X-Okapi-Tenant", "diku", "X-Okapi-User-Id", id)
		l.must(err)
	}
	for _, asked := range l.folio.Requests("") {
		if q := asked.Query("query"); asked.Path != "/users" && asked.Path != "/perms/users/"+readerID+"/permissions" || q != "" && q != `id=="`+readerID+`"` && q != askedForNobody {
			t.Errorf("asked for %s?%s", asked.Path, asked.RawQuery)
		}
	}
}

func TestT40NoHeaderSaysWhereUsersAreAskedFor(t *testing.T) {
	l := openLibrary(t, nil)
	canary := foliotest.Start(t, "diku")
	evil := []string{
		"X-Okapi-Url", canary.URL, "X-Okapi-Url-To", canary.URL, "X-Forwarded-Host", strings.TrimPrefix(canary.URL, "http://"),
		"Forwarded", "host=" + strings.TrimPrefix(canary.URL, "http://"),
	}
	in := l.login(evil...)
	l.wait(time.Minute)
	l.post("/authn/refresh", map[string]string{"refreshToken": in.json.RefreshToken}, evil...)
	for _, listener := range []string{server.Public, server.Internal} {
		got, err := l.send("GET", l.URL(listener)+"/orders", nil, append(evil, "X-Okapi-Token", in.json.AccessToken, "X-Okapi-Tenant", "diku")...)
		l.must(err)
		if got.status != http.StatusOK || !strings.Contains(string(got.body), l.URL(server.Internal)) {
			t.Errorf("%s: %d %s", listener, got.status, got.body)
		}
	}
	if got := canary.Requests(""); len(got) != 0 {
		t.Errorf("the canary was asked %+v", got)
	}
}

func TestT34KnownAndUnknownNamesCostFOLIOTheSame(t *testing.T) {
	l := openLibrary(t, nil)
	l.folio.AddUser("diku", foliotest.User{ID: "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007", Username: "inactive"})
	for _, name := range []string{"reader", "nobody", "inactive"} {
		l.folio.Forget()
		if got := l.post("/authn/login", map[string]string{"username": name, "password": "wrong"}, "X-Okapi-Tenant", "diku"); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", name, got.status)
		}
		if n := len(l.folio.Requests("")); n != 2 {
			t.Errorf("%s: %d questions, want 2", name, n)
		}
	}
}
