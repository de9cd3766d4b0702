package client_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

func TestStormAcross20ExpiriesMakes20Refreshes(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.Client()
	together(t, 200, func() error { return o.get(t.Context(), c) })
	for range 20 {
		o.Advance(clienttest.AccessTTL)
		together(t, 200, func() error { return o.get(t.Context(), c) })
	}
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 20, Rotations: 20, Sessions: 1})
	if got := o.served.Load(); got != 21*200 {
		t.Errorf("%d requests were served, want each once", got)
	}
}

// With traffic all the time nobody ever meets an expired token.
func TestRenewedAheadOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		w := watch(o.Server)
		c := o.through(w).Client()
		var all sync.WaitGroup
		for range 50 {
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
		got := o.Count()
		if got.Refreshes != got.Rotations || got.Rotations < 23 || got.Rotations > 27 {
			t.Errorf("%d refreshes, %d rotations in 20 lifetimes: want one each time that 75 to 85 %% of one is over", got.Refreshes, got.Rotations)
		}
		if n := w.unauthorized.Load(); n != 0 {
			t.Errorf("%d requests met an expired token", n)
		}
	})
}

func TestWrongLocalClockDoesNotMatter(t *testing.T) {
	for _, off := range []time.Duration{-1000 * time.Hour, -time.Hour, time.Hour, 1000 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			o := serveOrders(clienttest.NewInMemory(t))
			w := watch(o.Server)
			s := o.through(w)
			s.Now = func() time.Time { return time.Now().Add(off) }
			c := s.Client()
			for range 60 {
				must(t, o.get(t.Context(), c))
				time.Sleep(time.Minute)
			}
			if got := o.Count(); got.Logins != 1 || got.Refreshes < 6 || got.Refreshes > 8 || w.unauthorized.Load() != 0 {
				t.Errorf("clock off by %s: %+v, %d times 401", off, got, w.unauthorized.Load())
			}
		})
	}
}

// Without a Date header and with a wrong clock there is still the server's 401.
func TestExpiredTokenIsRenewedWhenTheServerSaysSo(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	s := o.Session()
	s.Now = time.Now // stands still while the server's goes on
	c := s.Client()
	must(t, o.get(t.Context(), c))
	for range 5 {
		o.Advance(clienttest.AccessTTL)
		together(t, 50, func() error { return o.get(t.Context(), c) })
	}
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 5, Rotations: 5, Sessions: 1})
}

func TestCallerThatLeavesDoesNotStopTheRefresh(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	asked, answer := make(chan struct{}), make(chan struct{})
	var refreshes atomic.Int64
	w.before = func(r *http.Request) error {
		if r.URL.Path == "/authn/refresh" && refreshes.Add(1) == 1 {
			close(asked)
			select {
			case <-answer:
			case <-r.Context().Done():
				return r.Context().Err()
			}
		}
		return nil
	}
	s := o.through(w)
	_, err := s.Token(t.Context())
	must(t, err)
	o.Advance(clienttest.AccessTTL)

	impatient, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.Token(impatient)
		gone <- err
	}()
	<-asked
	patient := make(chan error)
	go func() {
		_, err := s.Token(t.Context())
		patient <- err
	}()
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that left got %v", err)
	}
	close(answer)
	must(t, <-patient)
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

func TestLostAnswerOfARefreshLogsNobodyOut(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.Client()
	must(t, o.get(t.Context(), c))
	for range 5 {
		o.Advance(clienttest.AccessTTL)
		o.LoseAnswers(1)
		together(t, 20, func() error { return o.get(t.Context(), c) })
	}
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 10, Rotations: 5, Sessions: 1})
}

func TestServerRestart(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	c := o.Client()
	must(t, o.get(t.Context(), c))
	for range 5 {
		o.Restart()
		o.Advance(clienttest.AccessTTL)
		together(t, 20, func() error { return o.get(t.Context(), c) })
	}
	if got := o.Count(); got.Logins != 1 || got.Sessions != 1 || got.Rotations != 5 {
		t.Errorf("%+v", got)
	}
}

func TestStormOf503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		c := o.Client()
		o.Unavailable(5)
		must(t, o.get(t.Context(), c)) // the login waits as told
		for range 10 {
			time.Sleep(clienttest.AccessTTL)
			o.Unavailable(5)
			started := time.Now()
			together(t, 50, func() error { return o.get(t.Context(), c) })
			if waited := time.Since(started); waited < 5*time.Second || waited > 10*time.Second {
				t.Errorf("waited %s, Retry-After was one second, five times", waited)
			}
		}
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 10, Rotations: 10, Sessions: 1})
	})
}

func TestServerThatStaysAwayIsRefreshUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		s := o.Session()
		c := s.Client()
		must(t, o.get(t.Context(), c))
		time.Sleep(clienttest.AccessTTL)
		o.Unavailable(1 << 30)
		started := time.Now()
		err := o.get(t.Context(), c)
		var busy *client.RefreshUnavailable
		if !errors.As(err, &busy) || time.Since(started) > 31*time.Second {
			t.Errorf("got %v after %s", err, time.Since(started))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.Sleep(900 * time.Millisecond)
		if _, err := s.Token(ctx); !errors.As(err, &busy) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute)
		o.Unavailable(0)
		must(t, o.get(t.Context(), c))
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
	})
}

// While the access token lives, a server that cannot renew disturbs nobody.
func TestFailingRenewalAheadIsNoticedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		c := o.Client()
		must(t, o.get(t.Context(), c))
		o.Unavailable(1 << 30)
		time.Sleep(clienttest.AccessTTL * 9 / 10)
		for range 10 {
			must(t, o.get(t.Context(), c))
			must(t, finish(c.Post(o.URL+"/orders", "text/plain", opaque{body("x")})))
			time.Sleep(100 * time.Millisecond)
		}
		o.Unavailable(0)
		time.Sleep(10 * time.Second)
		must(t, o.get(t.Context(), c))
	})
}

func TestRevokedSession(t *testing.T) {
	t.Run("with credentials", func(t *testing.T) {
		o := serveOrders(clienttest.New(t))
		c := o.Client()
		must(t, o.get(t.Context(), c))
		o.EndSessions()
		together(t, 50, func() error { return o.get(t.Context(), c) })
		o.count(t, clienttest.Count{Logins: 2, Refreshes: 1, Sessions: 1})
	})
	t.Run("without", func(t *testing.T) {
		o := serveOrders(clienttest.New(t))
		s := o.Session()
		s.Login, s.RefreshToken = nil, o.refreshToken(t)
		c := s.Client()
		must(t, o.get(t.Context(), c))
		o.EndSessions()
		for range 10 {
			ended(t, o.get(t.Context(), c), client.ReasonRefused)
		}
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 2, Rotations: 1})
	})
}

// A server that refuses without saying that the session has ended may take the
// tokens later.
func TestTokensAreDroppedOnlyWhenTheSessionHasEnded(t *testing.T) {
	for _, test := range []struct {
		name   string
		refuse func(*orders)
		reason client.Reason
	}{
		{"ended", func(o *orders) { o.EndSessions() }, client.ReasonRefused},
		{"inactive", func(o *orders) { o.Deactivate(true) }, client.ReasonNotNow},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := serveOrders(clienttest.NewInMemory(t))
				store := client.FileStore{Path: filepath.Join(t.TempDir(), "session")}
				with := o.Session()
				with.Store = store
				must(t, o.get(t.Context(), with.Client()))
				s := o.Session()
				s.Store, s.Login = store, nil
				must(t, o.get(t.Context(), s.Client()))
				time.Sleep(clienttest.AccessTTL)
				test.refuse(o)
				for range 100 {
					ended(t, o.get(t.Context(), s.Client()), test.reason)
					time.Sleep(10 * time.Second)
				}
				kept, err := store.Load(t.Context())
				must(t, err)
				if (kept == nil) != (test.reason == client.ReasonRefused) {
					t.Errorf("the store has %v", kept)
				}
				asked := o.Count().Refreshes
				if test.reason == client.ReasonRefused {
					if asked != 1 {
						t.Errorf("asked %d times for a session that has ended", asked)
					}
					return
				}
				if asked != 6 { // after 0, 30, 90, 210, 450, 930 s
					t.Errorf("asked %d times in 1000 s", asked)
				}
				o.Deactivate(false)
				time.Sleep(10 * time.Minute)
				must(t, o.get(t.Context(), s.Client()))
				o.count(t, clienttest.Count{Logins: 1, Refreshes: asked + 1, Rotations: 1, Sessions: 1})
			})
		})
	}
}

