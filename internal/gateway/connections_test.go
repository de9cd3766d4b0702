package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// Counts the connections that a module sees.
type counting struct {
	net.Listener
	n atomic.Int32
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// listening serves handler on a listener that counts connections.
func listening(t *testing.T, handler http.HandlerFunc) (*counting, *http.Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counted, server := &counting{Listener: listener}, &http.Server{Handler: handler}
	go func() { _ = server.Serve(counted) }()
	t.Cleanup(func() { server.Close() })
	return counted, server
}

func TestConnectionsAreKept(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"length":  func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("short")) },
		"chunks":  func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 10_000)) },
		"nothing": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) },
		"cached":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) },
	} {
		t.Run(name, func(t *testing.T) {
			connections, _ := listening(t, handler)
			w := newWorld(t, nil)
			w.moduleAt(openDescriptor, "http://"+connections.Addr().String())
			for _, method := range []string{"GET", "HEAD", "GET", "GET"} {
				call(t, method, w.public+"/", "", diku...)
			}
			if n := connections.n.Load(); n != 1 {
				t.Errorf("%d connections for requests one after the other", n)
			}
		})
	}
}

func TestAConnectionThatTheModuleClosedIsReplaced(t *testing.T) {
	answers := 0
	w := answering(t, func(conn net.Conn) {
		answers++
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		conn.Close() // without saying so
	})
	for range 20 {
		call(t, "GET", w.public+"/", "", diku...).want(t, 200, "ok")
	}
	if answers != 20 {
		t.Errorf("%d answers for 20 requests", answers)
	}
}

func TestAnAnswerThatSaysCloseIsTheLastOfItsConnection(t *testing.T) {
	for name, head := range map[string]string{
		"said":             "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0":         "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"without a length": "HTTP/1.1 200 OK\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			w := answering(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, head)
				conn.Close()
			})
			for range 3 {
				call(t, "GET", w.public+"/", "", diku...).want(t, 200, "ok")
			}
		})
	}
}

// The module that says close and then does not is not asked again on that
// connection, where nobody would answer.
func TestAModuleThatSaysCloseIsTakenAtItsWord(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	w := answering(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		<-done
	})
	for range 3 {
		call(t, "GET", w.public+"/", "", diku...).want(t, 200, "ok")
	}
}

// What a module sends too much must not become the answer to the next request,
// which may be another user's.
func TestWhatComesUnaskedAnswersNobody(t *testing.T) {
	const surplus = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"
	const first = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	t.Run("at once", func(t *testing.T) {
		w := answering(t, func(conn net.Conn) { _, _ = io.WriteString(conn, first+surplus) })
		for range 5 {
			call(t, "GET", w.public+"/", "", diku...).want(t, 200, "ok")
		}
	})
	t.Run("later", func(t *testing.T) {
		read, sent := make(chan struct{}), make(chan struct{})
		w := answering(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, first)
			<-read
			_, _ = io.WriteString(conn, surplus)
			sent <- struct{}{}
		})
		for range 5 {
			call(t, "GET", w.public+"/", "", diku...).want(t, 200, "ok")
			read <- struct{}{}
			<-sent
		}
	})
}

func TestManyRequestsAtOnceGetTheirOwnAnswers(t *testing.T) {
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, r.URL.RawQuery+" "+r.Header.Get("X-Okapi-User-Id")+r.Header.Get("X-Echo"))
	})
	at := w.access()
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("%d.%d", n, i)
				if n%2 == 0 {
					call(t, "GET", w.public+"/?"+id, "", append(diku, "X-Okapi-Token", at, "X-Echo", id)...).want(t, 200, id+" "+alice+id)
				} else {
					call(t, "POST", w.public+"/?"+id, "x", append(diku, "X-Echo", id)...).want(t, 200, id+" "+id)
				}
			}
		})
	}
	wg.Wait()
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("world", func(t *testing.T) {
		w := answering(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		})
		both(t, func(t *testing.T, method, body string) {
			call(t, method, w.public+"/", body, diku...).want(t, 200, "ok")
		})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", w.public+"/", nil)
		_, _ = http.DefaultTransport.RoundTrip(req)
	})
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	goleak.VerifyNone(t, before)
}
