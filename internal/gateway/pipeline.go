package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	// maxPiped bounds a body that a filter is to see, in bytes. It is held in
	// memory; bodies that only handlers see are not.
	maxPiped = 16 << 20
	// maxLogs bounds the calls of request-log filters that are on their way; one
	// that hangs must not take the others' memory with it.
	maxLogs = 64
	logTime = 10 * time.Second
)

// pipeline is the filters of third parties around one request. They run after
// the gateway's own checks, or to hear of a refusal: whatever they answer, who
// was refused stays refused.
type pipeline struct {
	exchange *exchange
	known    *registry
	facts    Facts
	held     []string
	// authorized is whether the request got past the gateway's own checks.
	authorized    bool
	before, after []*Route

	// header and body are those of the client, with what filters made of them.
	header http.Header
	body   []byte
}

func newPipeline(x *exchange, known *registry, filters []*Route, handler *Route) *pipeline {
	p := &pipeline{exchange: x, known: known}
	for _, f := range filters {
		if f.Handler.level() > handler.Handler.level() {
			p.after = append(p.after, f)
		} else {
			p.before = append(p.before, f)
		}
	}
	return p
}

// ask adds what filters ask of the caller to what the handler does.
func (p *pipeline) ask(f *Facts) {
	f.Required, f.Desired = slices.Clone(f.Required), slices.Clone(f.Desired)
	for _, r := range slices.Concat(p.before, p.after) {
		f.Required = append(f.Required, r.Handler.PermissionsRequired...)
		f.Desired = append(f.Desired, r.Handler.PermissionsDesired...)
	}
	p.facts = *f
}

// serve runs the filters and the handler between them.
func (p *pipeline) serve(w http.ResponseWriter, r *http.Request, refused error) {
	x := p.exchange
	p.header = r.Header.Clone()
	if refused != nil {
		p.refuse(w, r, refused)
		return
	}
	inner := *r
	if seesBody(p.before) && r.Body != nil {
		if err := p.hold(r); err != nil {
			x.gateway.refuse(w, r, err)
			return
		}
	}
	for _, f := range p.before {
		a, err := p.call(f)
		if err != nil {
			p.fail(w, f, err)
			return
		}
		if a == nil {
			continue
		}
		stop := a.header.Get("X-Okapi-Stop")
		if f.Handler.Phase == "" && (!a.ok() || stop != "" && f.Handler.exchangesBody()) {
			p.end(w, f, a, stop)
			return
		}
		p.absorb(f, a)
	}
	inner.Header = p.header
	if p.body != nil {
		inner.Body, inner.ContentLength, inner.TransferEncoding = io.NopCloser(bytes.NewReader(p.body)), int64(len(p.body)), nil
	}
	x.client = &inner
	x.serve(w, &inner)
}

func seesBody(filters []*Route) bool {
	return slices.ContainsFunc(filters, func(f *Route) bool { return f.Handler.Type != "headers" })
}

// hold reads the client's body, for filters.
func (p *pipeline) hold(r *http.Request) (err error) {
	if p.body, err = readBody(r, maxPiped); len(p.body) == 0 && err == nil {
		p.body = nil
	}
	return err
}

// refuse answers a refusal of the gateway's, after filters of the phases pre
// and post have heard of it. What they answer changes nothing.
func (p *pipeline) refuse(w http.ResponseWriter, r *http.Request, err error) {
	g, kept := p.exchange.gateway, &keptAnswer{header: w.Header()}
	g.refuse(kept, r, err)
	if !p.authorized && r.Context().Err() == nil {
		about := []string{"X-Okapi-Auth-Result", strconv.Itoa(kept.status), "X-Okapi-Auth-Headers", headersAsJSON(kept.header)}
		for _, f := range slices.Concat(p.before, p.after) {
			if f.Handler.Phase == "" {
				continue
			}
			if _, err := p.call(f, about...); err != nil {
				g.Log.WarnContext(r.Context(), "filter did not hear of a refusal", "module", f.ModuleID)
			}
		}
	}
	w.WriteHeader(kept.status)
	_, _ = w.Write(kept.body.Bytes()) // a client that is gone needs no answer
}

