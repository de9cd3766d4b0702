package main

import (
	"bytes"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// dice is chance with a seed, for many at once.
type dice struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func newDice(seed, stream uint64) *dice { return &dice{rand: rand.New(rand.NewPCG(seed, stream))} }

func (d *dice) float() float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.Float64()
}

func (d *dice) below(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

// between is a time from a range.
func (d *dice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.float()*float64(to-from))
}

// committed is how PostgreSQL tells that a transaction is committed, or that an
// update was made, which may be one by itself.
var committed = [][]byte{[]byte("C\x00\x00\x00\x0bCOMMIT\x00"), []byte("UPDATE ")}

// link is the only way from a node to its database. It can be cut, it can be
// slow, and it can lose the answer to a COMMIT.
type link struct {
	listener net.Listener
	socket   func() string
	dice     *dice

	isCut atomic.Bool
	delay atomic.Int64
	// loses is how many in a thousand answers to a COMMIT get lost.
	loses atomic.Int64
	lost  atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newLink(t *testing.T, socket func() string, dice *dice) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, socket: socket, dice: dice, conns: map[net.Conn]bool{}}
	go l.accept()
	t.Cleanup(func() {
		l.listener.Close()
		l.cut()
	})
	return l
}

func (l *link) address() string { return l.listener.Addr().String() }

func (l *link) accept() {
	for {
		node, err := l.listener.Accept()
		if err != nil {
			return
		}
		go l.join(node)
	}
}

func (l *link) join(node net.Conn) {
	if l.isCut.Load() {
		node.Close()
		return
	}
	database, err := net.Dial("unix", l.socket())
	if err != nil {
		node.Close()
		return
	}
	l.mu.Lock()
	if l.isCut.Load() {
		l.mu.Unlock()
		node.Close()
		database.Close()
		return
	}
	l.conns[node], l.conns[database] = true, true
	l.mu.Unlock()
	go l.carry(database, node, nil)
	l.carry(node, database, committed)
}

// carry takes bytes one way until either side is gone. After an answer that is
// to be lost, nothing goes any way.
func (l *link) carry(to, from net.Conn, answers [][]byte) {
	defer func() {
		l.mu.Lock()
		delete(l.conns, to)
		delete(l.conns, from)
		l.mu.Unlock()
		to.Close()
		from.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if d := time.Duration(l.delay.Load()); d > 0 {
			time.Sleep(d)
		}
		given := func(answer []byte) bool { return bytes.Contains(buffer[:n], answer) }
		if slices.ContainsFunc(answers, given) && int64(l.dice.below(1000)) < l.loses.Load() {
			l.lost.Add(1)
			return
		}
		if l.isCut.Load() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// cut breaks all connections and lets nobody in until mend.
func (l *link) cut() {
	l.isCut.Store(true)
	l.sever()
}

func (l *link) mend() { l.isCut.Store(false) }

// sever breaks the connections that there are.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

// front stands between the clients and a node. It takes each request through to
// its end and loses a part of the answers.
type front struct {
	url     string
	target  atomic.Pointer[url.URL]
	dice    *dice
	loses   atomic.Int64 // in a thousand
	lost    atomic.Int64
	through *httputil.ReverseProxy
}

func newFront(t *testing.T, dice *dice) *front {
	f := &front{dice: dice}
	f.through = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(f.target.Load()) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorLog:  log.New(io.Discard, "", 0),
		// A node that is gone answers nothing.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	proxy := httptest.NewUnstartedServer(f)
	proxy.Config.ErrorLog = f.through.ErrorLog
	proxy.Start()
	t.Cleanup(proxy.Close)
	f.url = proxy.URL
	return f
}

func (f *front) leadTo(public string) {
	u, _ := url.Parse(public)
	f.target.Store(u)
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	f.through.ServeHTTP(answer, r)
	// A refusal is not lost: the rule promises nothing to who does not hear that
	// his token is superseded, see the policy guide.
	if answer.Code != http.StatusUnprocessableEntity && int64(f.dice.below(1000)) < f.loses.Load() {
		f.lost.Add(1)
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = answer.Body.WriteTo(w)
}