// The session of an inactive user whose password is refused, too, is there
// when he is active again.
func TestRefusedLoginDropsNoTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		s := o.Session()
		s.Store = client.FileStore{Path: filepath.Join(t.TempDir(), "session")}
		must(t, o.get(t.Context(), s.Client()))
		time.Sleep(clienttest.AccessTTL)
		o.Deactivate(true)
		ended(t, o.get(t.Context(), s.Client()), client.ReasonCredentials)
		o.Deactivate(false)
		time.Sleep(time.Minute)
		must(t, o.get(t.Context(), s.Client()))
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 2, Rotations: 1, Sessions: 1})
	})
}

// A refresh token that was got elsewhere is not used up by a refusal that may
// pass.
func TestRefreshTokenOutlivesARefusalForNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		s := o.Session()
		s.Login, s.RefreshToken = nil, o.refreshToken(t)
		o.Deactivate(true)
		ended(t, o.get(t.Context(), s.Client()), client.ReasonNotNow)
		o.Deactivate(false)
		time.Sleep(time.Minute)
		must(t, o.get(t.Context(), s.Client()))
	})
}

// refreshToken logs in and takes the refresh token away.
func (o *orders) refreshToken(t *testing.T) string {
	t.Helper()
	s := o.Session()
	store := client.FileStore{Path: t.TempDir() + "/session"}
	s.Store = store
	_, err := s.Token(t.Context())
	must(t, err)
	kept, err := store.Load(t.Context())
	must(t, err)
	return kept.Refresh
}

func TestRefusedLoginIsNotAskedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		w := watch(o.Server)
		var logins atomic.Int64
		w.before = func(r *http.Request) error {
			if r.URL.Path == "/authn/login" {
				logins.Add(1)
			}
			return nil
		}
		s := o.through(w)
		s.Login = client.Password{Username: clienttest.Username, Password: "mistyped secret"}
		for range 600 {
			_, err := s.Token(t.Context())
			ended(t, err, client.ReasonCredentials)
			if strings.Contains(err.Error(), "mistyped") {
				t.Fatalf("the error tells the password: %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := logins.Load(); n != 5 { // after 0, 30, 90, 210, 450 s
			t.Errorf("asked %d times in ten minutes", n)
		}
	})
}

func TestLogout(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	s := o.Session()
	c := s.Client()
	must(t, o.get(t.Context(), c))
	together(t, 20, func() error { return s.Logout(t.Context()) })
	o.count(t, clienttest.Count{Logins: 1})
	ended(t, o.get(t.Context(), c), client.ReasonLoggedOut)
	must(t, s.Logout(t.Context()))

	unused := o.Session()
	must(t, unused.Logout(t.Context()))
	_, err := unused.Token(t.Context())
	ended(t, err, client.ReasonLoggedOut)
	o.count(t, clienttest.Count{Logins: 1})
}

// A logout that got no answer has not happened as far as anybody knows.
func TestLogoutThatFailsCanBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		s := o.Session()
		must(t, o.get(t.Context(), s.Client()))
		o.Unavailable(1 << 30)
		var busy *client.RefreshUnavailable
		if err := s.Logout(t.Context()); !errors.As(err, &busy) {
			t.Errorf("got %v", err)
		}
		o.Unavailable(0)
		o.LoseAnswers(1)
		must(t, s.Logout(t.Context()))
		o.count(t, clienttest.Count{Logins: 1})
	})
}

func TestSessionNeedsAPlace(t *testing.T) {
	for _, s := range []*client.Session{
		{},
		{Tenant: "diku"},
		{BaseURL: "http://localhost"},
		{BaseURL: "folio.example.org", Tenant: "diku"},
		{BaseURL: "ftp://folio.example.org", Tenant: "diku"},
		{BaseURL: "http://u:p@folio.example.org", Tenant: "diku"},
	} {
		if _, err := s.Token(t.Context()); err == nil {
			t.Errorf("%q, tenant %q: no error", s.BaseURL, s.Tenant)
		}
		if _, err := s.Client().Get("http://localhost/"); err == nil {
			t.Errorf("%q, tenant %q: a request was sent", s.BaseURL, s.Tenant)
		}
	}
	s := &client.Session{BaseURL: "http://localhost", Tenant: "diku"}
	_, err := s.Token(t.Context())
	ended(t, err, client.ReasonNoLogin)
}
