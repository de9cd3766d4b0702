package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
)

// observed wraps a listener's handler: who calls, what came of it, and that no
// panic takes the process or its secrets with it.
type observed struct {
	next    http.Handler
	trusted []netip.Prefix
	// okapi says that an Okapi calls, which tells in X-Okapi-Request-Ip who
	// called it.
	okapi   bool
	log     *slog.Logger
	metrics *metrics
	// listener is "public", "internal" or "admin".
	listener string
	now      func() time.Time
	tracing  *tracing
}

func (o *observed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := o.now()
	actor := audit.Actor{Kind: "anonymous", Address: o.clientAddress(r), UserAgent: cut(r.UserAgent(), 200)}
	r = r.WithContext(o.tracing.begin(audit.WithActor(r.Context(), &actor), o.listener, r))
	answer := statusWriter{ResponseWriter: w}
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler {
				o.finish(r, &answer, &actor, started)
				panic(fault)
			}
			// The value of a panic may hold anything, so it is not logged; the
			// stack holds addresses only.
			o.log.ErrorContext(r.Context(), "request handler panicked", "stack", string(debug.Stack()))
			if answer.status != 0 {
				// The client must not take half an answer for a whole one.
				o.finish(r, &answer, &actor, started)
				panic(http.ErrAbortHandler)
			}
			answer.Header().Set("Content-Type", "application/json")
			answer.WriteHeader(http.StatusInternalServerError)
			_, _ = answer.Write([]byte(`{"message":"internal error","code":"internal","type":"error"}`))
		}
		o.finish(r, &answer, &actor, started)
	}()
	o.next.ServeHTTP(&answer, r)
}

// finish counts the request and logs it: at debug level each, otherwise only
// what went wrong at our end.
func (o *observed) finish(r *http.Request, answer *statusWriter, actor *audit.Actor, started time.Time) {
	status := answer.status
	if status == 0 {
		status = http.StatusOK
	}
	took := o.now().Sub(started)
	o.metrics.request(o.listener, r.Pattern, status, took)
	o.tracing.end(r, status)
	level := slog.LevelDebug
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
	}
	if !o.log.Enabled(r.Context(), level) {
		return
	}
	o.log.LogAttrs(r.Context(), level, "request",
		slog.String("listener", o.listener), slog.String("method", r.Method), slog.String("path", cut(apikey.Redact(r.URL.EscapedPath()), 300)),
		slog.Int("status", status), slog.Int64("bytes", answer.bytes), slog.Duration("took", took),
		slog.String("tenant", cut(r.Header.Get("X-Okapi-Tenant"), 40)))
}

// clientAddress is the address of whoever calls. Forwarding headers are
// believed only from networks that the operator named, and read from the
// right: everything left of the nearest stranger is that stranger's claim.
func (o *observed) clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	peer, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	if caller, err := netip.ParseAddr(r.Header.Get("X-Okapi-Request-Ip")); o.okapi && err == nil {
		peer = caller
	}
	peer = peer.Unmap().WithZone("")
	if !o.trusts(peer) {
		return peer.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := parseHop(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		peer = hop.Unmap().WithZone("")
		if !o.trusts(peer) {
			break
		}
	}
	return peer.String()
}

// parseHop reads an address of X-Forwarded-For. Some proxies add the port.
func parseHop(text string) (netip.Addr, error) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr(), nil
	}
	return netip.ParseAddr(text)
}

func (o *observed) trusts(addr netip.Addr) bool {
	for _, network := range o.trusted {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// statusWriter remembers what was answered. Unwrap lets the proxy flush and
// set deadlines on the connection below.
type statusWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= http.StatusOK && w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// cut shortens what a stranger sent to n bytes of valid UTF-8.
func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// actorHandler adds to each log record who acts and the request id, so that no
// call site has to.
type actorHandler struct{ slog.Handler }

func (h actorHandler) Handle(ctx context.Context, record slog.Record) error {
	if a := audit.ActorFrom(ctx); a.Kind != audit.System.Kind {
		record.AddAttrs(slog.Group("actor", "kind", a.Kind, "name", a.Name, "user_id", a.UserID, "address", a.Address))
		if a.RequestID != "" {
			record.AddAttrs(slog.String("request_id", a.RequestID))
		}
	}
	return h.Handler.Handle(ctx, record)
}

func (h actorHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return actorHandler{h.Handler.WithAttrs(attrs)}
}

func (h actorHandler) WithGroup(name string) slog.Handler {
	return actorHandler{h.Handler.WithGroup(name)}
}
