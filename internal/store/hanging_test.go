package store

import (
	"bytes"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hanging is a way to the database that fails on demand: it holds everything
// back, or closes a connection on which a COMMIT, or an UPDATE that is a
// transaction of its own, was answered before the answer arrives.
type hanging struct {
	url               string
	hung, dropCommits atomic.Bool

	socket  string
	running sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
}

func newHanging(t *testing.T, database string) *hanging {
	t.Helper()
	u, err := url.Parse(database)
	must(t, err)
	dir := u.Query().Get("host")
	if dir == "" {
		t.Skip("the way to this server cannot be made to fail")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h := &hanging{socket: filepath.Join(dir, ".s.PGSQL.5432")}
	u.RawQuery, u.Host = "sslmode=disable", listener.Addr().String()
	h.url = u.String()
	h.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			h.running.Go(func() { h.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		h.mu.Lock()
		for _, c := range h.conns {
			_ = c.Close()
		}
		h.mu.Unlock()
		h.running.Wait()
	})
	return h
}

func (h *hanging) serve(client net.Conn) {
	server, err := net.Dial("unix", h.socket)
	if err != nil {
		_ = client.Close()
		return
	}
	h.mu.Lock()
	h.conns = append(h.conns, client, server)
	h.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { h.copy(server, client, false) })
	group.Go(func() { h.copy(client, server, true) })
	group.Wait()
}

func (h *hanging) copy(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		for h.hung.Load() {
			time.Sleep(time.Millisecond)
		}
		if answers && h.dropCommits.Load() && (bytes.Contains(buffer[:n], []byte("COMMIT\x00")) || bytes.Contains(buffer[:n], []byte("UPDATE "))) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
