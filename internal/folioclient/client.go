// Package folioclient reads users, their permissions and the tenants of a
// consortium from FOLIO's own modules over HTTP: mod-users and
// mod-permissions. It is a directory.Source but for tenants.
//
// It asks at one address, which the operator configured; no header of a
// request has a say in it. What it sends is encoded, so that no name can become
// a query. What comes back is bounded in size and time, decoded strictly, and
// believed only where it answers what was asked: another user is a fault, and
// so is every answer that is not a success. "No such user" and "no permissions"
// are said by an empty list and by nothing else, because a gateway whose route
// is missing says 404, too.
//
// It keeps nothing. directory.Cache does, also what to answer while FOLIO does
// not.
package folioclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Client asks FOLIO. Fill in URL, Token and Now before the first question; its
// methods are safe for concurrent use.
type Client struct {
	// URL is where Okapi or another gateway answers, http or https, with path
	// prefix if there is one.
	URL string
	// Token makes the token for one question in a tenant, with these
	// permissions and no others.
	Token func(tenant, requestID string, permissions []string) (string, error)
	Now   func() time.Time
	// Timeout bounds one question; 0 is 3 s.
	Timeout time.Duration
	// Log is told when FOLIO stops answering and when it answers again; nil is
	// silence.
	Log *slog.Logger
	// Asked counts questions by kind and outcome, both from small fixed sets,
	// with the time they took; nil counts nothing.
	Asked func(question, outcome string, took time.Duration)

	once     sync.Once
	http     *http.Client
	mu       sync.Mutex
	breakers map[breakerKey]*breaker
}

// breakerKey: one tenant whose module is not there must not cut off the others.
type breakerKey struct{ tenant, question string }

const (
	defaultTimeout = 3 * time.Second
	// maxAnswer bounds an answer in bytes. The permissions of an administrator
	// of everything, expanded, are some 400 KiB.
	maxAnswer = 4 << 20
)

// question is one kind of question: its name in metrics, its path, and the
// permissions that the module demands.
type question struct {
	name        string
	permissions []string
}

var (
	errOpen      = errors.New("FOLIO did not answer lately and is not asked again yet")
	errNoAddress = errors.New("no address to ask at: directory.url is not set and the program does not serve")
	errTooLarge  = fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	errMalformed = errors.New("the answer is not what was asked for")
)

// statusError is an answer that is no success.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }

// get asks and decodes the answer into a struct. Its errors name the question
// and the tenant, and never what was asked about.
func (c *Client) get(ctx context.Context, q question, tenant, path string, query url.Values, into any) error {
	c.once.Do(c.start)
	b := c.breaker(tenant, q.name)
	begin := c.Now()
	if !b.allow(begin) {
		c.asked(q, "skipped", 0)
		return c.fault(q, tenant, errOpen)
	}
	err := c.ask(ctx, q, tenant, path, query, into)
	now := c.Now()
	// A caller who left says nothing about FOLIO.
	var status statusError
	left := ctx.Err() != nil && errors.Is(err, ctx.Err()) && errors.Is(err, context.Canceled)
	ok := err == nil || left || errors.As(err, &status) && status == http.StatusNotFound
	opened, closed := b.done(now, ok)
	c.asked(q, outcome(err), now.Sub(begin))
	switch {
	case opened && c.Log != nil:
		c.Log.WarnContext(ctx, "FOLIO does not answer: what is remembered is used as long as it may be", "question", q.name, "tenant", tenant, "error", err)
	case closed && c.Log != nil:
		c.Log.InfoContext(ctx, "FOLIO answers again", "question", q.name, "tenant", tenant)
	}
	if err != nil {
		return c.fault(q, tenant, err)
	}
	return nil
}

func (c *Client) fault(q question, tenant string, err error) error {
	return fmt.Errorf("ask FOLIO for %s of tenant %q: %w", q.name, tenant, err)
}

func (c *Client) asked(q question, outcome string, took time.Duration) {
	if c.Asked != nil {
		c.Asked(q.name, outcome, took)
	}
}

func outcome(err error) string {
	var status statusError
	var late net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &status):
		return fmt.Sprintf("%dxx", int(status)/100)
	case errors.Is(err, errTooLarge), errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &late) && late.Timeout():
		return "timeout"
	}
	return "unreachable"
}

func (c *Client) breaker(tenant, question string) *breaker {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := breakerKey{tenant, question}
	b := c.breakers[key]
	if b == nil {
		b = new(breaker)
		c.breakers[key] = b
	}
	return b
}

// start makes the client of our own: no proxy of the environment, no cookies,
// no redirects, which would let a module choose where our token goes.
func (c *Client) start() {
	c.breakers = make(map[breakerKey]*breaker)
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: c.Timeout, ControlContext: refuseLinkLocal}
	c.http = &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: c.Timeout, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 32, MaxConnsPerHost: 100, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refuseLinkLocal keeps a name that somebody else resolves from leading to the
// metadata service of a cloud.
func refuseLinkLocal(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := at.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return errors.New("the address is link-local")
	}
	return nil
}

// ask is one request with the headers that mod-authtoken sends.
func (c *Client) ask(ctx context.Context, q question, tenant, path string, query url.Values, into any) error {
	target, err := url.Parse(c.URL)
	if err != nil || target.Host == "" {
		return errNoAddress
	}
	target = target.JoinPath(path)
	target.RawQuery = query.Encode()
	requestID := audit.ActorFrom(ctx).RequestID
	token, err := c.Token(tenant, requestID, q.permissions)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return errNoAddress
	}
	r.Header.Set("X-Okapi-Token", token)
	r.Header.Set("X-Okapi-Tenant", tenant)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	if requestID != "" {
		r.Header.Set("X-Okapi-Request-Id", requestID)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // of repeats the URL, which has a user's name in it
		}
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return statusError(answer.StatusCode)
	}
	if media, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMalformed
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxAnswer:
		return errTooLarge
	}
	// Names twice and invalid UTF-8 are refused; unknown members are FOLIO's
	// next release.
	if err := json.Unmarshal(text, into); err != nil {
		return errMalformed // the decoder repeats what it read
	}
	return nil
}
