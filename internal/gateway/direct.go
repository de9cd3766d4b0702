package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// direct sends requests without a body over plain HTTP on the goroutine that
// serves them. http.Transport hands every request to one goroutine that writes
// and to another that reads, which is a sixth of the CPU time that proxying a
// small request takes. Answers are read by net/http's own ReadResponse; what is
// left to do is to write requests and to keep connections.
//
// It takes only what can be sent again when a kept connection turns out to be
// closed. Everything else goes through http.Transport, see suits.
type direct struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// timeout is how long an answer may take to begin.
	timeout time.Duration
	// idleFor is how long a connection is kept unused, keep how many to one
	// address.
	idleFor time.Duration
	keep    int

	mu   sync.Mutex
	idle map[string][]*directConn // by address, the last one used last
}

// newDirect works with the limits of t.
func newDirect(t *http.Transport) *direct {
	return &direct{
		dial: t.DialContext, timeout: t.ResponseHeaderTimeout, idleFor: t.IdleConnTimeout, keep: t.MaxIdleConnsPerHost,
		idle: make(map[string][]*directConn),
	}
}

type directConn struct {
	net.Conn
	address string
	raw     syscall.RawConn
	head    io.LimitedReader // under reader, to bound what is read before a body
	reader  *bufio.Reader
	writer  *bufio.Writer
	// timer closes the connection: when an answer does not begin in time, and
	// when nobody needed the connection for long.
	timer *time.Timer
}

// maxHead bounds the head of an answer in bytes.
const maxHead = 64 << 10

// errStale is a connection that ended before it brought anything.
var errStale = errors.New("connection was closed without an answer")

// suits says whether a request can go this way.
func (d *direct) suits(r *http.Request) bool {
	return r.URL.Scheme == "http" && r.Body == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// roundTrip is RoundTrip of http.RoundTripper, but it is ctx that ends it, and
// not the context of the request.
func (d *direct) roundTrip(ctx context.Context, r *http.Request) (*http.Response, error) {
	address := r.URL.Host
	if r.URL.Port() == "" {
		address = net.JoinHostPort(r.URL.Hostname(), "80")
	}
	for c := d.take(address); c != nil; c = d.take(address) {
		if res, err := d.try(ctx, c, r); !errors.Is(err, errStale) {
			return res, err
		}
	}
	conn, err := d.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return d.try(ctx, d.open(conn, address), r)
}

func (d *direct) open(conn net.Conn, address string) *directConn {
	c := &directConn{Conn: conn, address: address, head: io.LimitedReader{R: conn}}
	c.reader, c.writer = bufio.NewReader(&c.head), bufio.NewWriter(conn)
	if s, ok := conn.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn()
	}
	c.timer = time.AfterFunc(d.timeout, func() { d.expire(c) })
	return c
}

// try sends the request on one connection and reads the head of the answer.
func (d *direct) try(ctx context.Context, c *directConn, r *http.Request) (*http.Response, error) {
	c.timer.Reset(d.timeout)
	c.head.N = maxHead
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	res, err := c.send(r)
	if !c.timer.Stop() {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		stop()
		_ = c.Close()
		if gone := ctx.Err(); gone != nil {
			err = gone
		}
		return nil, err
	}
	c.head.N = math.MaxInt64
	last := res.Close || res.StatusCode == http.StatusSwitchingProtocols
	body := &directBody{ReadCloser: res.Body, direct: d, conn: c, stop: stop, last: last}
	if res.Body == http.NoBody {
		body.end(true)
	} else {
		res.Body = body
	}
	return res, nil
}

// send fails with errStale as long as nothing came back. It skips
// informational answers (1xx), of which as many are allowed as in net/http.
func (c *directConn) send(r *http.Request) (*http.Response, error) {
	if err := c.write(r); err != nil {
		return nil, err
	}
	if err := c.writer.Flush(); err != nil {
		return nil, errors.Join(errStale, err)
	}
	if _, err := c.reader.Peek(1); err != nil {
		return nil, errors.Join(errStale, err)
	}
	for range 6 {
		res, err := http.ReadResponse(c.reader, r)
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
	}
	return nil, errors.New("too many informational answers")
}

