package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

// refused is a session that does not know that its token has ended, so that
// the gateway tells it.
func (o *orders) refused(t *testing.T) *http.Client {
	t.Helper()
	s := o.Session()
	still := o.Now()
	s.Now = func() time.Time { return still }
	c := s.Client()
	must(t, o.get(t.Context(), c))
	o.Advance(clienttest.AccessTTL)
	return c
}

func TestBodyIsSentAgainWhole(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.refused(t)
	long := strings.Repeat("order ", 100_000)
	answer, err := c.Post(o.URL+"/orders", "text/plain", body(long))
	must(t, err)
	defer answer.Body.Close()
	echo, err := io.ReadAll(answer.Body)
	must(t, err)
	if string(echo) != long || o.served.Load() != 2 {
		t.Errorf("%d bytes arrived of %d, %d requests were served", len(echo), len(long), o.served.Load())
	}
}

func TestBodyThatCannotBeReadAgain(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.refused(t)
	var not *client.NotReplayable
	if err := finish(c.Post(o.URL+"/orders", "text/plain", opaque{body("x")})); !errors.As(err, &not) {
		t.Errorf("got %v", err)
	}
	if o.served.Load() != 1 {
		t.Error("the refused request was served")
	}
	must(t, finish(c.Post(o.URL+"/orders", "text/plain", opaque{body("x")})))
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

// Whoever cannot repeat does not set out with a token that is about to end.
func TestBodyThatCannotBeReadAgainWaitsForTheRenewal(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	c := o.through(w).Client()
	must(t, o.get(t.Context(), c))
	o.Advance(clienttest.AccessTTL * 9 / 10)
	must(t, finish(c.Post(o.URL+"/orders", "text/plain", opaque{body("x")})))
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

// A 401 of a module answers a request that it served.
func TestAnswersOfModulesPass(t *testing.T) {
	s := clienttest.New(t)
	var served atomic.Int64
	s.HandleFunc("/change-password", func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		http.Error(w, "Invalid credentials", http.StatusUnauthorized)
	})
	s.HandleFunc("/busy", func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		w.Header().Set("Retry-After", "0")
		http.Error(w, "busy", http.StatusServiceUnavailable)
	})
	s.HandleFunc("/breaks", func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		panic(http.ErrAbortHandler)
	})
	c := s.Client()
	answer, err := c.Post(s.URL+"/change-password", "text/plain", body("old password"))
	must(t, err)
	text, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if must(t, err); answer.StatusCode != http.StatusUnauthorized || string(text) != "Invalid credentials\n" {
		t.Errorf("got %d %q", answer.StatusCode, text)
	}
	answer, err = c.Post(s.URL+"/busy", "text/plain", body("order"))
	must(t, err)
	answer.Body.Close()
	if _, err := c.Post(s.URL+"/breaks", "text/plain", body("order")); err == nil {
		t.Error("no error for an answer that broke off")
	}
	if served.Load() != 3 || s.Count().Refreshes != 0 {
		t.Errorf("%d requests were served, %d refreshes", served.Load(), s.Count().Refreshes)
	}
}

func TestRequestIsNotChanged(t *testing.T) {
	s := clienttest.New(t)
	var got http.Header
	s.HandleFunc("/orders", func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	r, err := http.NewRequest(http.MethodGet, s.URL+"/orders", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer mine")
	r.Header.Set("X-Okapi-Token", "mine")
	r.Header.Set("Cookie", "folioAccessToken=mine; theme=dark; folioRefreshToken=mine")
	before := r.Header.Clone()
	must(t, finish(s.Client().Do(r)))
	if got.Get("Authorization") != "" || got.Get("X-Okapi-Token") == "mine" || got.Get("Cookie") != "theme=dark" || got.Get("X-Okapi-Tenant") != clienttest.Tenant {
		t.Errorf("the gateway got %v", got)
	}
	for name, values := range before {
		if strings.Join(r.Header[name], ",") != strings.Join(values, ",") {
			t.Errorf("%s became %v", name, r.Header[name])
		}
	}
	if len(r.Header) != len(before) {
		t.Errorf("headers became %v", r.Header)
	}
}

// The token goes to the gateway and to nobody whose address begins like it.
func TestTokenStaysWithTheGateway(t *testing.T) {
	gateway := clienttest.New(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Okapi-Token") != "" || r.Header.Get("X-Okapi-Tenant") != "" {
			t.Errorf("%s got the token", r.URL)
		}
	}))
	defer elsewhere.Close()
	gateway.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL+"/there", http.StatusTemporaryRedirect)
	})
	c := gateway.Client()
	must(t, finish(c.Get(elsewhere.URL)))
	must(t, finish(c.Get(gateway.URL+"/redirect")))

	var asked []string
	s := gateway.Session()
	s.BaseURL = "https://folio.example.org/okapi/"
	s.HTTP = &http.Client{Transport: asFunc(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("X-Okapi-Token") != "" {
			asked = append(asked, r.URL.String())
		}
		if r.URL.Path == "/okapi/authn/login" {
			r = r.Clone(r.Context())
			r.URL.Scheme, r.URL.Host, r.URL.Path = "http", strings.TrimPrefix(gateway.URL, "http://"), "/authn/login"
			r.Host = ""
			return gateway.HTTP().Transport.RoundTrip(r)
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	})}
	want := []string{"https://folio.example.org/okapi/orders", "https://FOLIO.example.org:443/okapi"}
	for _, u := range append(want,
		"http://folio.example.org/okapi/orders", "https://folio.example.org.evil/okapi/orders", "https://folio.example.org:444/okapi/orders",
		"https://folio.example.org/okapis", "https://folio.example.org/okapi/../other", "https://folio.example.org/") {
		must(t, finish(s.Client().Get(u)))
	}
	if strings.Join(asked, " ") != strings.Join(want, " ") {
		t.Errorf("the token went to %v", asked)
	}
}

type asFunc func(*http.Request) (*http.Response, error)

func (f asFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestProgramThatReplacedTheDefaultTransport(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	standard := http.DefaultTransport
	defer func() { http.DefaultTransport = standard }()
	s := o.Session()
	s.HTTP = nil
	http.DefaultTransport = &client.Transport{Session: s, Base: o.HTTP().Transport}
	must(t, o.get(t.Context(), http.DefaultClient))
	o.Advance(clienttest.AccessTTL)
	must(t, o.get(t.Context(), http.DefaultClient))
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}
