package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// RefreshCache is the permission that has the filter honour
// Authtoken-Refresh-Cache: whoever forgets what is remembered makes everybody's
// next request dear.
const RefreshCache = "counterfoil.cache.refresh"

// Filter is the auth filter of an Okapi, in place of mod-authtoken: Okapi asks
// it about each request, by headers alone, and it decides as the gateway does
// where there is no Okapi. Fill in the fields before the first request.
//
// Whoever may ask is believed, since that is the protocol: the permissions that
// a module's token is minted with are in the question. So nobody but Okapi may
// reach it, which is for whoever mounts it to see to.
type Filter struct {
	Gateway *Gateway
	// Prompt leaves the caller's own token out of the answer. Okapi then passes
	// it on unchanged and remembers nothing, so that expiry, logout and
	// revocation have effect on the next request. Otherwise Okapi may serve a
	// token for up to three minutes more, on routes that it has been used on.
	Prompt bool
	// Open are paths whose endpoints look at no access token. The one that a
	// browser sends along may have expired, and must not keep it from a refresh.
	Open map[string]bool
	// ForModules are the paths that serve modules alone, each with the
	// permission that the module's token must carry, "" for none.
	ForModules map[string]string
	// Own serves what is called as a module and not as a filter.
	Own http.Handler
}

func (f *Filter) listener() *listener {
	l := f.Gateway.listener(true)
	l.okapi = true
	return l
}

// Guard is Gateway.Guard for endpoints that Okapi calls.
func (f *Filter) Guard(required []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return f.listener().guard(required, serve)
}

// PermissionGuard is Gateway.PermissionGuard for endpoints that Okapi calls.
func (f *Filter) PermissionGuard(required []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return f.listener().permissionGuard(required, serve)
}

// ModuleGuard is Gateway.ModuleGuard for endpoints that Okapi calls. Where no
// permission is asked for, any token that holds will do: a module that is lent
// nothing comes with the token of its caller.
func (f *Filter) ModuleGuard(endpoint, permission string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler {
	return f.listener().moduleGuard(endpoint, permission, serve)
}

// Handler serves both kinds of calls. Okapi names the filter in X-Okapi-Filter,
// drops that header where a client sends it and sets none when it calls a
// handler. mod-authtoken takes a constant in X-Okapi-Permissions as the proof
// that the filter let a call pass, which clients can send, too. Here a handler
// checks the token itself, whatever the filter said before.
func (f *Filter) Handler() http.Handler {
	l := f.listener()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		phase, _, _ := strings.Cut(r.Header.Get("X-Okapi-Filter"), " ")
		err := CheckPath(r.URL.EscapedPath())
		switch {
		case err != nil:
			l.gateway.refuse(w, r, err)
		case phase == "auth":
			f.filter(l, w, r)
		case phase != "":
			writeText(w, http.StatusNotFound, "Not a filter of this phase")
		default:
			f.Own.ServeHTTP(w, r)
		}
	})
}

// question is what Okapi asks about one request.
type question struct {
	facts   Facts
	claim   Claim
	caller  session.Caller
	modules []lending
	// tokens are what modules get, as JSON; empty before they were minted.
	tokens []byte
	// own is the caller's own token, or one for nobody.
	own string
	// userID is what the request says, and unproven.
	userID string
}

// lending is a module that will serve, and what its route lends it.
type lending struct {
	module      string
	permissions []string
}

func (f *Filter) filter(l *listener, w http.ResponseWriter, r *http.Request) {
	var q question
	held, err := f.decide(l, r, &q)
	if err != nil {
		f.refuse(w, r, &q, err)
		return
	}
	f.pass(w, r, &q, held)
}

// decide takes every step before the answer.
func (f *Filter) decide(l *listener, r *http.Request, q *question) (held []string, err error) {
	g, path := f.Gateway, r.URL.EscapedPath()
	// 1. What cannot be understood, or in two ways: 400.
	if q.claim, q.facts.RequestID, err = l.read(r, path); err != nil {
		return nil, err
	}
	if err := q.read(r.Header); err != nil {
		return nil, err
	}
	q.facts.Tenant = q.claim.Tenant
	// 2. A token that does not hold: 401; one of another tenant or user: 403.
	if q.claim.Token != "" {
		switch err := l.verify(r, &q.claim, &q.caller); {
		case err == nil:
			q.facts.Caller = &q.caller
		case !f.Open[path] || !errors.Is(err, session.ErrTokenExpired) && !errors.Is(err, session.ErrTokenInvalid):
			return nil, err
		}
	}
	if q.userID != "" && q.caller.Claims.UserID != "" && q.userID != q.caller.Claims.UserID {
		return nil, &Refusal{http.StatusForbidden, invalidToken}
	}
	// 3. An endpoint for modules, and the token is none of a module: 401.
	if permission, ours := f.ForModules[path]; ours && q.facts.Caller != nil {
		if err := l.mayServe(r, q.facts.Caller, path, permission); err != nil {
			return nil, err
		}
	} else if ours && permission != "" {
		return nil, l.mayServe(r, nil, path, permission)
	}
	// 4. The tokens come first: other filters get theirs with a refusal, too.
	if err := f.mint(q); err != nil {
		return nil, err
	}
	if r.Header.Get("Authtoken-Refresh-Cache") == "true" {
		if err := f.forget(r, q); err != nil {
			return nil, err
		}
	}
	// 5. No token where a permission is needed: 400. A permission missing: 403.
	return g.Authorize(r.Context(), &q.facts)
}

