package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

// openDescriptor lets everybody do everything.
const openDescriptor = `{"id":"mod-open-1.0.0","provides":[{"id":"open","version":"1.0","handlers":[
	{"methods":["*"],"pathPattern":"/*","permissionsRequired":[]}]}]}`

// serving is a world with one open module.
func serving(t testing.TB, handler http.HandlerFunc) *world {
	w := newWorld(t, nil)
	w.module(openDescriptor, handler)
	return w
}

// answering is a world with a module that reads a request and then does with
// its connection what it likes.
func answering(t *testing.T, answer func(net.Conn)) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for from := bufio.NewReader(conn); ; {
					req, err := http.ReadRequest(from)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					answer(conn)
				}
			}()
		}
	}()
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) {
		g.Transport.ResponseTimeout = 200 * time.Millisecond
	})
	w.moduleAt(openDescriptor, "http://"+listener.Addr().String())
	return w
}

// both runs a test for requests without a body and with one, which go to the
// module in different ways.
func both(t *testing.T, test func(t *testing.T, method, body string)) {
	t.Run("without body", func(t *testing.T) { test(t, "GET", "") })
	t.Run("with body", func(t *testing.T) { test(t, "POST", "body") })
}

var diku = []string{"X-Okapi-Tenant", "diku"}

func TestPathAndQueryReachTheModuleByteForByte(t *testing.T) {
	w := serving(t, echo)
	for _, uri := range []string{
		"/a%2Fb", "/a%20b/c", "/%61", "/a;b=c/d,e", "/a+b", "/a/", "/~x/@y:z!$&'()*=", "/a%C3%A9",
		"/a?b=1;c=2", "/a?", "/a?%zz&=&&x=%2F+%20", "/a?q=a?b/c",
	} {
		both(t, func(t *testing.T, method, body string) {
			s := call(t, method, w.public+uri, body, diku...).seen(t)
			if s.URI != uri || s.Method != method || s.Body != body {
				t.Errorf("sent %s %s %q, the module saw %s %s %q", method, uri, body, s.Method, s.URI, s.Body)
			}
		})
	}
}

func TestTheModuleSeesItsOwnHost(t *testing.T) {
	var address string
	w := newWorld(t, nil)
	address = w.listen(http.HandlerFunc(echo))
	w.moduleAt(openDescriptor, address+"/")
	both(t, func(t *testing.T, method, body string) {
		s := call(t, method, w.public+"/", body, append(diku, "User-Agent", "", "Accept-Encoding", "gzip;q=0.1")...).seen(t)
		if "http://"+s.Host != address {
			t.Errorf("host %s at %s", s.Host, address)
		}
		if s.Header.Get("User-Agent") != "" || s.Header.Get("Accept-Encoding") != "gzip;q=0.1" {
			t.Errorf("headers of the gateway's own: %v", s.Header)
		}
	})
}

func TestAnswersPassAsTheyAre(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("text"))
	_ = z.Close()
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h["Set-Cookie"] = []string{"a=1", "b=2; Path=/"}
		h.Set("Location", "/elsewhere")
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept")
		rw.WriteHeader(http.StatusFound)
		_, _ = rw.Write(zipped.Bytes())
	})
	both(t, func(t *testing.T, method, body string) {
		a := call(t, method, w.public+"/", body, append(diku, "Accept-Encoding", "gzip")...)
		if a.status != 302 || a.header.Get("Location") != "/elsewhere" || a.body != zipped.String() {
			t.Errorf("got %d %v", a.status, a.header)
		}
		if got := a.header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("cookies %q", got)
		}
		if got := a.header.Values("Vary"); len(got) != 2 {
			t.Errorf("vary %q", got)
		}
	})
	a := call(t, "HEAD", w.public+"/", "", diku...)
	if a.status != 302 || a.body != "" {
		t.Errorf("HEAD got %d %q", a.status, a.body)
	}
}

func TestAnswersStreamWhileTheModuleStillWrites(t *testing.T) {
	more := make(chan struct{})
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = rw.Write([]byte("first"))
		_ = http.NewResponseController(rw).Flush()
		<-more
		_, _ = rw.Write([]byte("second"))
	})
	both(t, func(t *testing.T, method, body string) {
		req, _ := http.NewRequest(method, w.public+"/", strings.NewReader(body))
		req.Header.Set("X-Okapi-Tenant", "diku")
		res, err := http.DefaultTransport.RoundTrip(req)
		w.must(err)
		defer res.Body.Close()
		first := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
			t.Fatalf("%q, %v", first, err)
		}
		more <- struct{}{}
		if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "second" {
			t.Errorf("%q, %v", rest, err)
		}
	})
}