// keptAnswer keeps status and body of an answer for later.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header         { return k.header }
func (k *keptAnswer) WriteHeader(status int)      { k.status = status }
func (k *keptAnswer) Write(b []byte) (int, error) { return k.body.Write(b) }

// finish runs the filters after the handler, before anything of its answer has
// gone to the client. Status and headers stay the handler's.
func (p *pipeline) finish(res *http.Response) error {
	if len(p.after) == 0 {
		return nil
	}
	var err error
	hasBody := p.exchange.client.Method != http.MethodHead && res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusNotModified
	piped := hasBody && seesBody(p.after)
	p.body = nil
	if piped {
		if p.body, err = readAll(res.Body); err != nil {
			return err
		}
		_ = res.Body.Close() // read whole
	}
	about := []string{"X-Okapi-Handler-Result", strconv.Itoa(res.StatusCode), "X-Okapi-Handler-Headers", headersAsJSON(res.Header)}
	p.header.Del("Content-Type")
	if kind := res.Header.Get("Content-Type"); kind != "" {
		p.header.Set("Content-Type", kind)
	}
	for _, f := range p.after {
		a, err := p.call(f, about...)
		if err != nil {
			p.exchange.module = f.ModuleID
			return err
		}
		if a != nil && a.ok() && f.Handler.exchangesBody() && piped {
			p.body = a.body
			res.Header.Del("Content-Encoding")
		}
	}
	if piped {
		res.Body, res.ContentLength, res.TransferEncoding = io.NopCloser(bytes.NewReader(p.body)), int64(len(p.body)), nil
		res.Header.Set("Content-Length", strconv.Itoa(len(p.body)))
	}
	return nil
}

// end answers with what a filter without phase said in place of the handler:
// it failed, or has Okapi stop there.
func (p *pipeline) end(w http.ResponseWriter, f *Route, a *filterAnswer, stop string) {
	res := &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body))}
	if stop == "" {
		about := []string{"X-Okapi-Handler-Result", strconv.Itoa(a.status)}
		for _, post := range p.after {
			if post.Handler.Phase == "" {
				continue
			}
			if _, err := p.call(post, about...); err != nil {
				p.fail(w, post, err)
				return
			}
		}
	}
	if err := CleanResponse(res); err != nil {
		p.fail(w, f, err)
		return
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	if stop != "" {
		w.Header().Set("X-Okapi-Stop", stop)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}

// fail answers for a filter that cannot be asked: a request that it was to see
// must not go on without it.
func (p *pipeline) fail(w http.ResponseWriter, f *Route, err error) {
	var refusal *Refusal
	x := p.exchange
	if errors.As(err, &refusal) {
		x.gateway.refuse(w, x.client, err)
		return
	}
	x.module, x.sent = f.ModuleID, true
	x.fail(w, nil, err)
}

// absorb takes over what the next in line is to see of a filter's answer: X-
// headers, except for those that only the gateway may say, and the body with
// its type where the filter exchanges it.
func (p *pipeline) absorb(f *Route, a *filterAnswer) {
	for name, values := range a.header {
		var buf [longestGoverned]byte
		if folded := fold(name, &buf); hasPrefix(folded, "x-") && !isGoverned(folded) && !fromClient(folded) {
			p.header[name] = values[len(values)-1:]
		}
	}
	if !f.Handler.exchangesBody() || !a.ok() || p.body == nil && len(a.body) == 0 {
		return
	}
	p.body = a.body
	p.header.Del("Content-Encoding")
	if kind := a.header.Get("Content-Type"); kind != "" {
		p.header.Set("Content-Type", kind)
	}
}

// filterAnswer is what a filter said.
type filterAnswer struct {
	status int
	header http.Header
	body   []byte // of those that exchange it
}

func (a *filterAnswer) ok() bool { return a.status >= 200 && a.status <= 299 }

// call asks one filter. about are further headers, name and value in turn. The
// answer of a request-log filter is not waited for, and is nil.
func (p *pipeline) call(f *Route, about ...string) (*filterAnswer, error) {
	x := p.exchange
	ctx := x.client.Context()
	if f.Handler.Type != "request-log" {
		req, err := p.request(ctx, f, about)
		if err != nil {
			return nil, err
		}
		return x.gateway.filterAnswer(req, f.Handler)
	}
	g := x.gateway
	select {
	case g.logging <- struct{}{}:
	default:
		g.Log.WarnContext(ctx, "request not logged, too many are on their way", "module", f.ModuleID)
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logTime)
	req, err := p.request(ctx, f, about)
	if err != nil {
		cancel()
		<-g.logging
		return nil, err
	}
	go func() {
		defer func() { cancel(); <-g.logging }()
		if _, err := g.filterAnswer(req, f.Handler); err != nil {
			g.Log.WarnContext(ctx, "request not logged", "module", f.ModuleID)
		}
	}()
	return nil, nil
}

func (g *Gateway) filterAnswer(req *http.Request, e *RoutingEntry) (*filterAnswer, error) {
	res, err := g.call(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // read or given up
	a := &filterAnswer{status: res.StatusCode, header: res.Header}
	if a.body, err = readAll(res.Body); err != nil {
		return nil, err
	}
	return a, nil
}

var errTooLong = errors.New("body is longer than 16 MiB, and a filter is to see it")

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxPiped+1))
	if err == nil && len(body) > maxPiped {
		err = errTooLong
	}
	return body, err
}

