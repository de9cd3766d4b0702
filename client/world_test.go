package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

func TestMain(m *testing.M) {
	childMain()
	goleak.VerifyTestMain(m)
}

// orders is a gateway with a module behind it, which counts what it served.
type orders struct {
	*clienttest.Server
	served atomic.Int64
}

func serveOrders(s *clienttest.Server) *orders {
	o := &orders{Server: s}
	s.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		o.served.Add(1)
		_, _ = io.Copy(w, r.Body)
	})
	return o
}

// watched is a transport that counts answers of 401 and may run something
// before each request to a path.
type watched struct {
	base         http.RoundTripper
	unauthorized atomic.Int64
	before       func(*http.Request) error
}

func watch(s *clienttest.Server) *watched { return &watched{base: s.HTTP().Transport} }

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.before != nil {
		if err := w.before(r); err != nil {
			if r.Body != nil {
				r.Body.Close()
			}
			return nil, err
		}
	}
	answer, err := w.base.RoundTrip(r)
	if err == nil && answer.StatusCode == http.StatusUnauthorized {
		w.unauthorized.Add(1)
	}
	return answer, err
}

// through is a session whose every request passes w, its own and others.
func (o *orders) through(w *watched) *client.Session {
	s := o.Session()
	s.HTTP = &http.Client{Transport: w}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get fetches the orders and returns the error, also for a bad status.
func (o *orders) get(ctx context.Context, c *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL+"/orders", nil)
	if err != nil {
		return err
	}
	return finish(c.Do(r))
}

func finish(answer *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status + " " + string(text))
	}
	return nil
}

// together runs f so often at once and fails for each error.
func together(t testing.TB, n int, f func() error) {
	t.Helper()
	var all sync.WaitGroup
	start := make(chan struct{})
	for range n {
		all.Go(func() {
			<-start
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	all.Wait()
}

// count compares what happened at the gateway.
func (o *orders) count(t testing.TB, want clienttest.Count) {
	t.Helper()
	if got := o.Count(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// ended asserts that err is a *SessionEnded for the reason.
func ended(t testing.TB, err error, reason client.Reason) {
	t.Helper()
	var e *client.SessionEnded
	if !errors.As(err, &e) || e.Reason != reason {
		t.Errorf("got %v, want the session ended: %s", err, reason)
	}
}

func body(text string) io.Reader { return strings.NewReader(text) }

// opaque hides that a body could be read again.
type opaque struct{ io.Reader }
