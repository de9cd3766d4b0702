package client_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

func TestTokenForIsGoodForLongEnough(t *testing.T) {
	const ttl = clienttest.AccessTTL
	for name, c := range map[string]struct {
		age, want time.Duration
		refreshes int
	}{
		"enough is left":             {ttl / 10, ttl / 4, 0},
		"too little is left":         {ttl * 7 / 10, ttl * 4 / 10, 1},
		"more than any token has":    {ttl / 3, 10 * ttl, 0},
		"half of it is gone by then": {ttl * 6 / 10, 10 * ttl, 1},
		"nothing is left":            {2 * ttl, time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := serveOrders(clienttest.New(t))
			s := o.Session()
			first, err := s.TokenFor(t.Context(), c.want)
			must(t, err)
			o.Advance(c.age)
			next, err := s.TokenFor(t.Context(), c.want)
			must(t, err)
			if (next != first) != (c.refreshes > 0) {
				t.Errorf("another token: %v", next != first)
			}
			o.count(t, clienttest.Count{Logins: 1, Refreshes: c.refreshes, Rotations: c.refreshes, Sessions: 1})
		})
	}
}

// Better a token that ends soon than none.
func TestTokenForWhileTheServerIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := serveOrders(clienttest.NewInMemory(t))
		s := o.Session()
		first, err := s.Token(t.Context())
		must(t, err)
		time.Sleep(clienttest.AccessTTL * 9 / 10)
		o.Unavailable(1 << 30)
		started := time.Now()
		next, err := s.TokenFor(t.Context(), clienttest.AccessTTL)
		if must(t, err); next != first || time.Since(started) > 5*time.Second {
			t.Errorf("another token: %v, after %s", next != first, time.Since(started))
		}
		o.Unavailable(0)
		time.Sleep(time.Minute) // the renewal that nobody waits for
		o.count(t, clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
	})
}

// A program that ends while a renewal is under way loses nothing.
func TestSettleWaitsForARenewalInTheBackground(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	asked, answer := make(chan struct{}), make(chan struct{})
	w.before = func(r *http.Request) error {
		if r.URL.Path == "/authn/refresh" {
			close(asked)
			<-answer
		}
		return nil
	}
	s := o.through(w)
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	s.Store = store
	first, err := s.Token(t.Context())
	must(t, err)
	must(t, s.Settle(t.Context())) // there is nothing to wait for
	o.Advance(clienttest.AccessTTL * 9 / 10)
	if still, err := s.Token(t.Context()); err != nil || still != first {
		t.Errorf("another token, %v", err)
	}
	<-asked
	impatient, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer leave()
	if err := s.Settle(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(answer)
	must(t, s.Settle(t.Context()))
	if kept, err := store.Load(t.Context()); err != nil || kept.Access == first {
		t.Errorf("the new tokens are not stored: %v", err)
	}
	together(t, 50, func() error { return errors.Join(s.Settle(t.Context()), o.get(t.Context(), s.Client())) })
	o.Advance(clienttest.AccessTTL)
	w.before = nil
	together(t, 50, func() error { return errors.Join(s.Settle(t.Context()), o.get(t.Context(), s.Client())) })
	o.count(t, clienttest.Count{Logins: 1, Refreshes: 2, Rotations: 2, Sessions: 1})
}

func TestTokenThatTheProgramSawRefused(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	s := o.Session()
	first, err := s.Token(t.Context())
	must(t, err)
	s.Refused("another token")
	if next, err := s.Token(t.Context()); err != nil || next != first {
		t.Errorf("another token, %v", err)
	}
	o.EndSessions()
	s.Refused(first)
	next, err := s.Token(t.Context())
	if must(t, err); next == first {
		t.Error("the same token")
	}
	o.count(t, clienttest.Count{Logins: 2, Refreshes: 1, Sessions: 1})
}

// A gateway that refuses every token is asked twice and not on and on.
func TestRefusedRequestIsReplayedOnce(t *testing.T) {
	o := serveOrders(clienttest.New(t))
	w := watch(o.Server)
	base := w.base
	var sent atomic.Int64
	w.base = asFunc(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/orders" {
			sent.Add(1)
			r = r.Clone(r.Context())
			r.Header.Set("X-Okapi-Token", "never.heard.of")
		}
		return base.RoundTrip(r)
	})
	answer, err := o.through(w).Client().Post(o.URL+"/orders", "text/plain", strings.NewReader("x"))
	must(t, err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized || sent.Load() != 2 {
		t.Errorf("sent %d times, got %s", sent.Load(), answer.Status)
	}

	// What another process left may have ended too, and counts for nothing.
	store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
	one, other := o.through(w), o.Session()
	one.Store, other.Store = store, store
	_, err = one.Token(t.Context())
	must(t, err)
	first, err := other.Token(t.Context())
	must(t, err)
	other.Refused(first)
	_, err = other.Token(t.Context())
	must(t, err)
	sent.Store(0)
	answer, err = one.Client().Get(o.URL + "/orders")
	must(t, err)
	answer.Body.Close()
	if sent.Load() != 3 {
		t.Errorf("sent %d times", sent.Load())
	}
}
