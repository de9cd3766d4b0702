package gateway

import (
	"net/http"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// listener is the public or the internal side of the gateway, or the one that
// an Okapi calls.
type listener struct {
	gateway         *Gateway
	internal, okapi bool
	// accept is the kinds of tokens that hold here.
	accept []token.Kind
}

func (g *Gateway) listener(internal bool) *listener {
	g.start()
	l := &listener{gateway: g, internal: internal, accept: []token.Kind{token.KindAccess, token.KindElevated, token.KindDummy}}
	if internal {
		// A module's token that leaked to the outside must not open a door there.
		l.accept = append(l.accept, token.KindModule)
	}
	return l
}

// read takes from the headers what a request says about itself, and refuses
// with 400 what can be understood in two ways, or names a tenant that does
// not exist. rawPath is the path that CheckPath let pass.
func (l *listener) read(r *http.Request, rawPath string) (c Claim, requestID string, err error) {
	g := l.gateway
	if l.okapi {
		return l.readFromOkapi(r, rawPath)
	}
	if requestID, err = g.RequestIDs.Next(r.Header["X-Okapi-Request-Id"], rawPath, l.internal); err != nil {
		return c, "", err
	}
	audit.ActorFrom(r.Context()).RequestID = requestID
	if c, err = ExtractClaim(r.Header, "", UnverifiedTenant); err != nil {
		return c, "", err
	}
	if call := partnerCallOf(r); call != nil && call.keyed {
		if c.Token != "" || c.Keyed {
			return c, "", badRequest(keyAndToken)
		}
		c.Key, c.Keyed = call.key, true
		if r.Header["X-Okapi-Tenant"] == nil {
			c.Tenant = call.key.Tenant
		}
	}
	if c.Keyed && c.Tenant == "" {
		found, err := l.findKey(r, &c)
		if err != nil {
			return c, "", err
		}
		c.Tenant = found.Tenant()
	}
	if _, known := g.Directory.Tenant(c.Tenant); !known {
		return c, "", badRequest("No such Tenant " + cut(c.Tenant))
	}
	return c, requestID, nil
}

// verify checks the token of a claim and says in caller, and to the log, who
// calls.
func (l *listener) verify(r *http.Request, c *Claim, caller *session.Caller) (err error) {
	g := l.gateway
	*caller, err = g.Sessions.CheckUnproved(r.Context(), c.Token, l.accept...)
	claims := &caller.Claims
	if err != nil {
		audit.ActorFrom(r.Context()).UserID = claims.UserID // of a genuine token, else empty
		return err
	}
	// Otherwise the routes and permissions of one tenant would serve the
	// users of another.
	if claims.Tenant != c.Tenant {
		return errOtherTenant
	}
	if claims.Confirm != "" || c.DPoP {
		if err := l.possesses(r, c, claims); err != nil {
			return err
		}
	}
	if c.FromCookie && g.origins.Check(r) != nil {
		return &Refusal{http.StatusForbidden, "Request from another origin with a cookie. " +
			"Send the token in X-Okapi-Token, or have the origin added to cors.origins"}
	}
	actor := audit.ActorFrom(r.Context())
	actor.Kind, actor.Name, actor.UserID = "user", claims.Subject, claims.UserID
	switch claims.Kind {
	case token.KindModule:
		actor.Kind, actor.Name = "module", claims.Module
	case token.KindDummy:
		actor.Kind = "anonymous"
	}
	return nil
}
