package client_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
)

// folio is a plain FOLIO as its sources have it: mod-login with mod-authtoken
// behind Okapi, below the path /okapi. A refresh token works once, and a
// second use ends every session of the user.
type folio struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	access  map[string]time.Time // until when; zero for ever
	refresh map[string]bool      // whether it was used or revoked
	offset  time.Duration
	old     bool // has no login-with-expiry
	reused  int
	logins  int
	renewed int
	// before runs before a refresh is served, and may do so instead.
	before func(w http.ResponseWriter) (served bool)
	lose   bool
	// keycloak is the variant that logs nobody out without an access token.
	keycloak bool
}

const folioTTL = 10 * time.Minute

func newFOLIO(t *testing.T) *folio {
	f := &folio{t: t, access: map[string]time.Time{}, refresh: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /okapi/authn/login-with-expiry", f.login)
	mux.HandleFunc("POST /okapi/authn/login", f.legacyLogin)
	mux.HandleFunc("POST /okapi/authn/refresh", f.doRefresh)
	mux.HandleFunc("POST /okapi/authn/logout", f.logout)
	mux.HandleFunc("GET /okapi/users", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Okapi-Token") == "" {
			http.Error(w, "Token missing, access requires permission: users.collection.get", http.StatusBadRequest)
		}
	})
	f.Server = httptest.NewServer(f.filter(mux))
	t.Cleanup(f.Close)
	return f
}

func (f *folio) now() time.Time { return time.Now().Add(f.offset) }

func (f *folio) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset += d
}

// filter is what Okapi does with the token of any request, log-in included.
func (f *folio) filter(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		w.Header().Set("Date", f.now().UTC().Format(http.TimeFormat))
		token := r.Header.Get("X-Okapi-Token")
		if c, err := r.Cookie("folioAccessToken"); err == nil {
			if token != "" && token != c.Value {
				f.t.Error("different tokens in header and cookie")
			}
			token = c.Value
		}
		until, known := f.access[token]
		bad := token != "" && (!known || !until.IsZero() && !f.now().Before(until))
		f.mu.Unlock()
		if r.Header.Get("X-Okapi-Tenant") != "diku" {
			http.Error(w, "No such Tenant", http.StatusBadRequest)
			return
		}
		if bad {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, "Invalid token")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *folio) login(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old {
		http.NotFound(w, nil)
		return
	}
	f.logins++
	f.grant(w)
}

func (f *folio) legacyLogin(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins++
	access := "legacy." + rand.Text() + ".s"
	f.access[access] = time.Time{}
	w.Header().Set("x-okapi-token", access)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"okapiToken":%q}`, access)
}

func (f *folio) grant(w http.ResponseWriter) {
	access, refresh, now := "a."+rand.Text()+".s", "j."+rand.Text()+"...w", f.now()
	f.access[access] = now.Add(folioTTL)
	f.refresh[refresh] = false
	w.Header().Add("Set-Cookie", "folioAccessToken="+access+"; Max-Age=600; Expires="+now.Add(folioTTL).UTC().Format(http.TimeFormat)+"; Path=/okapi/; Secure; HTTPOnly; SameSite=Lax")
	w.Header().Add("Set-Cookie", "folioRefreshToken="+refresh+"; Max-Age=604800; Path=/okapi/authn; Secure; HTTPOnly; SameSite=Lax")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"accessTokenExpiration":%q,"refreshTokenExpiration":%q}`, now.Add(folioTTL).UTC().Format(time.RFC3339), now.Add(7*24*time.Hour).UTC().Format(time.RFC3339))
}

func (f *folio) doRefresh(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.before != nil && f.before(w) {
		return
	}
	c, err := r.Cookie("folioRefreshToken")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"message":"Bad request","type":"error","code":"token.parse.failure"}]}`)
		return
	}
	if used, known := f.refresh[c.Value]; !known || used {
		f.reused++
		for token := range f.refresh {
			f.refresh[token] = true
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"errors":[{"message":"Authorization server unable to process token refresh request","type":"error","code":"token.refresh.unprocessable"}]}`)
		return
	}
	f.refresh[c.Value] = true
	f.renewed++
	if f.lose {
		f.lose = false
		panic(http.ErrAbortHandler)
	}
	f.grant(w)
}