func TestBodiesStreamWhileTheClientStillSends(t *testing.T) {
	arrived := make(chan string)
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			arrived <- lines.Text()
		}
		_, _ = rw.Write([]byte("done"))
	})
	read, write := io.Pipe()
	go func() {
		defer write.Close()
		for _, word := range []string{"one", "two", "three"} {
			fmt.Fprintln(write, word)
			if got := <-arrived; got != word { // before the next is sent
				t.Errorf("the module got %q, want %q", got, word)
			}
		}
	}()
	req, _ := http.NewRequest("POST", w.public+"/", read)
	req.Header.Set("X-Okapi-Tenant", "diku")
	res, err := http.DefaultTransport.RoundTrip(req)
	w.must(err)
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "done" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestAModuleMayAnswerBeforeItHasReadTheBody(t *testing.T) {
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		http.Error(rw, "too large", http.StatusRequestEntityTooLarge)
	})
	for range 20 {
		call(t, "POST", w.public+"/", strings.Repeat("x", 100<<10), diku...).want(t, 413, "too large")
	}
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) { _, _ = io.Copy(rw, r.Body) })
	const size = 10 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	a := call(t, "POST", w.public+"/", body, diku...)
	if a.status != 200 || a.body != body {
		t.Errorf("got %d and %d bytes of %d", a.status, len(a.body), size)
	}
}

func TestAClientThatLeavesCancelsTheModulesRequest(t *testing.T) {
	both(t, func(t *testing.T, method, body string) {
		started, gone := make(chan struct{}), make(chan struct{})
		w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(started)
			<-r.Context().Done()
			close(gone)
		})
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, method, w.public+"/", strings.NewReader(body))
		req.Header.Set("X-Okapi-Tenant", "diku")
		go func() {
			<-started
			cancel()
		}()
		if _, err := http.DefaultTransport.RoundTrip(req); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Error("the module was not told")
		}
	})
}

func TestFaultsOfModulesAreToldApart(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer string // "" is none, "close" closes without
		status int
		body   string
	}{
		{"no answer", "", 504, "Module mod-open-1.0.0 did not answer in time"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 504, "Module mod-open-1.0.0 did not answer in time"},
		{"closed without an answer", "close", 502, "Module mod-open-1.0.0 gave no valid answer"},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 502, "Module mod-open-1.0.0 gave no valid answer"},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502, "Module mod-open-1.0.0 gave no valid answer"},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n", 502, "Module mod-open-1.0.0 gave no valid answer"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, "Module mod-open-1.0.0 gave no valid answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := answering(t, func(conn net.Conn) {
				if test.answer == "close" {
					conn.Close()
					return
				}
				_, _ = io.WriteString(conn, test.answer)
			})
			both(t, func(t *testing.T, method, body string) {
				a := call(t, method, w.public+"/", body, diku...)
				a.want(t, test.status, test.body)
				if strings.Contains(a.body, "127.0.0.1") {
					t.Errorf("an address of the inside went out: %q", a.body)
				}
			})
		})
	}
}

func TestPreliminaryAnswersAreNotEndless(t *testing.T) {
	w := answering(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 10))
	})
	call(t, "GET", w.public+"/", "", diku...).want(t, 502, "Module mod-open-1.0.0 gave no valid answer")
}

func TestAModuleThatIsDownIs503(t *testing.T) {
	w := newWorld(t, nil)
	w.moduleAt(openDescriptor, "http://127.0.0.1:1")
	both(t, func(t *testing.T, method, body string) {
		a := call(t, method, w.public+"/", body, diku...)
		a.want(t, 503, "Module mod-open-1.0.0 cannot be reached")
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	})
}

func TestHalfAnAnswerIsNotTakenForAWholeOne(t *testing.T) {
	for name, head := range map[string]string{
		"with a length": "Content-Length: 10\r\n\r\nhalf",
		"in chunks":     "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := answering(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head)
				conn.Close()
			})
			both(t, func(t *testing.T, method, body string) {
				req, _ := http.NewRequest(method, w.public+"/", strings.NewReader(body))
				req.Header.Set("X-Okapi-Tenant", "diku")
				res, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					return // the connection was closed before anything was flushed
				}
				defer res.Body.Close()
				if text, err := io.ReadAll(res.Body); err == nil {
					t.Errorf("a broken answer arrived as %q", text)
				}
			})
		})
	}
}

func TestABodyThatBreaksOffIsTheClientsFault(t *testing.T) {
	w := serving(t, echo)
	res := raw(t, w.public, "POST / HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab\r\nxyz\r\n")
	if res.StatusCode != 400 {
		t.Errorf("got %d", res.StatusCode)
	}
}

// T-44: what a module says before its answer does not pass the header policy,
// and it would clear the CORS headers of the answer.
func TestT44PreliminaryAnswersStayInside(t *testing.T) {
	w := serving(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Okapi-Token", r.Header.Get("X-Okapi-Token"))
		rw.Header().Set("Link", "</x>")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Del("X-Okapi-Token")
		_, _ = rw.Write([]byte("answer"))
	})
	both(t, func(t *testing.T, method, body string) {
		res := raw(t, w.public, fmt.Sprintf("%s / HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\nOrigin: %s\r\nContent-Length: %d\r\n\r\n%s",
			method, origin, len(body), body))
		if res.StatusCode != 200 || res.Header.Get("X-Okapi-Token") != "" || res.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("got %d %v", res.StatusCode, res.Header)
		}
	})
}
