package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// states counts the connections of a server by what became of them.
type states struct {
	mu     sync.Mutex
	opened int
	closed chan struct{}
}

func (s *states) note(_ net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.opened++
	case http.StateClosed:
		s.closed <- struct{}{}
	}
}

func directTo(t *testing.T, d *direct, handler http.HandlerFunc) (s *states, get func() error) {
	t.Helper()
	s = &states{closed: make(chan struct{}, 100)}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnState = s.note
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(d.close)
	return s, func() error {
		req, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			return err
		}
		res, err := d.roundTrip(context.Background(), req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
}

func testTransport() *http.Transport {
	return Transport{}.open()
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func TestConnectionsThatNobodyNeedsAreClosed(t *testing.T) {
	d := newDirect(testTransport())
	d.idleFor = time.Millisecond
	s, get := directTo(t, d, hello)
	for range 3 {
		if err := get(); err != nil {
			t.Fatal(err)
		}
		<-s.closed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) != 0 {
		t.Errorf("kept: %v", d.idle)
	}
}

func TestOnlySoManyConnectionsAreKept(t *testing.T) {
	d := newDirect(testTransport())
	d.keep = 2
	var together sync.WaitGroup
	together.Add(5)
	s, get := directTo(t, d, func(w http.ResponseWriter, r *http.Request) {
		together.Done()
		together.Wait() // five at once need five connections
		hello(w, r)
	})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := get(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for range 3 {
		<-s.closed
	}
	for _, kept := range d.idle {
		if len(kept) != 2 {
			t.Errorf("%d are kept", len(kept))
		}
	}
	if s.opened != 5 {
		t.Errorf("%d were opened", s.opened)
	}
}

func TestAHeaderThatWouldBeginAnotherIsNotSent(t *testing.T) {
	d := newDirect(testTransport())
	reached := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(server.Close)
	for _, spoil := range []func(*http.Request){
		func(r *http.Request) { r.Header["X-A"] = []string{"b\r\nX-Okapi-User-Id: evil"} },
		func(r *http.Request) { r.Header["X-A\r\nX-Okapi-User-Id"] = []string{"evil"} },
		func(r *http.Request) { r.Header["X-A"] = []string{"b\x00"} },
		func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX-Okapi-User-Id: evil" },
	} {
		req, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		spoil(req)
		if _, err := d.roundTrip(context.Background(), req); !errors.Is(err, errLine) {
			t.Errorf("%v", err)
		}
	}
	if reached {
		t.Error("the module was reached")
	}
}

func TestWhatMustNotBeRepeatedGoesTheOtherWay(t *testing.T) {
	d := newDirect(testTransport())
	for _, test := range []struct {
		method, url string
		body        io.Reader
		want        bool
	}{
		{"GET", "http://a", nil, true},
		{"HEAD", "http://a", nil, true},
		{"GET", "https://a", nil, false},
		{"GET", "http://a", http.NoBody, true},
		{"GET", "http://a", io.LimitReader(nil, 0), false},
		{"POST", "http://a", nil, false},
		{"DELETE", "http://a", nil, false},
	} {
		req, err := http.NewRequest(test.method, test.url, test.body)
		if err != nil {
			t.Fatal(err)
		}
		if req.Body == http.NoBody {
			req.Body = nil // as ReverseProxy does
		}
		if got := d.suits(req); got != test.want {
			t.Errorf("%s %s: %v", test.method, test.url, got)
		}
	}
}

// An answer of which nobody read the end is still on its way: the connection
// must not be lent again, not even while nothing more has arrived.
func TestAConnectionWithHalfAnAnswerIsNotKept(t *testing.T) {
	d, rest := newDirect(testTransport()), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-rest
	}))
	t.Cleanup(server.Close)
	defer close(rest)
	req, err := http.NewRequest("GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.roundTrip(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if len(d.idle) != 0 {
		t.Errorf("kept: %v", d.idle)
	}
}