func (f *folio) logout(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Cookie") == "" {
		f.t.Error("a logout without cookie ends all sessions of the user")
	}
	c, err := r.Cookie("folioRefreshToken")
	if err != nil {
		http.Error(w, "Internal Server error", http.StatusInternalServerError)
		return
	}
	if _, err := r.Cookie("folioAccessToken"); err != nil && f.keycloak {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"errors":[{"message":"cannot log out","type":"error","code":"token.logout.unprocessable"}]}`)
		return
	}
	f.refresh[c.Value] = true
	w.WriteHeader(http.StatusNoContent)
}

func (f *folio) session() *client.Session {
	return &client.Session{
		BaseURL: f.URL + "/okapi/", Tenant: "diku", Login: client.FOLIOPassword{Username: "reader", Password: "secret"},
		Now: func() time.Time {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.now()
		},
	}
}

func (f *folio) users(s *client.Session) error {
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	c := http.Client{Transport: &client.Transport{Session: s, Base: base}}
	return finish(c.Get(f.URL + "/okapi/users"))
}

// check compares how often there was a login, a refresh and a reuse.
func (f *folio) check(logins, renewed, reused int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.logins != logins || f.renewed != renewed || f.reused != reused {
		f.t.Errorf("%d logins, %d refreshes, %d reuses; want %d, %d, %d", f.logins, f.renewed, f.reused, logins, renewed, reused)
	}
}

func TestFOLIOSeesNoTokenTwice(t *testing.T) {
	f := newFOLIO(t)
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	var sessions []*client.Session
	for range 3 {
		s := f.session()
		s.Store = store
		sessions = append(sessions, s)
	}
	for range 6 {
		together(t, 10, func() error {
			var err error
			for _, s := range sessions {
				err = errors.Join(err, f.users(s))
			}
			return err
		})
		f.advance(folioTTL)
	}
	f.check(1, 5, 0)
}

func TestFOLIOThatLosesTheAnswer(t *testing.T) {
	f := newFOLIO(t)
	innocent, s := f.session(), f.session()
	must(t, f.users(innocent))
	must(t, f.users(s))
	f.advance(folioTTL)
	f.lose = true
	must(t, f.users(s)) // logs in anew
	must(t, f.users(innocent))
	f.check(3, 2, 0)

	without := f.session()
	without.Store = client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	must(t, f.users(without))
	next := f.session()
	next.Store, next.Login = without.Store, nil
	f.advance(folioTTL)
	f.lose = true
	ended(t, f.users(next), client.ReasonLost)
	f.advance(time.Hour)
	ended(t, f.users(next), client.ReasonLost)
	must(t, f.users(innocent))
	f.check(4, 4, 0)
}

// A 503 comes from in front of the module, which has not seen the token.
func TestFOLIOThatIsBusy(t *testing.T) {
	f := newFOLIO(t)
	s := f.session()
	must(t, f.users(s))
	f.advance(folioTTL)
	left := 3
	f.before = func(w http.ResponseWriter) bool {
		if left--; left < 0 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	must(t, f.users(s))
	f.check(1, 1, 0)
}

func TestFOLIOThatEndedTheSession(t *testing.T) {
	f := newFOLIO(t)
	s := f.session()
	must(t, f.users(s))
	f.advance(folioTTL)
	f.mu.Lock()
	clear(f.access)
	for token := range f.refresh {
		f.refresh[token] = true
	}
	f.mu.Unlock()
	must(t, f.users(s))
	f.check(2, 0, 1)
}

func TestFOLIOOfOld(t *testing.T) {
	f := newFOLIO(t)
	f.old = true
	s := f.session()
	must(t, f.users(s))
	f.advance(1000 * time.Hour)
	must(t, f.users(s))
	f.check(1, 0, 0)
	f.mu.Lock()
	clear(f.access)
	f.mu.Unlock()
	must(t, f.users(s)) // its 401 says "Invalid token"
	f.check(2, 0, 0)
	must(t, s.Logout(t.Context()))
}

func TestFOLIOLogout(t *testing.T) {
	f := newFOLIO(t)
	s, other := f.session(), f.session()
	must(t, f.users(s))
	must(t, f.users(other))
	f.advance(folioTTL) // the access token must not go along any more
	must(t, s.Logout(t.Context()))
	must(t, s.Logout(t.Context()))
	must(t, f.users(other))
	f.check(2, 1, 0)
}

func TestFOLIOWithKeycloakLogout(t *testing.T) {
	f := newFOLIO(t)
	f.keycloak = true
	s, late := f.session(), f.session()
	must(t, f.users(s))
	must(t, s.Logout(t.Context()))
	must(t, f.users(late))
	f.advance(folioTTL)
	if err := late.Logout(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot log out") {
		t.Errorf("got %v", err)
	}
	must(t, f.users(late)) // is alive and has a new access token
	must(t, late.Logout(t.Context()))
}

// The program's own cookie jar plays no part: it would send the access token
// along after its end, and Okapi would refuse the refresh for that.
func TestFOLIOWithACookieJar(t *testing.T) {
	f := newFOLIO(t)
	jar, err := cookiejar.New(nil)
	must(t, err)
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	u, err := url.Parse(f.URL)
	must(t, err)
	jar.SetCookies(u, []*http.Cookie{{Name: "folioAccessToken", Value: "of.another.program", Path: "/"}})
	s := f.session()
	s.HTTP = &http.Client{Transport: base, Jar: jar}
	must(t, f.users(s))
	f.advance(folioTTL)
	must(t, f.users(s))
	f.check(1, 1, 0)
}

func TestFOLIORefreshTokenFromElsewhere(t *testing.T) {
	f := newFOLIO(t)
	first := f.session()
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	first.Store = store
	must(t, f.users(first))
	kept, err := store.Load(t.Context())
	must(t, err)
	s := f.session()
	s.Login, s.RefreshToken = nil, kept.Refresh
	must(t, f.users(s))
	f.advance(folioTTL)
	must(t, f.users(s))
	f.check(1, 2, 0)
}

// Password would leave a token behind that never ends, and says so.
func TestPasswordAtAPlainFOLIO(t *testing.T) {
	f := newFOLIO(t)
	s := f.session()
	s.Login = client.Password{Username: "reader", Password: "secret"}
	err := f.users(s)
	ended(t, err, client.ReasonCredentials)
	if !strings.Contains(err.Error(), "FOLIOPassword") {
		t.Errorf("got %v", err)
	}
}
