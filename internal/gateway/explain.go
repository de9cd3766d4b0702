package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Question is a request that somebody asks about: may this user make it?
type Question struct {
	Tenant, Method, Path string
	// Module is X-Okapi-Module-Id, for interfaces that several modules provide.
	Module string
	// UserID is who would call with an access token; empty is nobody.
	UserID string
}

// Explanation is how the gateway decides, step by step in the order of its
// refusals. It ends with the first step that does not pass.
type Explanation struct {
	Steps []Step
	// Status is that of the refusal, 200 where the request reaches the module.
	Status int
	// Module and Pattern are the route's, if there is one.
	Module, Pattern string
}

// Step is one step, in a sentence.
type Step struct {
	Passes bool
	Text   string
}

func (x *Explanation) pass(format string, args ...any) {
	x.Steps = append(x.Steps, Step{true, fmt.Sprintf(format, args...)})
}

// stop ends the explanation with a refusal.
func (x *Explanation) stop(err error, format string, args ...any) {
	x.Steps = append(x.Steps, Step{false, fmt.Sprintf(format, args...)})
	var denied *Denied
	var refusal *Refusal
	var unproven *Unproven
	switch {
	case errors.As(err, &denied):
		x.Status = denied.status()
	case errors.As(err, &unproven):
		x.Status = http.StatusUnauthorized
	case errors.As(err, &refusal):
		x.Status = refusal.Status
	default:
		x.Status = http.StatusServiceUnavailable
	}
}

// Explain tells how the gateway would decide about a request of a user with an
// ordinary access token. Each step asks the very functions that decide about
// requests. Filters of third parties, and what only a request has, such as its
// headers, are left out. The error is session.ErrUnavailable.
func (g *Gateway) Explain(ctx context.Context, q Question) (x Explanation, err error) {
	g.start()
	if err := CheckPath(q.Path); err != nil {
		x.stop(err, "The path is refused before anything else: %s.", err)
		return x, nil
	}
	if _, known := g.Directory.Tenant(q.Tenant); !known {
		x.stop(badRequest(""), "There is no tenant %s.", cut(q.Tenant))
		return x, nil
	}
	known := g.registry.Load()
	to, err := known.follow(q.Tenant, q.Method, q.Path, q.Module)
	if err != nil {
		x.stop(err, "No route: %s.%s", err, known.besides(&q))
		return x, nil
	}
	route := to.route
	x.Module, x.Pattern = route.ModuleID, route.Handler.path()
	if to.path != q.Path {
		x.pass("A redirect leads to %s.", to.path)
	}
	x.pass("%s %s is the route %s of module %s.", q.Method, to.path, x.Pattern, x.Module)
	caller, done, err := g.supposed(ctx, &q, &x)
	if err != nil || done {
		return x, err
	}
	f := Facts{
		Tenant: q.Tenant, Caller: caller, Desired: route.Handler.PermissionsDesired, Extra: to.lent,
		Required: slices.Concat(to.required, route.Required(to.path, caller != nil)),
	}
	if err := g.explainPermissions(ctx, &f, &x); err != nil || x.Status != 0 {
		return x, err
	}
	if _, _, err := known.instance(route.ModuleID); err != nil {
		x.stop(err, "Nobody is there to answer: %s.", err)
		return x, nil
	}
	if lent := route.Handler.ModulePermissions; len(lent) > 0 {
		x.pass("The module gets a token of its own, which may call others with %s.", strings.Join(lent, ", "))
	} else {
		x.pass("The module gets a token of its own, which may call nothing that needs a permission of the module's.")
	}
	x.Status = http.StatusOK
	return x, nil
}

