package pgtest

import (
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Trips is a way to a server that counts round trips: how often somebody spoke
// after having been answered.
type Trips struct {
	// URL leads to the same database by this way.
	URL string

	socket   string
	listener net.Listener
	count    atomic.Int64
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

// CountTrips opens a way to a database whose URL names the directory of a
// socket.
func CountTrips(database string) (*Trips, error) {
	u, err := url.Parse(database)
	if err != nil {
		return nil, err
	}
	dir := u.Query().Get("host")
	if dir == "" {
		return nil, errors.New("the server is not reached by a socket")
	}
	t := &Trips{socket: filepath.Join(dir, ".s.PGSQL.5432")}
	if t.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	u.RawQuery, u.Host = "sslmode=disable", t.listener.Addr().String()
	t.URL = u.String()
	t.running.Go(t.accept)
	return t, nil
}

// Count is how many there have been, on all connections.
func (t *Trips) Count() int64 { return t.count.Load() }

// Close cuts the connections that are left.
func (t *Trips) Close() {
	_ = t.listener.Close()
	t.mu.Lock()
	for _, c := range t.conns {
		_ = c.Close()
	}
	t.mu.Unlock()
	t.running.Wait()
}

func (t *Trips) accept() {
	for {
		client, err := t.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", t.socket)
		if err != nil {
			_ = client.Close()
			continue
		}
		t.mu.Lock()
		t.conns = append(t.conns, client, server)
		t.mu.Unlock()
		answered := &atomic.Bool{}
		answered.Store(true)
		t.running.Go(func() { pass(server, client, func() { t.asked(answered) }) })
		t.running.Go(func() { pass(client, server, func() { answered.Store(true) }) })
	}
}

func (t *Trips) asked(answered *atomic.Bool) {
	if answered.Swap(false) {
		t.count.Add(1)
	}
}

func pass(to, from net.Conn, seen func()) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		seen()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