// request makes the request for a filter: what the handler is told, with the
// filter's own token and pattern.
func (p *pipeline) request(ctx context.Context, f *Route, about []string) (*http.Request, error) {
	x, g := p.exchange, p.exchange.gateway
	_, base, err := p.known.instance(f.ModuleID)
	if err != nil {
		return nil, err
	}
	path := f.Handler.RewritePath + x.client.URL.EscapedPath()
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	claims := g.ModuleClaims(&p.facts, f.ModuleID, f.Handler.ModulePermissions)
	moduleToken, err := g.Tokens.Mint(claims)
	if err != nil {
		return nil, fmt.Errorf("token for module %s: %w", f.ModuleID, err)
	}
	target := base.Scheme + "://" + base.Host + path
	if q := x.client.URL.RawQuery; q != "" {
		target += "?" + q
	}
	var body []byte
	if f.Handler.Type != "headers" {
		body = p.body
	}
	req, err := http.NewRequestWithContext(ctx, x.client.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = p.header.Clone()
	told := Outgoing{
		URL: g.InternalURL, Tenant: p.facts.Tenant, Token: moduleToken, UserID: claims.UserID, Permissions: p.held,
		RequestID: p.facts.RequestID, IP: x.told.IP, Time: claims.IssuedAt, Method: x.client.Method, MatchPathPattern: f.Pattern,
	}
	told.Apply(req)
	req.Header.Del("Content-Length")
	req.Header.Del("Accept-Encoding") // what it answers is passed on without its encoding
	req.Header.Set("X-Okapi-Filter", strings.TrimSpace(f.Handler.Phase+" "+f.Handler.path()))
	for i := 0; i < len(about); i += 2 {
		req.Header.Set(about[i], about[i+1])
	}
	return req, nil
}

// headersAsJSON is headers without those that are the gateway's own, and
// without cookies, which are between a module and its client.
func headersAsJSON(h http.Header) string {
	all := make(map[string]string, len(h))
	for name, values := range h {
		var buf [longestGoverned]byte
		if folded := fold(name, &buf); !isGoverned(folded) && string(folded) != "set-cookie" {
			all[name] = strings.ToValidUTF8(strings.Join(values, ","), "\ufffd")
		}
	}
	text, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return "{}"
	}
	return string(text)
}
