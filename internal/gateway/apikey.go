package gateway

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	keyAndToken = "Use either an API key or a token"
	keyInURL    = "An API key must not stand in this URL, which ends up in logs. Send it as \"Authorization: apikey KEY\""
	ownKeyInURL = "Keys of Counterfoil's own are taken from the Authorization header only, because URLs end up in logs. " +
		"Have this key rotated and send the new one as \"Authorization: apikey KEY\""
)

// keyIn reads an API key from an Authorization header, in the forms of
// edge-common ("apikey KEY", and the bare key) and, for clients that know no
// other scheme, "Bearer KEY" with a key of our own. keyed is whether the header
// claims to hold one; s is zero if that cannot be a key.
func keyIn(authorization string) (s apikey.Secret, keyed bool) {
	scheme, rest, ok := strings.Cut(authorization, " ")
	switch {
	case ok && strings.EqualFold(scheme, "apikey"):
		keyed, authorization = true, strings.TrimSpace(rest)
	case ok && scheme == "Bearer":
		authorization = strings.TrimSpace(rest)
		keyed = strings.HasPrefix(authorization, apikey.Prefix)
		if !keyed {
			return s, false
		}
	case strings.HasPrefix(authorization, apikey.Prefix):
		keyed = true
	case !apikey.Looks(authorization) || strings.IndexByte(authorization, '.') >= 0: // a JWT has dots
		return s, false
	}
	s, err := apikey.Parse(authorization)
	return s, keyed || err == nil
}

// noKeyIn refuses a URL with a key in it, before the module of a route that does
// not expect any gets to see it.
func noKeyIn(path, rawQuery string) error {
	if strings.Contains(path, "/"+apikey.Prefix) {
		return badRequest(ownKeyInURL)
	}
	if strings.Contains(path, "/ey") {
		for segment := range strings.SplitSeq(path, "/") {
			if _, err := apikey.Parse(unescape(segment, url.PathUnescape)); err == nil {
				return badRequest(keyInURL)
			}
		}
	}
	if rawQuery == "" {
		return nil
	}
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !apikey.Looks(value) && !namesKey(name) {
			continue
		}
		s, err := apikey.Parse(unescape(value, url.QueryUnescape))
		switch {
		case s.Kind == apikey.Own, strings.HasPrefix(value, apikey.Prefix):
			return badRequest(ownKeyInURL)
		case err == nil, namesKey(name):
			return badRequest(keyInURL)
		}
	}
	return nil
}

// namesKey is whether a parameter is the one of edge-common. Its docs write
// apiKey, Vert.x compares without regard to case.
func namesKey(name string) bool {
	return strings.EqualFold(name, "apikey") || strings.IndexByte(name, '%') >= 0 && strings.EqualFold(unescape(name, url.QueryUnescape), "apikey")
}

func unescape(text string, how func(string) (string, error)) string {
	if plain, err := how(text); err == nil {
		return plain
	}
	return text
}

// findKey finds the key that a request brought. Nobody can guess one; but
// whoever tries, or goes on with a dead one, waits as after failed logins.
func (l *listener) findKey(r *http.Request, c *Claim) (found *session.FoundKey, err error) {
	s := l.gateway.Sessions
	if c.found != nil {
		return c.found, nil
	}
	if l.internal || s.Keys == nil {
		return nil, session.ErrKeyInvalid
	}
	if !c.Key.IsZero() {
		c.found, err = s.Keys.Find(r.Context(), c.Key)
		if !errors.Is(err, session.ErrKeyInvalid) {
			return c.found, err
		}
	}
	address, _ := netip.ParseAddr(audit.ActorFrom(r.Context()).Address)
	if d := s.Limits.Unparsable(s.Now(), address); !d.Allowed {
		return nil, &session.Limited{RetryAfter: d.RetryAfter}
	}
	return nil, session.ErrKeyInvalid
}

// verifyKey checks the key of a claim and says in caller, and to the log, who
// calls. path is as the module will get it.
func (l *listener) verifyKey(r *http.Request, c *Claim, path string, caller *session.Caller) error {
	found, err := l.findKey(r, c)
	if err != nil {
		return err
	}
	if found.Tenant() != c.Tenant {
		return &Refusal{http.StatusForbidden, "Invalid API key: it is not of the tenant in X-Okapi-Tenant"}
	}
	if *caller, err = l.gateway.Sessions.Keys.Check(r.Context(), found); err != nil {
		return err
	}
	if !found.Covers(r.Method, path) {
		return &Refusal{http.StatusForbidden, "This API key is not for this route"}
	}
	actor := audit.ActorFrom(r.Context())
	actor.Kind, actor.Name, actor.UserID = "user", caller.Claims.Subject, caller.Claims.UserID
	return nil
}
