package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Facts are what Authorize decides by. None of it is HTTP: in the gateway they
// come from the route, behind Okapi from the headers that Okapi sets.
type Facts struct {
	Tenant string
	// Caller is whose token held; nil if there was none.
	Caller *session.Caller
	// Required are the permissions that the caller must have, all of them;
	// Desired those that the module wants to hear of, with * for any text.
	Required, Desired []string
	// Extra are permissions that the route lends to the caller itself, as a
	// redirect of Okapi's does.
	Extra []string
	// RequestID is the chain of request ids.
	RequestID string

	// nobody is the subject where there is no caller.
	nobody string
}

// Denied is that a permission is missing, in FOLIO's words.
type Denied struct {
	Permission string
	// Caller is who lacks it; nil is a caller without a token.
	Caller *token.Claims
}

func (d *Denied) Error() string {
	if d.Caller == nil {
		return "Token missing, access requires permission: " + d.Permission
	}
	return fmt.Sprintf("Access for user '%s' (%s) requires permission: %s", d.Caller.Subject, d.Caller.UserID, d.Permission)
}

// status is that of the gateway; behind Okapi the first is FOLIO's 400.
func (d *Denied) status() int {
	if d.Caller == nil {
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// Authorize decides whether a request may reach a module, and returns those of
// the required and desired permissions that the caller has. It fails with
// *Denied, *Unproven or session.ErrUnavailable. The gateway and the filter behind Okapi
// both decide here.
//
// What counts is what was granted to the user, as it is now, and beside it
// what the token itself carries: the permissions lent to a module, those that
// a dummy token was signed with, or those that a raised token names, as far as
// the user still has them. The module's token carries none of these, only what
// its own descriptor lends: raised scope and foreign permissions do not travel
// along a chain of calls.
func (g *Gateway) Authorize(ctx context.Context, f *Facts) (held []string, err error) {
	if f.Caller == nil && len(f.Extra) == 0 {
		if len(f.Required) > 0 {
			return nil, &Denied{Permission: f.Required[0]}
		}
		return nil, nil
	}
	p, steps := permissionsOf(f), g.stepUps(f)
	for _, name := range f.Required {
		has, err := p.has(ctx, g.Directory, name)
		if err != nil {
			return nil, err
		}
		if _, asked := steps[name]; !has && !(asked && f.raisable(name)) {
			return nil, f.denied(name)
		}
	}
	if len(steps) > 0 {
		if err := g.proven(ctx, f, &p, steps); err != nil {
			return nil, err
		}
	}
	if len(f.Desired) == 0 {
		return f.Required, nil
	}
	all, err := p.all(ctx, g.Directory)
	if err != nil {
		return nil, err
	}
	return directory.MatchDesired(all, f.Required, f.Desired), nil
}

func (f *Facts) denied(permission string) *Denied {
	d := &Denied{Permission: permission}
	if f.Caller != nil {
		d.Caller = &f.Caller.Claims
	}
	return d
}

// ModuleClaims are the claims of the token that a module gets for a request,
// with the permissions that its descriptor lends it for that.
func (g *Gateway) ModuleClaims(f *Facts, module string, lent []string) token.Claims {
	c := g.callerClaims(f)
	c.Kind, c.Module, c.Permissions, c.RequestID = token.KindModule, module, lent, f.RequestID
	return c
}

// callerClaims are what all tokens have in common that are minted for a
// request, whoever is to get them.
func (g *Gateway) callerClaims(f *Facts) token.Claims {
	now := g.Now()
	c := token.Claims{Tenant: f.Tenant, IssuedAt: now}
	if f.Caller == nil {
		if f.nobody == "" {
			// FOLIO's name for nobody; modules know the prefix.
			f.nobody = "UNDEFINED_USER__" + uuid.NewString()
		}
		c.Subject = f.nobody
	} else {
		by := &f.Caller.Claims
		c.Subject, c.UserID, c.Session = by.Subject, by.UserID, by.Session
		c.TenantEpoch, c.UserEpoch = by.TenantEpoch, by.UserEpoch
		if _, ofKey := apikey.FromClient(by.ClientID); ofKey || session.Registered(by.ClientID) {
			c.ClientID, c.Scope = by.ClientID, by.Scope // what the module asks of others is within its scope, too
		}
	}
	c.Expires = now.Add(g.Sessions.Policies.For(f.Tenant, "", c.UserID).ModuleTTL)
	return c
}

// permissions are what one caller has: of a user, and of the token itself.
type permissions struct {
	tenant string
	own    directory.Set
	// carried are in the token by name, not yet with what they stand for.
	carried []string
	// expanded is carried with all it stands for, once it was asked for.
	expanded *directory.Set
}

// OwnModule and OwnSubject are in tokens with which the program itself asks
// modules about users and permissions. The subject is mod-authtoken's.
const (
	OwnModule  = "counterfoil"
	OwnSubject = "_AUTHZ_MODULE_"
)

// carriedBy are the permissions in a token. While a question of our own is
// answered they are meant by their names, also those of modules that are called
// for it: to look up what a name stands for could need that very question
// answered, and so on without end. Whose question it is says the subject, which
// goes on from token to token.
func carriedBy(c *token.Claims) permissions {
	p := permissions{tenant: c.Tenant, carried: c.Permissions}
	if c.Kind == token.KindModule && c.Subject == OwnSubject && c.UserID == "" {
		named := directory.Expand(nil, p.carried)
		p.expanded = &named
	}
	return p
}

func permissionsOf(f *Facts) permissions {
	p := permissions{tenant: f.Tenant}
	if c := f.Caller; c != nil {
		p = carriedBy(&c.Claims)
		if c.Access != nil {
			p.own = c.Access.Ordinary
		}
		if c.Claims.Kind == token.KindElevated {
			p.carried = slices.DeleteFunc(slices.Clone(p.carried), func(name string) bool {
				return !c.Access.Elevated.Has(name) && !p.own.Has(name)
			})
		}
	}
	if len(f.Extra) > 0 {
		p.carried = slices.Concat(p.carried, f.Extra)
	}
	return p
}

// has asks the dearest question last: most permissions are the user's own, and
// most that are lent are lent by their name.
func (p *permissions) has(ctx context.Context, d *directory.Cache, name string) (bool, error) {
	if p.own.Has(name) || slices.Contains(p.carried, name) {
		return true, nil
	}
	if err := p.expand(ctx, d); err != nil {
		return false, err
	}
	return p.expanded.Has(name), nil
}

func (p *permissions) all(ctx context.Context, d *directory.Cache) (directory.Set, error) {
	if err := p.expand(ctx, d); err != nil {
		return directory.Set{}, err
	}
	return p.own.Union(*p.expanded), nil
}

func (p *permissions) expand(ctx context.Context, d *directory.Cache) error {
	if p.expanded != nil {
		return nil
	}
	var set directory.Set
	if len(p.carried) > 0 {
		var err error
		if set, err = d.Expand(ctx, p.tenant, p.carried); err != nil {
			return errors.Join(session.ErrUnavailable, session.ErrDirectory, err)
		}
	}
	p.expanded = &set
	return nil
}
