package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// callTime is how long a module may take to serve a request of the program's
// own, with its whole answer.
const callTime = 10 * time.Second

// Call sends a request of the program's own to the module that the caller's
// tenant has for target, which is a path with an optional query. It goes the
// way of every other request: the route's permissions must be among those that
// the caller's token carries, and the module gets a token of its own.
//
// Behind an Okapi, that finds the module, and asks us about the request as about
// any other. It is called at the configured address: X-Okapi-Url of a request
// has no say in where a token goes.
//
// A status of 0 is that no module of the tenant serves target. The error is
// session.ErrUnavailable if the module does not answer, *Denied or a *Refusal.
func (g *Gateway) Call(ctx context.Context, caller *session.Caller, method, target string, body []byte) (status int, answer []byte, err error) {
	g.start()
	path, _, _ := strings.Cut(target, "?")
	if err := CheckPath(path); err != nil {
		return 0, nil, err
	}
	if g.Okapi != "" {
		return g.callOkapi(ctx, caller, method, target, body)
	}
	known := g.registry.Load()
	if known == nil {
		return 0, nil, nil
	}
	tenant := caller.Claims.Tenant
	route, err := known.route(tenant, method, path, "")
	if err != nil || route.Handler.Type == "redirect" {
		return 0, nil, nil
	}
	_, base, err := known.instance(route.ModuleID)
	if err != nil {
		return 0, nil, errors.Join(session.ErrUnavailable, err)
	}
	actor := audit.ActorFrom(ctx)
	requestID, err := g.RequestIDs.Next(chain(actor.RequestID), path, true)
	if err != nil {
		return 0, nil, err
	}
	facts := Facts{
		Tenant: tenant, Caller: caller, RequestID: requestID, Required: route.Required(path, true),
		Desired: route.Handler.PermissionsDesired,
	}
	held, err := g.Authorize(ctx, &facts)
	if err != nil {
		return 0, nil, err
	}
	claims := g.ModuleClaims(&facts, route.ModuleID, route.Handler.ModulePermissions)
	moduleToken, err := g.Tokens.Mint(claims)
	if err != nil {
		return 0, nil, fmt.Errorf("token for module %s: %w", route.ModuleID, err)
	}
	out := Outgoing{
		URL: g.InternalURL, Tenant: tenant, Token: moduleToken, UserID: claims.UserID,
		Permissions: held, RequestID: requestID, IP: actor.Address,
		Time: claims.IssuedAt, Method: method, MatchPathPattern: route.Pattern,
	}
	return g.ask(ctx, method, base.Scheme+"://"+base.Host+target, body, out.Apply)
}

// callOkapi is Call behind an Okapi, which makes the module's token of ours.
func (g *Gateway) callOkapi(ctx context.Context, caller *session.Caller, method, target string, body []byte) (int, []byte, error) {
	requestID := audit.ActorFrom(ctx).RequestID
	if requestID == "" {
		requestID = g.RequestIDs.link(target)
	}
	by := &caller.Claims
	claims := g.ModuleClaims(&Facts{Tenant: by.Tenant, Caller: caller, RequestID: requestID}, by.Module, by.Permissions)
	claims.Expires = claims.IssuedAt.Add(6 * callTime) // it is for this call alone
	raw, err := g.Tokens.Mint(claims)
	if err != nil {
		return 0, nil, fmt.Errorf("token for a call of our own: %w", err)
	}
	status, answer, err := g.ask(ctx, method, strings.TrimRight(g.Okapi, "/")+target, body, func(r *http.Request) {
		r.Header.Set("X-Okapi-Tenant", by.Tenant)
		r.Header.Set("X-Okapi-Token", raw)
		r.Header.Set("X-Okapi-Request-Id", requestID)
	})
	if status == http.StatusNotFound && bytes.HasPrefix(answer, []byte("No suitable module found for path")) {
		return 0, nil, nil
	}
	return status, answer, err
}

func (g *Gateway) ask(ctx context.Context, method, address string, body []byte, tell func(*http.Request)) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	tell(r)
	r.Header.Set("Accept", "application/json, text/plain")
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := g.call(r)
	if err != nil {
		// Not err itself, in which net/http repeats what the module sent.
		return 0, nil, fmt.Errorf("%w: a module gave no answer", session.ErrUnavailable)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(answer) > maxAnswer {
		return 0, nil, fmt.Errorf("%w: a module's answer broke off or is longer than 1 MiB", session.ErrUnavailable)
	}
	return res.StatusCode, answer, nil
}

// chain is the request ids that led to a call, as a header has them.
func chain(ids string) []string {
	if ids == "" {
		return nil
	}
	return []string{ids}
}
