package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// Transport says how modules are called.
type Transport struct {
	// ResponseTimeout is how long a module may take to begin its answer, 0 is
	// 10 minutes: FOLIO has exports and tenant initialisations that take
	// minutes. How long the answer then takes is not bounded.
	ResponseTimeout time.Duration
	// DialTimeout is how long connecting may take, 0 is 5 seconds.
	DialTimeout time.Duration
	// IdlePerHost is how many idle connections are kept to one instance, 0 is
	// 256. Fewer than there are requests at once means connecting anew for the
	// rest of them.
	IdlePerHost int
	// StartPause is how long to wait for a module that is to be prepared for a
	// tenant and refuses connections, before each of nine more tries; 0 is 4
	// seconds.
	StartPause time.Duration
}

func (t Transport) startPause() time.Duration { return cmp.Or(t.StartPause, 4*time.Second) }

// open makes the transport. It obeys no proxy from the environment, as that
// would see every module's token, and it follows no redirect and unpacks no
// body, as those are the client's business.
func (t Transport) open() *http.Transport {
	dialer := &net.Dialer{Timeout: cmp.Or(t.DialTimeout, 5*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    cmp.Or(t.DialTimeout, 5*time.Second),
		ResponseHeaderTimeout:  cmp.Or(t.ResponseTimeout, 10*time.Minute),
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    cmp.Or(t.IdlePerHost, 256),
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// exchange is one request on its way to a module and back. Exchanges are used
// again: each brings a ReverseProxy that is bound to it.
type exchange struct {
	gateway *Gateway
	proxy   httputil.ReverseProxy

	client   *http.Request // as it came
	caller   session.Caller
	module   string
	upstream *upstream
	base     *url.URL
	told     Outgoing
	// sent says that the request was made ready for the module.
	sent bool
	// pipeline is the filters of third parties, nil for none.
	pipeline *pipeline
}

func (g *Gateway) newExchange() any {
	x := &exchange{gateway: g}
	x.proxy = httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.modify,
		ErrorHandler:   x.fail,
		BufferPool:     copyBuffers{},
		ErrorLog:       slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
	}
	return x
}

// release forgets everything of a request, so that nothing of it can get into
// the next one.
func (x *exchange) release() {
	g := x.gateway
	x.client, x.caller, x.module, x.upstream, x.base, x.told, x.sent = nil, session.Caller{}, "", nil, nil, Outgoing{}, false
	x.pipeline = nil
	g.exchanges.Put(x)
}

// serve proxies. Every fault before the answer has begun is told to the client
// by fail; one after that ends the connection, so that half an answer cannot
// be taken for a whole one.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	x.proxy.ServeHTTP(w, r)
}

// rewrite makes the request for the module. The path and the query are those
// of the client, byte for byte: ReverseProxy would drop what it cannot parse
// of a query, such as a semicolon.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	x.sent = true
	u := pr.Out.URL
	u.Scheme, u.Host, u.User = x.base.Scheme, x.base.Host, nil
	u.RawQuery = pr.In.URL.RawQuery
	pr.Out.Host = ""
	if pr.Out.Body != nil {
		pr.Out.Body = clientBody{pr.Out.Body}
	}
	x.told.Apply(pr.Out)
}

// RoundTrip sends the request with the context that it came with. ReverseProxy
// adds a trace to it by which it hands informational answers (1xx) to the
// client, past CleanResponse: a module's "103 Early Hints" could carry its
// token outside, and would clear the CORS headers of the final answer.
func (x *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	g, ctx := x.gateway, x.client.Context()
	if g.Tracer != nil {
		return g.traced(out.WithContext(ctx), func(out *http.Request) (*http.Response, error) { return g.send(out.Context(), out) })
	}
	return g.send(ctx, out)
}

