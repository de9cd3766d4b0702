package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// shop is the program with a module behind it, for the client that we publish.
type shop struct {
	*office
	served, refreshes atomic.Int64
	base              http.RoundTripper
}

func openShop(t *testing.T, adjust func(*server.Config)) *shop {
	t.Helper()
	s := &shop{office: openOffice(t, adjust)}
	module := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.served.Add(1) }))
	t.Cleanup(module.Close)
	s.enable("mod-orders-1.0.0", `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]}]`, module.URL)
	s.base = s.client.Transport
	return s
}

// RoundTrip counts refreshes, and corrects the Date header, which net/http
// writes by the real clock where the program lives by the test's.
func (s *shop) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/authn/refresh" {
		s.refreshes.Add(1)
	}
	answer, err := s.base.RoundTrip(r)
	if err == nil {
		answer.Header.Set("Date", s.config.Now().UTC().Format(http.TimeFormat))
	}
	return answer, err
}

func (s *shop) session() *client.Session {
	return &client.Session{
		BaseURL: s.URL(server.Public), Tenant: "diku", Now: s.config.Now, HTTP: &http.Client{Transport: s},
		Login: client.Password{Username: "reader", Password: readerPW},
	}
}

func (s *shop) buy(c *client.Session) error {
	answer, err := c.Client().Get(c.BaseURL + "/orders")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", answer.Status, text)
	}
	return err
}

func (s *shop) together(n int, do func() error) {
	s.t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := do(); err != nil {
				s.t.Error(err)
			}
		})
	}
	all.Wait()
}

// one asserts that there was one login, that its session goes on and how often
// its token rotated.
func (s *shop) one(rotations int) {
	s.t.Helper()
	page, err := s.Sessions().List(context.Background(), session.Filter{Tenant: "diku", UserID: readerID})
	s.must(err)
	if len(page.Sessions) != 1 {
		s.t.Fatalf("%d sessions, want one", len(page.Sessions))
	}
	row := page.Sessions[0]
	if row.Gen != uint64(rotations)+1 || !row.RevokedAt.IsZero() || row.Struck() {
		s.t.Errorf("generation %d, want %d; revoked %s, struck %v", row.Gen, rotations+1, row.RevokedAt, row.Struck())
	}
}

func TestClient200GoroutinesAcross20ExpiriesMake20Refreshes(t *testing.T) {
	s := openShop(t, nil)
	c := s.session()
	s.storm(c, 200, 20)
}

func TestClientWithCookies(t *testing.T) {
	s := openShop(t, nil)
	c := s.session()
	c.Login = client.FOLIOPassword{Username: "reader", Password: readerPW}
	s.storm(c, 50, 5)
}

// The same where the client's clock stands still: it learns from 401
// TOKEN_EXPIRED alone, and its requests are sent again.
func TestClientNeedsNoClock(t *testing.T) {
	s := openShop(t, nil)
	c := s.session()
	still := time.Now()
	c.Now = func() time.Time { return still }
	s.storm(c, 50, 5)
}

// storm lets goroutines go on across expiries, each of which must cost one
// refresh and nobody anything.
func (s *shop) storm(c *client.Session, goroutines, expiries int) {
	s.t.Helper()
	s.together(goroutines, func() error { return s.buy(c) })
	for range expiries {
		s.wait(10 * time.Minute)
		s.together(goroutines, func() error { return s.buy(c) })
	}
	s.one(expiries)
	if s.refreshes.Load() != int64(expiries) || s.served.Load() != int64((expiries+1)*goroutines) {
		s.t.Errorf("%d refreshes, %d requests served", s.refreshes.Load(), s.served.Load())
	}
}

// Real seconds: tokens live one to two of them, and JSON knows whole ones.
func TestClientWithShortLifetimes(t *testing.T) {
	expiries := 3
	if os.Getenv("COUNTERFOIL_LONG") != "" {
		expiries = 20
	}
	ttl, grace, jitter := session.Duration(2*time.Second), session.Duration(200*time.Millisecond), 0.5
	s := openShop(t, func(c *server.Config) {
		c.Policy.AccessTTL, c.Policy.Grace, c.Policy.Jitter = &ttl, &grace, &jitter
	})
	c := s.session()
	s.together(200, func() error { return s.buy(c) })
	for range expiries {
		time.Sleep(2 * time.Second) // what is tested is that real time ends tokens
		s.together(200, func() error { return s.buy(c) })
	}
	if n := s.refreshes.Load(); n < int64(expiries) || n > 2*int64(expiries)+1 {
		t.Errorf("%d refreshes for %d expiries", n, expiries)
	}
	if s.served.Load() != int64(expiries+1)*200 {
		t.Errorf("%d requests served", s.served.Load())
	}
}

