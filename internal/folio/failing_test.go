package folio_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// One answer that is no success ends the session of a Stripes user, so 503 is
// the last resort. It tells when to come again and leaves all cookies alone.
func TestStoreThatIsAwayIs503(t *testing.T) {
	w := newWorld(t, setup{})
	login := w.web("reader")
	w.must(w.store.Close())
	for _, c := range []call{
		{path: "/authn/refresh", header: []string{login.cookie(session.RefreshCookie)}},
		{path: "/authn/logout", header: []string{login.cookie(session.RefreshCookie)}},
		{path: "/authn/logout-all", header: []string{login.cookie(session.RefreshCookie)}},
		{path: "/authn/login", header: []string{"X-Okapi-Tenant: diku", jsonType}, body: `{"username":"reader","password":"secret of reader"}`},
	} {
		t.Run(c.path, func(t *testing.T) {
			// The service waits for the store as long as the client does.
			ctx, done := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer done()
			r := httptest.NewRequestWithContext(ctx, "POST", c.path, strings.NewReader(c.body))
			for _, line := range c.header {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Set(name, value)
			}
			recorder := httptest.NewRecorder()
			w.public.ServeHTTP(recorder, r)
			a := w.read(recorder.Result())
			if a.status != http.StatusServiceUnavailable || a.code() != "service.unavailable" || a.header.Get("Retry-After") != "3" {
				t.Errorf("%d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
			}
			if len(a.cookies) > 0 {
				t.Errorf("cookies %v", a.header["Set-Cookie"])
			}
		})
	}
}

// mod-users-bl leaves a session behind that nobody holds, when it cannot read
// the user's permissions after the login.
func TestLoginThatFailsHalfWayLeavesNoSession(t *testing.T) {
	w := newWorld(t, setup{})
	w.sessions.Users = withoutGrants{w.store}
	a := w.do(call{
		method: "POST", path: "/bl-users/login-with-expiry", header: []string{"X-Okapi-Tenant: diku", jsonType},
		body: `{"username":"reader","password":"secret of reader"}`,
	})
	if a.status != http.StatusServiceUnavailable || len(a.cookies) > 0 {
		t.Fatalf("%d %s, cookies %v", a.status, a.body, a.header["Set-Cookie"])
	}
	page, err := w.sessions.List(t.Context(), session.Filter{Tenant: "diku", UserID: readerID})
	w.must(err)
	if len(page.Sessions) != 1 || page.Sessions[0].RevokedAt.IsZero() {
		t.Errorf("sessions %+v, want one that is over", page.Sessions)
	}
}

type withoutGrants struct{ directory.Source }

func (withoutGrants) Grants(context.Context, string, string) (directory.Grants, error) {
	return directory.Grants{}, errors.New("no answer")
}

// Threat: a flood of logins takes all memory and the refreshes of those who
// are logged in along with it.
func TestTooManyLoginsAtOnceAre503(t *testing.T) {
	w := newWorld(t, setup{})
	kept := w.script("reader")
	w.sessions.Passwords = &credential.Hasher{Concurrent: 1, Queue: -1}
	// Each is a stranger with a name of his own: what is refused is the work, and
	// not the name or the address.
	const callers = 12
	next := make(chan call, callers)
	for i := range callers {
		next <- call{
			method: "POST", path: "/authn/login", header: []string{"X-Okapi-Tenant: diku", jsonType, w.stranger()},
			body: fmt.Sprintf(`{"username":"nobody-%d","password":"x"}`, i),
		}
	}
	byStatus := map[int]int{}
	for _, a := range together(callers, func() answer { return w.do(<-next) }) {
		byStatus[a.status]++
		if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	if byStatus[503] == 0 || byStatus[422] == 0 || byStatus[503]+byStatus[422] != callers {
		t.Errorf("answers %v, want some 422 and the others 503", byStatus)
	}
	if a := w.refreshBody(kept.field("refreshToken")); a.status != http.StatusCreated {
		t.Errorf("refresh: %d", a.status)
	}
}

// A client that left is no fault of ours, and must not look like one to whoever
// watches the service.
func TestClientThatLeftIsNoFault(t *testing.T) {
	w := newWorld(t, setup{})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, "POST", "/authn/login", strings.NewReader(`{"username":"reader","password":"x"}`))
	r.Header.Set("X-Okapi-Tenant", "diku")
	r.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	w.public.ServeHTTP(recorder, r)
	if recorder.Code != 499 {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}

func BenchmarkRefresh(b *testing.B) {
	w := newWorld(b, setup{Policy: exact})
	login := w.script("reader")
	raw := login.field("refreshToken")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/authn/refresh", strings.NewReader(fmt.Sprintf(`{"refreshToken":%q}`, raw)))
		r.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		w.public.ServeHTTP(recorder, r)
		_, after, _ := strings.Cut(recorder.Body.String(), `"refreshToken":"`)
		raw, _, _ = strings.Cut(after, `"`)
		if recorder.Code != http.StatusCreated {
			b.Fatal(recorder.Code)
		}
	}
}