func (g *Gateway) send(ctx context.Context, out *http.Request) (*http.Response, error) {
	if g.direct.suits(out) {
		return g.direct.roundTrip(ctx, out)
	}
	return g.transport.RoundTrip(out.WithContext(ctx))
}

func (x *exchange) modify(res *http.Response) error {
	if x.pipeline != nil {
		if err := x.pipeline.finish(res); err != nil {
			return err
		}
	}
	cors := x.ownCORS(res)
	if err := CleanResponse(res); err != nil {
		return err
	}
	for name, values := range cors {
		res.Header[name] = values
	}
	if call := partnerCallOf(x.client); call != nil && call.errors == ErrorsOrders {
		if err := ordersResponse(x.client, res); err != nil {
			return err
		}
	}
	x.count(res.StatusCode)
	return nil
}

func (x *exchange) count(status int) {
	x.upstream.metrics.served(x.told.Method, status, x.gateway.Now().Sub(x.told.Time))
}

// fail tells the client about a fault:
//
//	client gone                                     499, for the log alone
//	client's body broke off or cannot be read       400
//	no connection to the module, nothing was sent   503 and Retry-After
//	no answer within Transport.ResponseTimeout      504
//	answer broke off, is no HTTP, switches protocol 502
//
// Okapi says 500 to all of them and names the module's address, which we do
// in its profile and without the address. Otherwise the status tells a client
// whether to try again; the address is for the log.
func (x *exchange) fail(w http.ResponseWriter, _ *http.Request, err error) {
	status, text := x.fault(err)
	x.count(status)
	told := status
	if status > http.StatusInternalServerError && x.gateway.Errors.of(x.client) == ProfileOkapi {
		// Okapi's words, but for the module's address.
		told = http.StatusInternalServerError
		text = fmt.Sprintf("proxyClient failure: %s: %s: %s %s", x.module, text, x.client.Method, cut(x.client.URL.EscapedPath()))
	}
	if status == statusGone {
		w.WriteHeader(status)
		return
	}
	if told == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if status >= http.StatusInternalServerError {
		// Not err itself: net/http repeats there what the module sent, and that
		// may be the token of its caller.
		x.gateway.Log.LogAttrs(x.client.Context(), slog.LevelWarn, "module failed",
			slog.String("module", x.module), slog.String("instance", x.base.Host), slog.Int("status", status), slog.String("error", text))
	}
	x.gateway.say(w, x.client, told, text)
}

func (x *exchange) fault(err error) (status int, text string) {
	var broken bodyFault
	var network net.Error
	var connecting *net.OpError
	switch {
	case errors.Is(x.client.Context().Err(), context.Canceled):
		return statusGone, ""
	case errors.As(err, &broken):
		return http.StatusBadRequest, "The body of the request broke off or cannot be read"
	case !x.sent:
		return http.StatusBadRequest, "Invalid Upgrade header"
	case errors.As(err, &network) && network.Timeout():
		return http.StatusGatewayTimeout, fmt.Sprintf("Module %s did not answer in time", x.module)
	case errors.As(err, &connecting) && connecting.Op == "dial":
		return http.StatusServiceUnavailable, fmt.Sprintf("Module %s cannot be reached", x.module)
	}
	return http.StatusBadGateway, fmt.Sprintf("Module %s gave no valid answer", x.module)
}

// clientBody marks the faults of reading a request, so that they are not taken
// for the module's.
type clientBody struct{ io.ReadCloser }

func (b clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = bodyFault{err}
	}
	return n, err
}

type bodyFault struct{ error }

// copyBuffers lends ReverseProxy the buffers that it copies answers with.
type copyBuffers struct{}

const copyBufferSize = 32 << 10

var copyPool = sync.Pool{New: func() any { return new([copyBufferSize]byte) }}

func (copyBuffers) Get() []byte { return copyPool.Get().(*[copyBufferSize]byte)[:] }

func (copyBuffers) Put(b []byte) { copyPool.Put((*[copyBufferSize]byte)(b)) }
