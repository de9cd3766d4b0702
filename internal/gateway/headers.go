package gateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Outgoing is what the gateway tells a module about a request. All of it comes
// from what the gateway itself verified, configured or measured.
type Outgoing struct {
	// URL is where the module calls the gateway, without a slash at the end.
	URL    string
	Tenant string
	// Token is the module's own token; without one the header is absent.
	Token string
	// UserID is absent for a caller without identity.
	UserID string
	// Permissions are those held of the required and desired ones. The header
	// is always there, "[]" for none.
	Permissions []string
	RequestID   string
	// IP is the client's address without port.
	IP     string
	Time   time.Time
	Method string
	// MatchPathPattern is the pattern of the route; absent if it has none.
	MatchPathPattern string
}

// Apply makes out, which is ReverseProxy's own copy, the request that a module
// may see. It belongs into ReverseProxy.Rewrite: that runs after hop-by-hop
// headers are gone, so a client's "Connection: X-Okapi-Tenant" cannot strip
// what is set here.
//
// Trailers are dropped with the headers: they are names and values of the
// client that arrive when nobody looks any more.
func (o *Outgoing) Apply(out *http.Request) {
	out.Trailer = nil
	cleanRequest(out.Header)
	fields := [...]struct{ name, value string }{
		{"X-Okapi-Url", o.URL},
		{"X-Okapi-Tenant", o.Tenant},
		{"X-Okapi-Token", o.Token},
		{"X-Okapi-User-Id", o.UserID},
		{"X-Okapi-Permissions", jsonArray(o.Permissions)},
		{"X-Okapi-Request-Id", o.RequestID},
		{"X-Okapi-Request-Ip", o.IP},
		{"X-Okapi-Request-Timestamp", strconv.FormatInt(o.Time.UnixMilli(), 10)},
		{"X-Okapi-Request-Method", o.Method},
		{"X-Okapi-Match-Path-Pattern", o.MatchPathPattern},
	}
	values := make([]string, len(fields)) // one allocation for all
	for i, f := range fields {
		if f.value == "" {
			continue
		}
		values[i] = f.value
		out.Header[f.name] = values[i : i+1 : i+1]
	}
}

func jsonArray(permissions []string) string {
	if len(permissions) == 0 {
		return "[]"
	}
	size := 2
	for _, p := range permissions {
		size += len(p) + 3
	}
	b := append(make([]byte, 0, size), '[')
	for i, p := range permissions {
		if i > 0 {
			b = append(b, ',')
		}
		// A permission with invalid UTF-8 is written with the replacement
		// character, which grants nothing.
		b, _ = jsontext.AppendQuote(b, p)
	}
	return string(append(b, ']'))
}

// cleanRequest removes what a client must not tell a module.
//
// Names are compared as a CGI-like module would read them, which cannot tell
// X_Okapi_Url from X-Okapi-Url. Other end-to-end headers pass unchanged.
func cleanRequest(h http.Header) {
	for name, values := range h {
		var buf [longestGoverned]byte
		folded := fold(name, &buf)
		switch {
		case string(folded) == "cookie":
			if kept := withoutOwnCookies(values); len(kept) > 0 {
				h[name] = kept
			} else {
				delete(h, name)
			}
		case isGoverned(folded) || fromClient(folded) || isAlias(name, folded):
			delete(h, name)
		}
	}
}

// ErrUpgrade is a module that switches protocols although it was not asked to:
// what follows would pass the gateway unread.
var ErrUpgrade = errors.New("module answered 101, but the gateway does not tunnel")

// CleanResponse makes a module's answer one that a client may see. It is for
// ReverseProxy.ModifyResponse; its error is ErrUpgrade.
//
// Removed are all X-Okapi-* headers, as they hold the module's token and what
// the gateway told it; hop-by-hop headers; Access-Control-* headers, because
// the gateway answers for all origins; cookies under names of Counterfoil's
// own; and trailers.
func CleanResponse(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return ErrUpgrade
	}
	for name, values := range res.Header {
		var buf [longestGoverned]byte
		folded := fold(name, &buf)
		switch {
		case string(folded) == "set-cookie":
			if kept := foreignCookies(values); len(kept) > 0 {
				res.Header[name] = kept
			} else {
				delete(res.Header, name)
			}
		case isGoverned(folded) || hasPrefix(folded, "access-control-") || isAlias(name, folded):
			delete(res.Header, name)
		}
	}
	res.Trailer = nil
	if res.Body != nil && (res.ContentLength < 0 || res.ProtoMajor > 1) {
		res.Body = untrailed{res.Body, res}
	}
	return nil
}

// foreignCookies returns the Set-Cookie values that are not Counterfoil's: a
// module that could set one of ours could log its users in as somebody else.
// The slice is reused.
func foreignCookies(lines []string) []string {
	kept := lines[:0]
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		if !ownCookie(cookieName(pair)) {
			kept = append(kept, line)
		}
	}
	return kept
}

// untrailed is a body without trailers. The transport fills them in when the
// body ends, and ReverseProxy copies them without asking after it closed it.
type untrailed struct {
	io.ReadCloser
	res *http.Response
}

func (u untrailed) Close() error {
	err := u.ReadCloser.Close()
	u.res.Trailer = nil
	return err
}
