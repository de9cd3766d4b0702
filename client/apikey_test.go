package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

func (o *orders) withKey() *client.APIKey {
	return &client.APIKey{BaseURL: o.URL, Key: clienttest.APIKey, Base: o.HTTP().Transport}
}

func TestAPIKeyNeedsNoSession(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.withKey().Client()
	together(t, 50, func() error { return o.get(t.Context(), c) })
	o.Advance(1000 * clienttest.AccessTTL)
	must(t, finish(c.Post(o.URL+"/orders", "text/plain", opaque{body("x")})))
	o.count(t, clienttest.Count{})
	c.CloseIdleConnections()
}

// A key that is not taken is the caller's matter: nothing is sent twice.
func TestAPIKeyThatIsRefused(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	k := o.withKey()
	k.Key, k.Base = "cfak_taken-back", w
	answer, err := k.Client().Get(o.URL + "/orders")
	must(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized || w.unauthorized.Load() != 1 {
		t.Errorf("got %s, %d refusals", answer.Status, w.unauthorized.Load())
	}
}

func TestAPIKeyIsSentInPlaceOfOtherCredentials(t *testing.T) {
	s := clienttest.New(t)
	var got http.Header
	s.HandleFunc("/orders", func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	r, err := http.NewRequest(http.MethodGet, s.URL+"/orders", nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer mine")
	r.Header.Set("X-Okapi-Token", "mine")
	r.Header.Set("Cookie", "folioAccessToken=mine; theme=dark")
	k := &client.APIKey{BaseURL: s.URL, Key: clienttest.APIKey, Tenant: "diku", Base: s.HTTP().Transport}
	must(t, finish(k.Client().Do(r)))
	if got.Get("Authorization") != "apikey "+clienttest.APIKey || got.Get("X-Okapi-Token") != "" || got.Get("Cookie") != "theme=dark" || got.Get("X-Okapi-Tenant") != "diku" {
		t.Errorf("the gateway got %v", got)
	}
	if r.Header.Get("Authorization") != "Bearer mine" || r.Header.Get("X-Okapi-Tenant") != "" {
		t.Errorf("the request was changed: %v", r.Header)
	}
}

// bearers are the ways to carry credentials.
func bearers(t *testing.T, s *clienttest.Server) map[string]http.RoundTripper {
	return map[string]http.RoundTripper{
		"key":     &client.APIKey{BaseURL: s.URL, Key: clienttest.APIKey, Base: s.HTTP().Transport},
		"session": &client.Transport{Session: s.Session(), Base: s.HTTP().Transport},
	}
}

func carries(h http.Header) bool {
	return h.Get("Authorization") != "" || h.Get("X-Okapi-Token") != "" || h.Get("X-Okapi-Tenant") != ""
}

// Whatever a redirect says, credentials go to the gateway alone, and nobody
// else decides what the gateway is asked with them.
func TestCredentialsAndRedirects(t *testing.T) {
	s := clienttest.New(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if carries(r.Header) {
			t.Errorf("%s got %v", r.URL, r.Header)
		}
		if r.URL.Path == "/back" {
			http.Redirect(w, r, s.URL+"/orders", http.StatusTemporaryRedirect)
		}
	}))
	defer elsewhere.Close()
	served := 0
	s.HandleFunc("/orders", func(http.ResponseWriter, *http.Request) { served++ })
	for path, to := range map[string]string{"/away": elsewhere.URL + "/there", "/round": elsewhere.URL + "/back", "/within": s.URL + "/orders"} {
		s.Handle(path, http.RedirectHandler(to, http.StatusTemporaryRedirect))
	}
	for name, base := range bearers(t, s) {
		served = 0
		c := http.Client{Transport: base}
		for _, from := range []struct {
			url    string
			status int
		}{
			{elsewhere.URL, 200},
			{s.URL + "/away", 200},
			{s.URL + "/within", 200},
			{elsewhere.URL + "/back", 401},
			{s.URL + "/round", 401},
		} {
			answer, err := c.Get(from.url)
			must(t, err)
			answer.Body.Close()
			if answer.StatusCode != from.status {
				t.Errorf("%s at %s: %s", name, from.url, answer.Status)
			}
		}
		if served != 1 {
			t.Errorf("%s: %d requests were served", name, served)
		}
	}
}

func TestAPIKeyStaysAtOrBelowTheBaseURL(t *testing.T) {
	var asked []string
	k := &client.APIKey{BaseURL: "https://folio.example.org/okapi/", Key: "cfak_x", Base: asFunc(func(r *http.Request) (*http.Response, error) {
		if carries(r.Header) {
			asked = append(asked, r.URL.String())
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	})}
	want := []string{"https://folio.example.org/okapi/orders", "https://FOLIO.example.org:443/okapi"}
	for _, u := range append(want,
		"http://folio.example.org/okapi/orders", "https://folio.example.org.evil/okapi/orders", "https://folio.example.org:444/okapi/orders",
		"https://folio.example.org/okapis", "https://folio.example.org/okapi/../other", "https://folio.example.org/okapi/%2e%2e/other", "https://folio.example.org/") {
		must(t, finish(k.Client().Get(u)))
	}
	if strings.Join(asked, " ") != strings.Join(want, " ") {
		t.Errorf("the key went to %v", asked)
	}
}

func TestAPIKeyThatCannotBeMeant(t *testing.T) {
	for _, k := range []*client.APIKey{
		{},
		{BaseURL: "http://localhost"},
		{BaseURL: "folio.example.org", Key: "cfak_x"},
		{BaseURL: "http://localhost", Key: "cfak_x\n"},
		{BaseURL: "http://localhost", Key: "schlüssel"},
	} {
		closed := false
		k.Base = asFunc(func(*http.Request) (*http.Response, error) {
			t.Errorf("%+q: a request was sent", k.Key)
			return nil, io.EOF
		})
		r, err := http.NewRequest(http.MethodPost, "http://localhost/", closing{body("x"), &closed})
		must(t, err)
		if _, err := k.RoundTrip(r); err == nil || !closed || k.Key != "" && strings.Contains(err.Error(), k.Key) {
			t.Errorf("%q: got %v, body closed: %v", k.Key, err, closed)
		}
	}
}

type closing struct {
	io.Reader
	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return nil
}
