package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The cookies of FOLIO, and how Counterfoil's heal nonces begin.
const (
	accessCookie  = "folioAccessToken"
	refreshCookie = "folioRefreshToken"
	healCookie    = "counterfoilHeal"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// Gateway is the server as a Login sees it.
type Gateway struct {
	// URL is without trailing slash.
	URL    string
	Tenant string
	// HTTP follows no redirects and has no cookie jar: a password must not
	// wander to another host because this one says so.
	HTTP *http.Client
	Now  func() time.Time

	// prover proves a key with each request, nil is that there is none.
	prover *prover
}

// Answer is what the server said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	path   string
	sent   time.Time
	now    time.Time
}

// Post sends body as JSON, unless it is nil, and cookies by name. The error is
// a *RefreshUnavailable if no answer came. Access tokens stay at home: FOLIO
// refuses a login or refresh that carries one of yesterday.
func (g *Gateway) Post(ctx context.Context, path string, body any, cookies map[string]string) (*Answer, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	return g.send(ctx, path, "application/json", text, func(r *http.Request) {
		for _, name := range slices.Sorted(maps.Keys(cookies)) {
			r.AddCookie(&http.Cookie{Name: name, Value: cookies[name]})
		}
	})
}

func (g *Gateway) send(ctx context.Context, path, kind string, text []byte, authorise func(*http.Request)) (*Answer, error) {
	a, err := g.sendOnce(ctx, path, kind, text, authorise)
	if err == nil && g.prover != nil && g.prover.learn(a.Header) && a.wantsProof() {
		return g.sendOnce(ctx, path, kind, text, authorise)
	}
	return a, err
}

// wantsProof is whether it is the proof alone that is refused.
func (a *Answer) wantsProof() bool {
	told := a.oauthError() + a.faultCode() + a.Header.Get("Www-Authenticate")
	return !a.ok() && (strings.Contains(told, "use_dpop_nonce") || strings.Contains(told, "invalid_dpop_proof"))
}

func (g *Gateway) sendOnce(ctx context.Context, path, kind string, text []byte, authorise func(*http.Request)) (*Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Okapi-Tenant", g.Tenant)
	r.Header.Set("Accept", "application/json, text/plain")
	r.Header.Set("Content-Type", kind)
	authorise(r)
	if g.prover != nil {
		access, shown := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
		if !shown {
			access = ""
		}
		if err := g.prover.prove(r, access); err != nil {
			return nil, err
		}
	}
	a := &Answer{path: path, sent: g.Now()}
	answer, err := g.HTTP.Do(r)
	if err != nil {
		return nil, &RefreshUnavailable{Err: err, unserved: neverArrived(err)}
	}
	defer answer.Body.Close()
	a.Status, a.Header, a.now = answer.StatusCode, answer.Header, g.Now()
	if a.Body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer)); err != nil {
		return nil, &RefreshUnavailable{Err: err}
	}
	return a, nil
}

// neverArrived is whether no connection came about, so that nothing was sent.
func neverArrived(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// granted is what successful answers of all endpoints may hold.
type granted struct {
	AccessToken           string `json:"accessToken"`
	RefreshToken          string `json:"refreshToken"`
	AccessTokenExpiration string `json:"accessTokenExpiration"`
	TokenType             string `json:"tokenType"`
}

// Tokens reads the tokens of a successful answer, from body, cookies or, as
// FOLIO had it once, the header.
func (a *Answer) Tokens() (*Tokens, error) {
	var got granted
	_ = json.Unmarshal(a.Body, &got) // what is missing then is missed below
	t := &Tokens{Access: got.AccessToken, Refresh: got.RefreshToken, Received: a.sent, Cookies: map[string]string{}, bound: got.TokenType == "DPoP"}
	if expiry, err := time.Parse(time.RFC3339, got.AccessTokenExpiration); err == nil {
		t.Lifetime = a.until(expiry)
	}
	for _, c := range a.cookies() {
		switch c.Name {
		case accessCookie:
			if t.Access == "" {
				t.Access = c.Value
				if c.MaxAge > 0 {
					t.Lifetime = certain(time.Duration(c.MaxAge) * time.Second)
				}
			}
		case refreshCookie:
			if t.Refresh == "" {
				t.Refresh, t.InCookie = c.Value, true
			}
		default:
			t.Cookies[c.Name] = c.Value
		}
	}
	if t.Access == "" {
		t.Access = a.Header.Get("X-Okapi-Token")
	}
	if t.Access == "" {
		return nil, &RefreshUnavailable{Err: fmt.Errorf("%s answered %d without an access token", a.path, a.Status)}
	}
	return t, nil
}

// cookies are those that the answer sets, without those that it clears.
func (a *Answer) cookies() []*http.Cookie {
	all := (&http.Response{Header: a.Header}).Cookies()
	return slices.DeleteFunc(all, func(c *http.Cookie) bool { return c.MaxAge < 0 || c.Value == "" })
}

// clears is whether the answer takes a cookie back.
func (a *Answer) clears(name string) bool {
	all := (&http.Response{Header: a.Header}).Cookies()
	return slices.ContainsFunc(all, func(c *http.Cookie) bool { return c.Name == name && c.MaxAge < 0 })
}

// until is how long it is to a time of the server's clock. The server says in
// the same answer what time it is there, and ours is asked only if it does not.
func (a *Answer) until(expiry time.Time) time.Duration {
	there, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		there = a.sent
	}
	return certain(expiry.Sub(there))
}

