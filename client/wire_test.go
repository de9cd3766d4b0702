package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

const fakeToken = "a.secret-token.s"

// answering is a session with a gateway that answers everything with handler.
func answering(handler http.HandlerFunc) (s *client.Session, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	return &client.Session{
		BaseURL: "http://folio.invalid", Tenant: "diku", Login: client.Password{Username: "reader", Password: "x"},
		HTTP: &http.Client{Transport: asFunc(func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			w := httptest.NewRecorder()
			w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
			handler(w, r)
			return w.Result(), nil
		})},
	}, asked
}

func TestAnswersToALogin(t *testing.T) {
	tokens := `{"accessToken":"` + fakeToken + `","refreshToken":"cfrt_x","accessTokenExpiration":"2100-01-01T00:00:00Z"}`
	say := func(status int, text string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
	}
	// A bubble's time begins with the year 2000.
	inAMinute := time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC).Format(http.TimeFormat)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		asked  int64 // 0 for more than one
		want   string
	}{
		"tokens":           {say(201, tokens), 1, ""},
		"200 is as good":   {say(200, tokens), 1, ""},
		"no token":         {say(201, `{}`), 0, "without an access token"},
		"no JSON":          {say(201, `{"accessToken":"`+fakeToken), 0, "without an access token"},
		"wrong password":   {say(422, `{"errors":[{"message":"Wrong username"}]}`), 1, `ended: login refused: /authn/login answered 422 "Wrong username"`},
		"unknown tenant":   {say(400, "No such Tenant diku"), 1, `"No such Tenant diku"`},
		"page of a proxy":  {say(403, "<html>", "Content-Type", "text/html"), 1, "answered 403"},
		"long text":        {say(400, strings.Repeat("x", 10_000)), 1, `x"`},
		"fault":            {say(500, "Internal Server error"), 0, "cannot be renewed"},
		"redirect":         {say(307, "", "Location", "http://elsewhere.invalid/authn/login"), 0, "answered 307"},
		"limited":          {say(429, "", "Retry-After", "60"), 1, "cannot be renewed"},
		"limited to":       {say(429, "", "Retry-After", inAMinute), 1, "cannot be renewed"},
		"retry-after junk": {say(503, "", "Retry-After", "soon"), 0, "cannot be renewed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, asked := answering(c.answer)
				_, err := s.Token(t.Context())
				if c.want == "" {
					must(t, err)
				} else if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v", err)
				}
				if n := asked.Load(); c.asked != 0 && n != c.asked || c.asked == 0 && n < 2 {
					t.Errorf("asked %d times", n)
				}
			})
		})
	}
}

// Of a server that is limited for a minute nobody asks before that.
func TestRetryAfterIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, asked := answering(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "45")
			w.WriteHeader(http.StatusTooManyRequests)
		})
		for range 90 {
			var busy *client.RefreshUnavailable
			if _, err := s.Token(t.Context()); !errors.As(err, &busy) || busy.RetryAfter != 45*time.Second {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times in 90 s", n)
		}
	})
}

// A refresh may meet a proxy without its server. That ends no session.
func TestRefreshThatIsAnsweredBySomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		w := watch(o.Server)
		base, wrong := w.base, 0
		w.base = asFunc(func(r *http.Request) (*http.Response, error) {
			if wrong == 0 || r.URL.Path != "/authn/refresh" {
				return base.RoundTrip(r)
			}
			wrong--
			status := []int{404, 302, 405, 500, 502, 504, 403}[wrong%7]
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		c := o.through(w).Client()
		must(t, o.get(t.Context(), c))
		for range 7 {
			time.Sleep(clienttest.AccessTTL)
			wrong = 3
			must(t, o.get(t.Context(), c))
		}
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 7, Rotations: 7, Sessions: 1})
	})
}

// What a log-in or store of the program returns becomes one of our errors.
type odd struct{ err error }

func (odd) Account() string { return "odd" }

func (o odd) LogIn(context.Context, *client.Gateway) (*client.Tokens, error) { return nil, o.err }

func TestErrorsHaveATypeWhereverTheyComeFrom(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	s := o.Session()
	cause := errors.New("partner's service is down")
	s.Login = odd{cause}
	var busy *client.RefreshUnavailable
	if err := o.get(t.Context(), s.Client()); !errors.As(err, &busy) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	s = o.Session()
	s.Store = client.FileStore{Path: filepath.Join(t.TempDir(), "no such directory", "file")}
	if err := o.get(t.Context(), s.Client()); !errors.As(err, &busy) {
		t.Errorf("got %v", err)
	}
}

// The device cookie of the login comes back with each refresh, and nothing
// else of the server's goes anywhere else.
func TestCookiesOfTheServerComeBackToIt(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	base := w.base
	var sent []string
	w.base = asFunc(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.URL.Path+" "+r.Header.Get("Cookie"))
		answer, err := base.RoundTrip(r)
		if err == nil && r.URL.Path == "/authn/login" {
			answer.Header.Add("Set-Cookie", "counterfoilDevice=d1; Path=/; Max-Age=34560000; HttpOnly; Secure")
			answer.Header.Add("Set-Cookie", "gone=; Path=/; Max-Age=0")
		}
		return answer, err
	})
	c := o.through(w).Client()
	must(t, o.get(t.Context(), c))
	for range 2 {
		o.Advance(clienttest.AccessTTL)
		must(t, o.get(t.Context(), c))
	}
	want := "/authn/login , /orders , /authn/refresh counterfoilDevice=d1, /orders , /authn/refresh counterfoilDevice=d1, /orders "
	if got := strings.Join(sent, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