// forget drops what is remembered of the tenant's permissions, if the caller
// may have that.
func (f *Filter) forget(r *http.Request, q *question) error {
	if q.facts.Caller == nil {
		return nil
	}
	p := permissionsOf(&q.facts)
	may, err := p.has(r.Context(), f.Gateway.Directory, RefreshCache)
	if err != nil || !may {
		return err
	}
	f.Gateway.Directory.ForgetPermissions(q.facts.Tenant)
	// Who calls is looked up again, because that was remembered as well.
	q.caller.Access = nil
	if id := q.caller.Claims.UserID; id != "" {
		if q.caller.Access, err = f.Gateway.Directory.Access(r.Context(), q.facts.Tenant, id); err != nil {
			return errors.Join(session.ErrUnavailable, session.ErrDirectory, err)
		}
	}
	return nil
}

// mint makes a token for each module that is named, and the one that all
// others get. Okapi remembers a token that is in the answer for three minutes
// if the request came with one. So a token without a user is left out always:
// from memory, Okapi would pass on whatever user id a client sends with it.
func (f *Filter) mint(q *question) (err error) {
	g := f.Gateway
	q.own = q.claim.Token
	if q.facts.Caller == nil {
		c := g.callerClaims(&q.facts)
		c.Kind, c.TenantEpoch = token.KindDummy, g.Sessions.TenantEpoch(c.Tenant)
		if q.own, err = g.Tokens.Mint(c); err != nil {
			return fmt.Errorf("token for nobody: %w", err)
		}
	}
	text := append(make([]byte, 0, 64+len(q.own)+len(q.modules)*900), '{')
	for _, m := range q.modules {
		minted, err := g.Tokens.Mint(g.ModuleClaims(&q.facts, m.module, m.permissions))
		if err != nil {
			return fmt.Errorf("token for module %s: %w", m.module, err)
		}
		text = member(text, m.module, minted)
	}
	if q.facts.Caller == nil || !f.Prompt && q.caller.Claims.UserID != "" {
		text = member(text, "_", q.own)
	}
	q.tokens = append(text, '}')
	return nil
}

// member appends to a JSON object.
func member(text []byte, name, value string) []byte {
	if text[len(text)-1] != '{' {
		text = append(text, ',')
	}
	text, _ = jsontext.AppendQuote(text, name) // a name that is not UTF-8 was refused
	text = append(text, ':', '"')
	text = append(text, value...) // a JWT needs no escapes
	return append(text, '"')
}

// unproven are headers that Okapi takes from clients as they are. It sets what
// is in the filter's answer over them.
var unproven = [...]string{
	"X-Okapi-Auth-Result", "X-Okapi-Auth-Headers", "X-Okapi-Handler-Result", "X-Okapi-Handler-Headers", "X-Okapi-Url-To",
}

// pass answers that a request may go on. Okapi copies each X- header of the
// answer to the module, so there is none by accident.
func (f *Filter) pass(w http.ResponseWriter, r *http.Request, q *question, held []string) {
	h := w.Header()
	values := [...]string{"text/plain", "0", q.own, jsonArray(held), string(q.tokens), q.caller.Claims.UserID}
	for i, name := range [...]string{
		"Content-Type", "Content-Length", "X-Okapi-Token", "X-Okapi-Permissions", "X-Okapi-Module-Tokens", "X-Okapi-User-Id",
	} {
		h[name] = values[i : i+1 : i+1]
	}
	if q.claim.Token == "" && q.userID == "" {
		delete(h, "X-Okapi-User-Id") // there is nothing to set it over
	}
	for _, name := range unproven {
		if _, sent := r.Header[name]; sent {
			h[name] = []string{""}
		}
	}
	w.WriteHeader(http.StatusAccepted)
}

// refuse answers in FOLIO's words and with FOLIO's status where clients of
// FOLIO go by them, unless the tenant's profile is Eureka's. Okapi hands body
// and headers to the client, except for X-Okapi-Module-Tokens, which are for
// further filters.
func (f *Filter) refuse(w http.ResponseWriter, r *http.Request, q *question, err error) {
	g := f.Gateway
	if r.Context().Err() != nil {
		g.refuse(w, r, err)
		return
	}
	var denied *Denied
	away := errors.Is(err, session.ErrDirectory)
	if away {
		g.Log.WarnContext(r.Context(), "directory did not answer", "error", err)
	}
	if away && len(q.tokens) > 0 || errors.As(err, &denied) && denied.Caller != nil {
		w.Header().Set("X-Okapi-Module-Tokens", string(q.tokens))
	}
	if g.Errors.of(r) != ProfileEureka {
		err = inFolioWords(err, q.caller.Claims.UserID)
	}
	g.refuse(w, r, err)
}

// maxModules bounds the modules of one request; Okapi names those of its route
// and of the pre and post filters around it.
const maxModules = 64
