package server_test

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// line is the cable between a program and its database.
type line struct {
	net.Listener
	network, address string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

// newLine leads to the database of a URL, and returns the URL of its other end.
func newLine(t *testing.T, database string) (*line, string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{network: "tcp", address: u.Host, conns: make(map[net.Conn]bool)}
	if query := u.Query(); query.Has("host") { // the directory of a socket
		l.network, l.address = "unix", filepath.Join(query.Get("host"), ".s.PGSQL."+cmp.Or(query.Get("port"), "5432"))
		query.Del("host")
		query.Del("port")
		u.RawQuery = query.Encode()
	}
	if l.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); l.cut() })
	go l.serve()
	u.Host = l.Addr().String()
	return l, u.String()
}

func (l *line) serve() {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial(l.network, l.address)
		if err != nil || !l.hold(near, far) {
			near.Close()
			continue
		}
		go carry(near, far)
		go carry(far, near)
	}
}

func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}

func (l *line) hold(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.down {
			c.Close()
		}
		l.conns[c] = true
	}
	return !l.down
}

// cut breaks every connection, and all that come until it is mended.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// eventually waits for something that comes by itself.
func (o *office) eventually(what string, is func() bool) {
	o.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			o.t.Fatalf("never: %s", what)
		}
	}
}

// The database goes away: nobody is logged out, calls to modules go on for as
// long as the node may trust its memory, and everything works again by itself.
func TestAnUnreachableDatabaseLogsNobodyOut(t *testing.T) {
	const trust = 12 * time.Second
	cable, database := newLine(t, pgtest.Database(t))
	o := emptyOffice(t, func(c *server.Config) {
		c.Store, c.MasterKey, c.TrustMemory = database, clusterKey, session.Duration(trust)
	})
	o.populate()
	o.enable("mod-orders-1.0.0", ordersHandlers, moduleThatAnswers(t))
	tokens := o.login()
	if got := o.orders(tokens.Access); got.status != 200 {
		t.Fatalf("before: %d %s", got.status, got.body)
	}
	health := func() (int, string) {
		got, err := o.send(http.MethodGet, o.URL(server.Admin)+"/admin/health", nil)
		o.must(err)
		return got.status, string(got.body)
	}

	cable.cut()
	cut := time.Now()
	if status, word := health(); status != 200 || !strings.HasPrefix(word, "degraded") {
		t.Errorf("health is %d %q", status, word)
	}
	if got := o.orders(tokens.Access); got.status != 200 {
		t.Errorf("a call to a module: %d %s", got.status, got.body)
	}
	refused := o.post("/authn/refresh", nil, "Cookie", "folioRefreshToken="+tokens.Refresh)
	if refused.status != 503 || refused.header.Get("Retry-After") == "" || len(refused.cookies) != 0 {
		t.Errorf("refresh: %d, Retry-After %q, cookies %v", refused.status, refused.header.Get("Retry-After"), refused.cookies)
	}
	if got := o.post("/authn/logout", nil, "Cookie", "folioRefreshToken="+tokens.Refresh); got.status != 503 || len(got.cookies) != 0 {
		t.Errorf("logout that was not done: %d, cookies %v", got.status, got.cookies)
	}
	o.eventually("the node stops trusting its memory", func() bool { return o.orders(tokens.Access).status == 503 })
	if since := time.Since(cut); since < trust-2*time.Second {
		t.Errorf("calls to modules were refused after %s, %s were allowed", since, trust)
	}
	if status, _ := health(); status != 503 {
		t.Errorf("health is %d", status)
	}

	cable.mend()
	o.eventually("calls to modules go on", func() bool { return o.orders(tokens.Access).status == 200 })
	if got := o.refresh(tokens.Refresh); got.status != 201 {
		t.Errorf("refresh: %d %s", got.status, got.body)
	}
	if status, word := health(); status != 200 || word != "OK" {
		t.Errorf("health is %d %q", status, word)
	}
}