// write does what Request.Write does for a request without a body, but does
// not sort the headers, which took longer than writing them.
func (c *directConn) write(r *http.Request) error {
	uri := r.URL.RequestURI()
	if strings.ContainsFunc(uri, breaksLine) {
		return errLine
	}
	w := c.writer // keeps its error for Flush
	for _, s := range [...]string{r.Method, " ", uri, " HTTP/1.1\r\nHost: ", r.URL.Host, "\r\n"} {
		_, _ = w.WriteString(s)
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			continue // net/http tells them by fields of the request
		}
		for _, value := range values {
			if strings.ContainsFunc(name, breaksLine) || strings.ContainsFunc(value, breaksLine) {
				return errLine
			}
			if value == "" && name == "User-Agent" {
				continue // ReverseProxy's way to say that there is none
			}
			for _, s := range [...]string{name, ": ", value, "\r\n"} {
				_, _ = w.WriteString(s)
			}
		}
	}
	_, _ = w.WriteString("\r\n")
	return nil
}

var errLine = errors.New("request has a line break or another control character in a header")

// breaksLine is whether a character must not stand in a header. net/http lets
// none in, and nothing that the gateway adds has one; a header that could
// begin another would still be too much to rely upon that.
func breaksLine(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// take lends a kept connection, nil if there is none. One on which something
// has arrived since is not lent: what came unasked would be taken for the
// answer to the next request, and that is somebody else's.
func (d *direct) take(address string) *directConn {
	for {
		d.mu.Lock()
		kept := d.idle[address]
		if len(kept) == 0 {
			d.mu.Unlock()
			return nil
		}
		c := kept[len(kept)-1]
		kept[len(kept)-1] = nil
		d.idle[address] = kept[:len(kept)-1]
		d.mu.Unlock()
		if c.timer.Stop() && c.silent() {
			return c
		}
		_ = c.Close()
	}
}

// silent is whether the connection is open and has brought nothing.
func (c *directConn) silent() bool {
	if c.raw == nil {
		return false
	}
	silent := false
	err := c.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:]) // does not wait, as all of Go's sockets
		silent = err == syscall.EAGAIN
		return true
	})
	return err == nil && silent
}

// put keeps a connection for the next request.
func (d *direct) put(c *directConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle[c.address]) >= d.keep {
		_ = c.Close()
		return
	}
	d.idle[c.address] = append(d.idle[c.address], c)
	c.timer.Reset(d.idleFor)
}

// expire closes a connection whose time is over, whether it is kept or used.
func (d *direct) expire(c *directConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.idle[c.address]
	if i := slices.Index(kept, c); i >= 0 {
		d.idle[c.address] = slices.Delete(kept, i, i+1)
	}
	if len(d.idle[c.address]) == 0 {
		delete(d.idle, c.address)
	}
	_ = c.Close()
}

// close closes all kept connections.
func (d *direct) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, kept := range d.idle {
		for _, c := range kept {
			c.timer.Stop()
			_ = c.Close()
		}
	}
	clear(d.idle)
}

// directBody gives the connection back when the answer has been read.
type directBody struct {
	io.ReadCloser
	direct *direct
	conn   *directConn // nil once it was given back
	stop   func() bool
	last   bool // the module closes the connection after this answer
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end(err == io.EOF)
	}
	return n, err
}

// Close does not read what is left, as that may be without end.
func (b *directBody) Close() error {
	b.end(false)
	return nil
}

// end keeps the connection if the answer was read whole and nothing came after
// it, and closes it otherwise.
func (b *directBody) end(whole bool) {
	c := b.conn
	if c == nil {
		return
	}
	b.conn = nil
	if b.stop() && whole && !b.last && c.reader.Buffered() == 0 {
		b.direct.put(c)
		return
	}
	_ = c.Close()
}