// supposed is the caller that the question is about; done is that he is refused.
func (g *Gateway) supposed(ctx context.Context, q *Question, x *Explanation) (caller *session.Caller, done bool, err error) {
	if q.UserID == "" {
		x.pass("Nobody is logged in.")
		return nil, false, nil
	}
	access, err := g.Directory.Access(ctx, q.Tenant, q.UserID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		x.stop(&Refusal{Status: http.StatusUnauthorized}, "There is no such user in this tenant, so no token of his holds.")
		return nil, true, nil
	case err != nil:
		return nil, false, errors.Join(session.ErrUnavailable, err)
	case !access.User.Active:
		x.stop(&Refusal{Status: http.StatusUnauthorized}, "User %s is inactive, so no token of his holds.", access.User.Username)
		return nil, true, nil
	}
	x.pass("User %s is active, and has just logged in.", access.User.Username)
	claims := token.Claims{Kind: token.KindAccess, Tenant: q.Tenant, UserID: q.UserID, Subject: access.User.Username, AuthTime: g.Now()}
	return &session.Caller{Claims: claims, Access: access}, false, nil
}

// explainPermissions tells of each permission where it comes from, and what
// Authorize makes of them all.
func (g *Gateway) explainPermissions(ctx context.Context, f *Facts, x *Explanation) error {
	if len(f.Required) == 0 {
		x.pass("The route requires no permission.")
	}
	p, steps := permissionsOf(f), g.stepUps(f)
	for _, name := range f.Required {
		has, err := p.has(ctx, g.Directory, name)
		_, asked := steps[name]
		switch {
		case err != nil:
			return err
		case !has && asked && f.raisable(name):
			x.pass("%s is required. The user has it with raised scope only.", name)
		case has:
			from, err := g.comesFrom(ctx, f, name)
			if err != nil {
				return err
			}
			x.pass("%s is required, and there%s.", name, from)
		case f.Caller != nil && f.Caller.Access.Elevated.Has(name):
			x.stop(f.denied(name), "%s is required. The user has it with raised scope only: he must prove his password again.", name)
		default:
			x.stop(f.denied(name), "%s is required, and missing.", name)
		}
		if x.Status != 0 {
			return nil
		}
	}
	held, err := g.Authorize(ctx, f)
	var denied *Denied
	var unproven *Unproven
	switch {
	case errors.As(err, &unproven):
		x.stop(err, "A policy asks the user to prove his password anew, for %s.", strings.Join(unproven.Permissions, ", "))
	case errors.As(err, &denied):
		x.stop(err, "%s.", err)
	case err != nil:
		return err
	case len(f.Desired) > 0:
		x.pass("The module also wants to hear of %s, and hears: %s.", strings.Join(f.Desired, ", "), strings.Join(held, ", "))
	}
	return nil
}

// comesFrom tells by what a permission was granted.
func (g *Gateway) comesFrom(ctx context.Context, f *Facts, name string) (string, error) {
	if f.Caller == nil || slices.Contains(f.Extra, name) {
		return ": the redirect lends it", nil
	}
	granted, err := g.Directory.Source.Grants(ctx, f.Tenant, f.Caller.Claims.UserID)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return "", errors.Join(session.ErrUnavailable, err)
	}
	if slices.Contains(granted.Permissions, name) {
		return ": it was granted", nil
	}
	for _, one := range granted.Permissions {
		all, err := g.Directory.Expand(ctx, f.Tenant, []string{one})
		if err != nil {
			return "", err
		}
		if all.Has(name) {
			return " as a part of " + one + ", which was granted", nil
		}
	}
	return "", nil
}

// besides names routes of the same path for other methods, which is what most
// who ask have missed.
func (k *registry) besides(q *Question) string {
	t := k.tenants[q.Tenant]
	if t == nil {
		return " The tenant uses no module."
	}
	var others []string
	for r := range t.table.proxy.matching(^methodSet(0), q.Path) {
		others = append(others, strings.Join(r.Handler.Methods, " ")+" "+r.Handler.path()+" of "+r.ModuleID)
	}
	if len(others) == 0 {
		return ""
	}
	return " The path has others: " + strings.Join(others, "; ") + "."
}