// certain shortens a lifetime that is known to whole seconds by what may be
// missing of it.
func certain(d time.Duration) time.Duration {
	return max(time.Millisecond, d-min(time.Second, d/4))
}

func (a *Answer) ok() bool { return a.Status >= 200 && a.Status < 300 }

// failure is what an answer that is no success says. With one of the statuses
// in final it is a *refusal; with all others the next attempt may be answered
// otherwise: a proxy without its server says 404 as easily as 502.
func (a *Answer) failure(final ...int) error {
	why := &refusal{path: a.path, status: a.Status, message: a.message()}
	if slices.Contains(final, a.Status) {
		return why
	}
	return &RefreshUnavailable{
		RetryAfter: a.retryAfter(), Err: why,
		unserved: a.Status == http.StatusServiceUnavailable || a.Status == http.StatusTooManyRequests,
	}
}

// faultCode is the code of the first of FOLIO's errors.
func (a *Answer) faultCode() string {
	var list struct{ Errors []struct{ Code string } }
	if json.Unmarshal(a.Body, &list) == nil && len(list.Errors) > 0 {
		return list.Errors[0].Code
	}
	return ""
}

// faults is FOLIO's list of errors.
type faults struct {
	Errors []struct {
		Message    string
		Parameters []struct{ Key, Value string }
	}
}

// message is the reason in the server's words, short.
func (a *Answer) message() string {
	var list faults
	var oauth struct { // RFC 6749, section 5.2
		Error       string
		Description string `json:"error_description"`
	}
	text := ""
	switch {
	case json.Unmarshal(a.Body, &list) == nil && len(list.Errors) > 0:
		text = list.Errors[0].Message
	case json.Unmarshal(a.Body, &oauth) == nil && oauth.Error != "":
		text = strings.TrimSuffix(oauth.Error+": "+oauth.Description, ": ")
	case strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain"):
		text = string(a.Body)
	}
	return text[:min(len(text), 200)]
}

func (a *Answer) parameter(key string) string {
	var list faults
	if json.Unmarshal(a.Body, &list) == nil && len(list.Errors) > 0 {
		for _, p := range list.Errors[0].Parameters {
			if p.Key == key {
				return p.Value
			}
		}
	}
	return ""
}

func (a *Answer) retryAfter() time.Duration {
	value := a.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(0, min(seconds, 3600))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	there, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		there = a.now
	}
	return max(0, min(at.Sub(there), time.Hour))
}

// refresh exchanges t for its successor. The error is *superseded or *refusal
// if the server does not want to.
func (g *Gateway) refresh(ctx context.Context, t *Tokens, heal string) (*Tokens, error) {
	if t.Client != "" {
		return g.refreshAsClient(ctx, t, heal)
	}
	cookies := maps.Clone(t.Cookies)
	if cookies == nil {
		cookies = map[string]string{}
	}
	var body any
	if t.InCookie {
		cookies[refreshCookie] = t.Refresh
	} else {
		body = struct {
			RefreshToken string `json:"refreshToken"`
			Heal         string `json:"heal,omitempty"`
		}{t.Refresh, heal}
	}
	a, err := g.Post(ctx, "/authn/refresh", body, cookies)
	if err != nil {
		return nil, err
	}
	if !a.ok() {
		if a.parameter("reason") == "superseded" {
			return nil, g.supersededBy(a)
		}
		err := a.failure(http.StatusBadRequest, http.StatusUnauthorized, http.StatusUnprocessableEntity)
		var refused *refusal
		if errors.As(err, &refused) {
			refused.final = a.parameter("reason") == "ended" || t.InCookie && a.clears(refreshCookie)
		}
		return nil, err
	}
	next, err := a.Tokens()
	if err != nil {
		return nil, err
	}
	if next.Refresh == "" { // the one that we have is to be kept
		next.Refresh, next.InCookie = t.Refresh, t.InCookie
	}
	next.Key = t.Key
	for name, value := range t.Cookies {
		if _, renewed := next.Cookies[name]; !renewed && !strings.HasPrefix(name, healCookie) {
			next.Cookies[name] = value
		}
	}
	return next, nil
}

func (g *Gateway) supersededBy(a *Answer) *superseded {
	old := &superseded{heal: a.parameter("heal"), cookies: map[string]string{}}
	for _, c := range a.cookies() {
		if strings.HasPrefix(c.Name, healCookie) {
			old.cookies[c.Name] = c.Value
		}
	}
	return old
}

// logout ends the session of t. The cookie, or the body, is never left out:
// mod-login takes a logout without cookie for one of all sessions of the user.
func (g *Gateway) logout(ctx context.Context, t *Tokens, alive bool) error {
	if t.Client != "" {
		return g.revokeAsClient(ctx, t)
	}
	cookies := maps.Clone(t.Cookies)
	if cookies == nil {
		cookies = map[string]string{}
	}
	var body any
	if t.InCookie {
		cookies[refreshCookie] = t.Refresh
		if alive { // Keycloak's variant wants it, and everybody refuses an old one
			cookies[accessCookie] = t.Access
		}
	} else {
		body = map[string]string{"refreshToken": t.Refresh}
	}
	a, err := g.Post(ctx, "/authn/logout", body, cookies)
	if err == nil && !a.ok() {
		err = a.failure(http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity)
	}
	return err
}

// endpoint reads a base URL.
func endpoint(base string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("client: BaseURL must read like https://folio.example.org/okapi")
	}
	return u, nil
}
