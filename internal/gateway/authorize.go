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

// Facts are what Authorize decides by. None of it is HTTP.
type Facts struct {
	Tenant string
	// Caller is whose token held; nil if there was none.
	Caller *session.Caller
	// Required are the permissions that the caller must have, all of them;
	// Desired those that the module wants to hear of, with * for any text.
	Required, Desired []string
	// Module is the module that will serve, and Lent the permissions that its
	// descriptor lends it for that.
	Module string
	Lent   []string
	// RequestID is the chain of request ids.
	RequestID string
}

// Decision is that a request may pass.
type Decision struct {
	// Permissions are those of Required and Desired that the caller has.
	Permissions []string
	// Token is the claims of the module's token.
	Token token.Claims
}

// Authorize decides whether a request may reach a module. It fails with a
// *Refusal, in FOLIO's words, or with session.ErrUnavailable.
//
// What counts is what was granted to the user, as it is now, and beside it
// what the token itself carries: the permissions lent to a module, those that
// a dummy token was signed with, or those that a raised token names, as far as
// the user still has them. The module's token carries none of these, only what
// its own descriptor lends: raised scope and foreign permissions do not travel
// along a chain of calls.
func (g *Gateway) Authorize(ctx context.Context, f *Facts) (Decision, error) {
	if f.Caller == nil && len(f.Required) > 0 {
		return Decision{}, &Refusal{http.StatusUnauthorized, "Token missing, access requires permission: " + f.Required[0]}
	}
	held := f.Required
	if f.Caller != nil {
		p := permissionsOf(f.Caller)
		for _, name := range f.Required {
			has, err := p.has(ctx, g.Directory, name)
			if err != nil {
				return Decision{}, err
			}
			if !has {
				return Decision{}, denied(&f.Caller.Claims, name)
			}
		}
		if len(f.Desired) > 0 {
			all, err := p.all(ctx, g.Directory)
			if err != nil {
				return Decision{}, err
			}
			held = directory.MatchDesired(all, f.Required, f.Desired)
		}
	}
	return Decision{Permissions: held, Token: g.moduleClaims(f)}, nil
}

// moduleClaims are the claims of the token that f.Module gets.
func (g *Gateway) moduleClaims(f *Facts) token.Claims {
	now := g.Now()
	c := token.Claims{
		Kind: token.KindModule, Tenant: f.Tenant, Module: f.Module, Permissions: f.Lent,
		RequestID: f.RequestID, IssuedAt: now,
	}
	if f.Caller == nil {
		// FOLIO's name for nobody; modules know the prefix.
		c.Subject = "UNDEFINED_USER__" + uuid.NewString()
	} else {
		by := &f.Caller.Claims
		c.Subject, c.UserID, c.Session = by.Subject, by.UserID, by.Session
		c.TenantEpoch, c.UserEpoch = by.TenantEpoch, by.UserEpoch
		if _, ofKey := apikey.FromClient(by.ClientID); ofKey {
			c.ClientID = by.ClientID // what the module asks of others is within the key's scope, too
		}
	}
	c.Expires = now.Add(g.Sessions.Policies.For(f.Tenant, "", c.UserID).ModuleTTL)
	return c
}

func denied(c *token.Claims, permission string) *Refusal {
	return &Refusal{http.StatusForbidden, fmt.Sprintf("Access for user '%s' (%s) requires permission: %s", c.Subject, c.UserID, permission)}
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

// OwnModule is the module id in tokens with which the program itself asks
// modules about users and permissions. What they carry is meant by its name: to
// look up what it stands for could need that very question answered.
const OwnModule = "counterfoil"

func permissionsOf(c *session.Caller) permissions {
	p := permissions{tenant: c.Claims.Tenant, carried: c.Claims.Permissions}
	if c.Claims.Kind == token.KindModule && c.Claims.Module == OwnModule {
		named := directory.Expand(nil, p.carried)
		p.expanded = &named
	}
	if c.Access != nil {
		p.own = c.Access.Ordinary
	}
	if c.Claims.Kind == token.KindElevated {
		p.carried = slices.DeleteFunc(slices.Clone(p.carried), func(name string) bool {
			return !c.Access.Elevated.Has(name) && !p.own.Has(name)
		})
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
			return errors.Join(session.ErrUnavailable, err)
		}
	}
	p.expanded = &set
	return nil
}
