package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Guard is for endpoints of the program itself that act for a user. It runs
// serve for a caller whose token is that of a user and who has all of the
// permissions, after the same checks and with the same refusals as for a
// routed request. Caller.Access is never nil. On the internal listener, a
// module may act for its user with the permissions that it was lent.
func (g *Gateway) Guard(internal bool) func([]string, func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return g.listener(internal).guard
}

func (l *listener) guard(required []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := l.user(r, required)
		if err != nil {
			l.gateway.refuse(w, r, err)
			return
		}
		serve(w, r, *caller)
	})
}

// PermissionGuard is for endpoints of the program itself whose callers need a
// permission and no name: beside users, a module may call that serves nobody in
// particular, or whoever has a token that was signed with the permission.
// Caller.Access may be nil.
func (g *Gateway) PermissionGuard(internal bool) func([]string, func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return g.listener(internal).permissionGuard
}

func (l *listener) permissionGuard(required []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := l.permitted(r, required)
		if err != nil {
			l.gateway.refuse(w, r, err)
			return
		}
		serve(w, r, *caller)
	})
}

func (l *listener) user(r *http.Request, required []string) (*session.Caller, error) {
	caller, err := l.permitted(r, required)
	if err == nil && caller.Access == nil {
		err = session.ErrTokenInvalid
	}
	return caller, err
}

func (l *listener) permitted(r *http.Request, required []string) (*session.Caller, error) {
	caller, err := l.tokenOf(r)
	if err != nil {
		return nil, err
	}
	if caller == nil {
		if len(required) > 0 {
			return nil, &Denied{Permission: required[0]}
		}
		return nil, &Refusal{http.StatusUnauthorized, "Token missing"}
	}
	_, err = l.gateway.Authorize(r.Context(), &Facts{Tenant: caller.Claims.Tenant, Caller: caller, Required: required})
	return caller, err
}

// tokenOf reads and checks who calls; nil is a caller without token.
func (l *listener) tokenOf(r *http.Request) (*session.Caller, error) {
	claim, _, err := l.read(r, r.URL.EscapedPath())
	if err == nil && claim.Keyed {
		err = &Refusal{http.StatusUnauthorized, "API keys are for the routes of modules alone"}
	}
	if err != nil || claim.Token == "" {
		return nil, err
	}
	caller := new(session.Caller)
	if err := l.verify(r, &claim, caller); err != nil {
		return nil, err
	}
	return caller, nil
}

// ModuleGuard is for endpoints of the program itself that serve modules alone,
// such as /token/sign. It runs serve for a module's token that carries the
// permission, or for any module's if permission is "". What a user was granted
// does not count, or users could sign tokens. The refusal is mod-authtoken's,
// with 401.
func (g *Gateway) ModuleGuard(internal bool) func(endpoint, permission string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return g.listener(internal).moduleGuard
}

func (l *listener) moduleGuard(endpoint, permission string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := l.moduleWith(r, endpoint, permission)
		if err != nil {
			l.gateway.refuse(w, r, err)
			return
		}
		serve(w, r, *caller)
	})
}

func (l *listener) moduleWith(r *http.Request, endpoint, permission string) (*session.Caller, error) {
	caller, err := l.tokenOf(r)
	if err != nil {
		return nil, err
	}
	return caller, l.mayServe(r, caller, endpoint, permission)
}

func (l *listener) mayServe(r *http.Request, caller *session.Caller, endpoint, permission string) error {
	switch {
	case caller == nil:
	case permission == "" && (l.okapi || caller.Claims.Kind == token.KindModule):
		// Okapi hands a module that is lent nothing the token of its caller.
		return nil
	case permission != "" && caller.Claims.Kind == token.KindModule:
		lent := carriedBy(&caller.Claims)
		has, err := lent.has(r.Context(), l.gateway.Directory, permission)
		if err != nil || has {
			return err
		}
	}
	return &Refusal{
		http.StatusUnauthorized,
		fmt.Sprintf("Missing required module-level permissions for endpoint '%s': %s", endpoint, permission),
	}
}

// CleanPath stands in front of a listener's routes, before any of them could
// read a path in its own way. It refuses paths that are not what they seem,
// as CheckPath does, and turns /_/invoke/tenant/{tenant}/{path} into {path}
// with that tenant, for callers that cannot set headers.
func (g *Gateway) CleanPath(next http.Handler) http.Handler {
	g.start()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := r.URL.EscapedPath()
		err := CheckPath(raw)
		tenant, rest, invoked := SplitInvoke(raw)
		if err == nil && invoked {
			tenant, err = extractTenant(r.Header, tenant)
		}
		if err != nil {
			g.refuse(w, r, badRequest(err.Error()))
			return
		}
		if !invoked {
			next.ServeHTTP(w, r)
			return
		}
		outer := r
		if g.DelegatesCORS(r) {
			r = r.WithContext(context.WithValue(r.Context(), corsKey{}, true))
		}
		inner, err := atPath(r, rest)
		if err != nil {
			g.refuse(w, r, err)
			return
		}
		inner.Header = r.Header.Clone()
		inner.Header["X-Okapi-Tenant"] = []string{tenant}
		next.ServeHTTP(w, inner)
		outer.Pattern = inner.Pattern // for whoever counts requests outside
	})
}

// atPath is a request for another path, which is given as it is sent.
func atPath(r *http.Request, rawPath string) (*http.Request, error) {
	path, err := url.PathUnescape(rawPath)
	if err != nil {
		return nil, badRequest("Invalid path")
	}
	inner := *r
	u := *r.URL
	u.Path, u.RawPath = path, rawPath
	inner.URL = &u
	return &inner, nil
}