// Half of all answers get lost after the program has committed.
func TestClientThatLosesAnswersStaysLoggedIn(t *testing.T) {
	s := openShop(t, nil)
	c := s.session()
	_, err := c.Token(t.Context())
	s.must(err)
	var lost atomic.Int64
	target, err := url.Parse(lossy(t, s.office, 0.5, &lost))
	s.must(err)
	direct := s.base
	s.base = transport(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Host = target.Host
		return direct.RoundTrip(r)
	})
	for range 20 {
		s.wait(10 * time.Minute)
		s.together(20, func() error { _, err := c.Token(t.Context()); return err })
	}
	s.one(20)
	if lost.Load() == 0 {
		t.Error("no answer was lost, the test shows nothing")
	}
	t.Logf("%d refreshes, %d answers lost", s.refreshes.Load(), lost.Load())
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestClientsThatShareAFileShareTheSession(t *testing.T) {
	s := openShop(t, nil)
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	one, other := s.session(), s.session()
	one.Store, other.Store = store, store
	for round := range 21 {
		s.together(20, func() error { return errors.Join(s.buy(one), s.buy(other)) })
		s.one(round)
		s.wait(10 * time.Minute)
	}
	if s.refreshes.Load() != 20 {
		t.Errorf("%d refreshes", s.refreshes.Load())
	}
	s.must(one.Logout(t.Context()))
	s.must(one.Logout(t.Context()))
	page, err := s.Sessions().List(t.Context(), session.Filter{Tenant: "diku", UserID: readerID, Live: true})
	s.must(err)
	if len(page.Sessions) != 0 {
		t.Errorf("%d sessions after the logout", len(page.Sessions))
	}
}

// delayed is a store without locks: somebody else renews while this process
// has read the tokens and not yet asked.
type delayed struct {
	client.FileStore
	meanwhile func()
}

func (d *delayed) Lock(context.Context) (func(), error) { return func() {}, nil }

func (d *delayed) Load(ctx context.Context) (*client.Tokens, error) {
	t, err := d.FileStore.Load(ctx)
	if meanwhile := d.meanwhile; meanwhile != nil {
		d.meanwhile = nil
		meanwhile()
	}
	return t, err
}

func TestClientHealsAfterSuperseded(t *testing.T) {
	for name, login := range map[string]client.Login{
		"nonce in the body": client.Password{Username: "reader", Password: readerPW},
		"nonce in a cookie": client.FOLIOPassword{Username: "reader", Password: readerPW},
	} {
		t.Run(name, func(t *testing.T) {
			s := openShop(t, nil)
			fast, slow := s.session(), s.session()
			fast.Login, slow.Login = login, login
			store := &delayed{FileStore: client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}}
			fast.Store, slow.Store = store.FileStore, store
			s.must(s.buy(fast))
			s.must(s.buy(slow))
			for range 3 {
				s.wait(10 * time.Minute)
				store.meanwhile = func() {
					if err := s.buy(fast); err != nil {
						t.Error(err)
					}
					s.wait(11 * time.Second) // past the grace
					if err := s.buy(fast); err != nil {
						t.Error(err)
					}
				}
				s.must(s.buy(slow))
				s.wait(time.Minute) // an open strike would have ended the session
			}
			s.must(s.buy(fast))
			kept, err := store.FileStore.Load(t.Context())
			s.must(err)
			if len(kept.Cookies) != 0 {
				t.Errorf("used nonces were kept: %v", kept.Cookies)
			}
			page, err := s.Sessions().List(t.Context(), session.Filter{Tenant: "diku", UserID: readerID})
			s.must(err)
			if len(page.Sessions) != 1 {
				t.Fatalf("%d sessions", len(page.Sessions))
			}
			if row := page.Sessions[0]; !row.RevokedAt.IsZero() || row.Struck() || row.StrikeNo != 3 {
				t.Errorf("revoked %s, struck %v, %d strikes", row.RevokedAt, row.Struck(), row.StrikeNo)
			}
		})
	}
}

func TestClientAfterARevocation(t *testing.T) {
	s := openShop(t, nil)
	with, without := s.session(), s.session()
	without.Login, without.RefreshToken = nil, s.login().Refresh
	s.must(s.buy(with))
	s.must(s.buy(without))
	s.must(s.Sessions().LogoutUser(t.Context(), "diku", readerID))
	s.together(20, func() error { return s.buy(with) })
	var ended *client.SessionEnded
	if err := s.buy(without); !errors.As(err, &ended) || ended.Reason != client.ReasonRefused {
		t.Errorf("got %v", err)
	}
}

// The program is stopped and started again behind a proxy, which answers 502
// in between.
func TestClientSurvivesARestart(t *testing.T) {
	s := openShop(t, nil)
	var target atomic.Pointer[url.URL]
	aim := func() {
		u, err := url.Parse(s.URL(server.Public))
		s.must(err)
		target.Store(u)
	}
	aim()
	down := make(chan struct{}, 100)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target.Load()) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
			down <- struct{}{}
		},
	})
	defer proxy.Close()
	c := s.session()
	c.BaseURL = proxy.URL
	s.must(s.buy(c))
	s.wait(10 * time.Minute)
	s.close()
	done := make(chan error)
	go func() { done <- s.buy(c) }()
	<-down
	s.start()
	aim()
	s.must(<-done)
	s.one(1)
}

// FOLIO-exact: a second use of a token would end everything.
func TestClientUnderFOLIOExact(t *testing.T) {
	s := openShop(t, func(c *server.Config) {
		none, yes, no := session.Duration(0), true, 0
		c.Policy.Grace, c.Policy.Strict, c.Policy.EndUser, c.Policy.LateBudget = &none, &yes, &yes, &no
	})
	c := s.session()
	c.SingleUse = true
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	other := s.session()
	c.Store, other.Store = store, store
	for range 11 {
		s.together(20, func() error { return errors.Join(s.buy(c), s.buy(other)) })
		s.wait(10 * time.Minute)
	}
	s.one(10)
}
