package server_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// named brings requests for the public URL to the program, and tells the
// program's time.
type named struct {
	*office
	mu sync.Mutex
	// seen are headers of the requests that came.
	seen []http.Header
}

func (n *named) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(n.URL(server.Public))
	if err != nil {
		return nil, err
	}
	inner := r.Clone(r.Context())
	inner.URL.Scheme, inner.URL.Host = to.Scheme, to.Host
	n.mu.Lock()
	n.seen = append(n.seen, inner.Header)
	n.mu.Unlock()
	answer, err := n.office.client.Transport.RoundTrip(inner)
	if err == nil {
		answer.Header.Set("Date", n.config.Now().UTC().Format(http.TimeFormat))
		answer.Request = r
	}
	return answer, err
}

// buys calls a module, with a body that must come again where the first proof
// does not do.
func (n *named) buys(c *client.Session) {
	n.t.Helper()
	web := &http.Client{Transport: &client.Transport{Session: c, Base: n}}
	r, err := http.NewRequest(http.MethodPost, issuer+"/orders?x=1", strings.NewReader("an order"))
	n.must(err)
	answer, err := web.Do(r)
	n.must(err)
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK || string(text) != "an order" {
		n.t.Fatalf("%d %s %v", answer.StatusCode, text, err)
	}
}

func openNamed(t *testing.T, adjust func(*server.Config)) *named {
	t.Helper()
	n := &named{office: openScreens(t, adjust).office}
	module := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(module.Close)
	n.enable("mod-echo-1.0.0", `[{"methods":["POST"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]},
		{"methods":["DELETE"],"pathPattern":"/orders","permissionsRequired":["orders.collection.delete"]}]`, module.URL)
	return n
}

func (n *named) session(file string) *client.Session {
	c := &client.Session{
		BaseURL: issuer, Tenant: "diku", Now: n.config.Now, HTTP: &http.Client{Transport: n}, DPoP: &client.DPoP{},
		Login: client.Password{Username: "reader", Password: readerPW},
	}
	if file != "" {
		c.Store = client.FileStore{Path: file}
	}
	return c
}

// bound is the one session, which is bound to a key.
func (n *named) bound(rotations int) *session.Session {
	n.t.Helper()
	page, err := n.Store().ListSessions(context.Background(), session.Filter{Tenant: "diku", Live: true})
	n.must(err)
	if len(page.Sessions) != 1 || page.Sessions[0].Confirm == "" || page.Sessions[0].Gen != uint64(rotations) {
		n.t.Fatalf("%+v", page.Sessions)
	}
	return &page.Sessions[0]
}

func TestClientWithAKeyKeepsItsSession(t *testing.T) {
	for name, adjust := range map[string]func(*server.Config){
		"plain":  nil,
		"nonces": func(c *server.Config) { yes := true; c.Policy.ProofNonce = &yes },
	} {
		t.Run(name, func(t *testing.T) {
			n := openNamed(t, adjust)
			file := filepath.Join(t.TempDir(), "session.json")
			first, second := n.session(file), n.session(file)
			for range 3 {
				n.buys(first)
				n.buys(second)
				n.wait(10 * time.Minute)
			}
			n.bound(3)
			for _, h := range n.seen {
				if h.Get("X-Okapi-Token") != "" || h.Get("DPoP") == "" {
					t.Errorf("a request without proof: %v", h)
				}
			}
			// The next run finds the key in the file.
			n.buys(n.session(file))
			n.bound(4)
			n.must(second.Logout(t.Context()))
		})
	}
}

// A clock that is wrong makes no proofs that are refused for good.
func TestClientWithAKeyNeedsNoClock(t *testing.T) {
	n := openNamed(t, nil)
	c := n.session("")
	c.Now = func() time.Time { return n.config.Now().Add(-3 * time.Hour) }
	n.buys(c)
	n.wait(10 * time.Minute)
	n.buys(c)
	n.bound(2)
}

func TestClientWithAKeyOfItsOwn(t *testing.T) {
	n := openNamed(t, nil)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	n.must(err)
	file := filepath.Join(t.TempDir(), "session.json")
	c := n.session(file)
	c.DPoP.Key = key
	n.buys(c)
	n.wait(10 * time.Minute)
	n.buys(c)
	n.bound(2)
	stolen := n.session(file) // the file without the key
	stolen.Login = nil
	n.wait(10 * time.Minute)
	if _, err := stolen.Token(t.Context()); err == nil {
		t.Error("the file does without the key")
	}
	n.buys(c)
	n.bound(3)
}

func TestClientWithAKeyRaisesScope(t *testing.T) {
	n := openNamed(t, func(c *server.Config) {
		c.Policy.StepUp = &session.StepUps{"orders.collection.delete": {ACR: session.ACRElevated}}
	})
	c := n.session("")
	c.Elevate = func(context.Context, *client.ElevationRequired) (string, error) { return readerPW, nil }
	n.buys(c)
	web := &http.Client{Transport: &client.Transport{Session: c, Base: n}}
	r, err := http.NewRequest(http.MethodDelete, issuer+"/orders", nil)
	n.must(err)
	answer, err := web.Do(r)
	n.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestClientOfADeviceWithAKey(t *testing.T) {
	n := openNamed(t, nil)
	screens := &standards{office: n.office}
	c := n.session("")
	c.Login = nil
	n.must(c.LogInDevice(t.Context(), client.Device{ClientID: "screen", Show: func(code client.DeviceCode) { screens.answer(code.UserCode, "allow", readerPW) }}))
	n.buys(c)
	n.wait(10 * time.Minute)
	n.buys(c)
	n.bound(3)
}

// A server that takes no notice of proofs is not taken for one that does.
func TestClientWithAKeyRefusesATokenThatIsBoundToNone(t *testing.T) {
	n := openNamed(t, nil)
	c := n.session("")
	c.Login = client.FOLIOPassword{Username: "reader", Password: readerPW}
	_, err := c.Token(t.Context())
	var ended *client.SessionEnded
	if !errors.As(err, &ended) || !errors.Is(err, client.ErrNotBound) {
		t.Error(fmt.Sprint(err))
	}
}
