package folio_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/audit"
)

func TestSignIsBounded(t *testing.T) {
	w := newWorld(t, setup{})
	token := "X-Okapi-Token: " + w.moduleToken("diku", adminID, "auth.token.sign.post")
	names := func(n int, name string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("%q", name+fmt.Sprint(i))
		}
		return strings.Join(list, ",")
	}
	for name, test := range map[string]struct {
		payload string
		want    int
	}{
		"longest subject":      {`{"dummy":true,"sub":"` + strings.Repeat("x", 255) + `"}`, 201},
		"longer subject":       {`{"dummy":true,"sub":"` + strings.Repeat("x", 256) + `"}`, 400},
		"most permissions":     {`{"dummy":true,"sub":"x","extra_permissions":[` + names(50, "a.b") + `]}`, 201},
		"more permissions":     {`{"dummy":true,"sub":"x","extra_permissions":[` + names(51, "a.b") + `]}`, 400},
		"too long together":    {`{"dummy":true,"sub":"x","extra_permissions":[` + names(50, strings.Repeat("a", 250)) + `]}`, 400},
		"null for permissions": {`{"dummy":true,"sub":"x","extra_permissions":null}`, 201},
		"no payload":           {`null`, 400},
		"text for payload":     {`"x"`, 400},
		"name without id":      {`{"sub":"reader"}`, 400},
		"id for name":          {`{"sub":"` + readerID + `","user_id":"` + readerID + `"}`, 201},
		"name in other case":   {`{"sub":"Reader","user_id":"` + readerID + `"}`, 201},
		"unknown id":           {`{"sub":"reader","user_id":"00000000-0000-4000-8000-000000000000"}`, 400},
		"id that is none":      {`{"sub":"reader","user_id":"../users"}`, 400},
	} {
		a := w.do(call{method: "POST", path: "/token/sign", internal: true, header: []string{token, jsonType}, body: `{"payload":` + test.payload + `}`})
		if a.status != test.want {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, test.want)
		}
	}
}

// The session belongs to the user; the request, and its line in the log, stay
// the module's.
func TestSignedSessionIsTheUsers(t *testing.T) {
	w := newWorld(t, setup{})
	actor := &audit.Actor{Kind: "module", Name: "mod-login-saml-2.10.4"}
	ctx := audit.WithActor(context.Background(), actor)
	tokens, err := w.sessions.SignFor(ctx, "diku", readerID, "reader")
	w.must(err)
	if row := w.row(tokens.Refresh); row.UserID != readerID || row.Username != "reader" {
		t.Errorf("session of %s", row.Username)
	}
	if actor.Kind != "module" || actor.Name != "mod-login-saml-2.10.4" {
		t.Errorf("the request's actor became %s %s", actor.Kind, actor.Name)
	}
}

// Threat: a module without a user ends the sessions of everybody, or of nobody
// and says it did.
func TestInvalidateAllNeedsAUser(t *testing.T) {
	w := newWorld(t, setup{})
	kept := w.script("reader")
	a := w.do(call{method: "POST", path: "/token/invalidate-all", internal: true, header: []string{"X-Okapi-Token: " + w.moduleToken("diku", "", "x")}})
	if a.status != http.StatusUnauthorized || a.body != "Invalid token" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.refreshBody(kept.field("refreshToken")); a.status != http.StatusCreated {
		t.Errorf("refresh: %d", a.status)
	}
}

// A panic while a handler mounts is the only way in which two patterns can
// overlap unnoticed, and the gateway's routes come beside ours.
func TestPatternsLeaveRoomForModules(t *testing.T) {
	w := newWorld(t, setup{})
	for path, want := range map[string]int{
		"/authn/credential": http.StatusNotFound, "/authn/updates": http.StatusNotFound, "/bl-users/login": http.StatusNotFound, "/tokens": http.StatusNotFound,
		"/token/": http.StatusNotFound, "/bl-users/by-id/x": http.StatusNotFound, "/authn/sessionsx": http.StatusNotFound,
	} {
		recorder := httptest.NewRecorder()
		w.public.ServeHTTP(recorder, httptest.NewRequest("POST", path, nil))
		if recorder.Code != want || recorder.Header().Get("Cache-Control") != "" {
			t.Errorf("%s: %d, and it is ours", path, recorder.Code)
		}
	}
}
