package client_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

func (o *orders) credentials() *client.Session {
	s := o.Session()
	s.Login = client.ClientCredentials{ClientID: clienttest.ClientID, ClientSecret: clienttest.ClientSecret}
	return s
}

func TestClientCredentials200GoroutinesAcross20ExpiriesMake20Tokens(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.credentials().Client()
	together(t, 200, func() error { return o.get(t.Context(), c) })
	for range 20 {
		o.Advance(clienttest.AccessTTL)
		together(t, 200, func() error { return o.get(t.Context(), c) })
	}
	if got := o.Count(); got.Logins != 21 || got.Refreshes != 0 || o.served.Load() != 21*200 {
		t.Errorf("%+v, %d requests served", got, o.served.Load())
	}
}

func TestClientCredentialsAreRenewedAheadOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		w := watch(o.Server)
		s := o.credentials()
		s.HTTP = &http.Client{Transport: w}
		c := s.Client()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 20 * 60 { // 20 lifetimes
					if err := o.get(t.Context(), c); err != nil {
						t.Error(err)
					}
					time.Sleep(10 * time.Second)
				}
			})
		}
		all.Wait()
		if got := o.Count(); got.Logins < 24 || got.Logins > 28 || w.unauthorized.Load() != 0 {
			t.Errorf("%+v in 20 lifetimes, %d requests met an expired token", got, w.unauthorized.Load())
		}
	})
}

func TestClientCredentialsAfterARevocation(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.credentials().Client()
	must(t, o.get(t.Context(), c))
	o.EndSessions()
	together(t, 50, func() error { return o.get(t.Context(), c) })
	o.count(t, clienttest.Count{Logins: 2, Sessions: 1})
}

func TestClientCredentialsWhileTheServerIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		c := o.credentials().Client()
		o.Unavailable(5)
		must(t, o.get(t.Context(), c))
		time.Sleep(clienttest.AccessTTL)
		o.LoseAnswers(1)
		together(t, 20, func() error { return o.get(t.Context(), c) })
	})
}

func TestClientCredentialsOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"token":         {`{"access_token":"` + fakeToken + `","token_type":"bearer","expires_in":600}`, 200, ""},
		"no expiry":     {`{"access_token":"` + fakeToken + `","token_type":"Bearer"}`, 200, ""},
		"another type":  {`{"access_token":"` + fakeToken + `","token_type":"mac"}`, 200, `ended: login refused: /oauth2/token gave a token of type "mac"`},
		"no token":      {`{"token_type":"Bearer"}`, 200, "without an access token"},
		"no JSON":       {`<html>`, 200, "without an access token"},
		"wrong secret":  {`{"error":"invalid_client","error_description":"no such client"}`, 401, `ended: login refused: /oauth2/token answered 401 "invalid_client: no such client"`},
		"scope":         {`{"error":"invalid_scope"}`, 400, `ended: login refused: /oauth2/token answered 400 "invalid_scope"`},
		"not there":     {``, 404, `ended: login refused: /oauth2/token answered 404`},
		"server's flaw": {``, 500, "cannot be renewed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := answering(func(w http.ResponseWriter, r *http.Request) {
					id, secret, _ := r.BasicAuth()
					if r.URL.Path != "/oauth2/token" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
						id != "a%3Ab" || secret != "s%3Ae%26cret+" || r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "one two" || len(r.PostForm) != 2 {
						t.Errorf("asked %s %s with %q %q %v", r.URL, r.Header, id, secret, r.PostForm)
					}
					w.WriteHeader(c.status)
					_, _ = w.Write([]byte(c.answer))
				})
				s.Login = client.ClientCredentials{ClientID: "a:b", ClientSecret: "s:e&cret ", Scopes: []string{"one", "two"}}
				_, err := s.Token(t.Context())
				if c.want == "" {
					must(t, err)
				} else if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "cret") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestClientSecretFromAStore(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	path := filepath.Join(t.TempDir(), "secrets.json")
	must(t, os.WriteFile(path, []byte(`{"diku":{"harvester":"`+clienttest.ClientSecret+`"}}`), 0o600))
	s := o.Session()
	s.Login = client.ClientCredentials{ClientID: clienttest.ClientID, Secrets: client.FileSecrets{Path: path}}
	s.Store = client.FileStore{Path: path + ".session"}
	must(t, o.get(t.Context(), s.Client()))
	again := o.credentials()
	again.Store = s.Store
	must(t, o.get(t.Context(), again.Client()))
	o.count(t, clienttest.Count{Logins: 1, Sessions: 1})
	must(t, again.Logout(t.Context()))
	ended(t, o.get(t.Context(), again.Client()), client.ReasonLoggedOut)
	if _, err := os.Stat(path + ".session"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token is kept: %v", err)
	}

	s = o.Session()
	s.Login = client.ClientCredentials{ClientID: "unknown", Secrets: client.FileSecrets{Path: path}}
	ended(t, o.get(t.Context(), s.Client()), client.ReasonCredentials)
}
