package gateway

import (
	"cmp"
	"context"
	"net/http"
	"strings"
)

// convention is how a proxy tells which request it asks about.
type convention uint8

const (
	// forwarded is X-Forwarded-Method and X-Forwarded-Uri: Caddy, Traefik.
	forwarded convention = iota
	// nginx is X-Original-Method and X-Original-URI, as its manual has it.
	nginx
	// envoy is the method of the question and its path after VerifyPath.
	envoy
)

type questionKey struct{}

// questionOf is the query of the question that a request was made from.
func questionOf(r *http.Request) string {
	query, _ := r.Context().Value(questionKey{}).(string)
	return query
}

// ask makes the request that a proxy asks about. Proxies hand on the client's
// headers with the question, so a client may say by a second convention what it
// likes: a question that says two things is refused, and so is one that says
// nothing. The error is a *Refusal.
func (l *listener) ask(r *http.Request) (asked *http.Request, by convention, err error) {
	if !l.gateway.mayAsk(r) {
		return nil, by, &Refusal{http.StatusForbidden, "Only reverse proxies may ask here. trusted_proxies names their networks"}
	}
	uri, method, by, err := toldBy(r)
	if err != nil {
		return nil, by, err
	}
	rawPath, query, _ := strings.Cut(uri, "?")
	if err := CheckPath(rawPath); err != nil {
		return nil, by, err
	}
	asked, err = atPath(r, rawPath)
	if err != nil {
		return nil, by, err
	}
	asked = asked.WithContext(asksAbout(context.WithValue(r.Context(), questionKey{}, r.URL.RawQuery), by, r.Header, rawPath))
	asked.URL.RawQuery, asked.Method, asked.Header = query, method, r.Header.Clone()
	// The host matters for what is said about origins alone.
	host, same := single(r.Header["X-Forwarded-Host"])
	if !same {
		return nil, by, badRequest("Different hosts in X-Forwarded-Host")
	}
	asked.Host = cmp.Or(host, r.Host)
	return asked, by, nil
}

// toldBy finds method and URI of the request, and the convention that tells
// them.
func toldBy(r *http.Request) (uri, method string, by convention, err error) {
	h := r.Header
	var found [3]struct{ uri, method string }
	if rest := strings.TrimPrefix(r.URL.EscapedPath(), VerifyPath); rest != "" {
		found[envoy].uri, found[envoy].method = rest, r.Method
		if r.URL.RawQuery != "" {
			found[envoy].uri += "?" + r.URL.RawQuery
		}
	}
	for by, prefix := range map[convention][2]string{
		forwarded: {"X-Forwarded-Uri", "X-Forwarded-Method"},
		nginx:     {"X-Original-Uri", "X-Original-Method"},
	} {
		var one, two bool
		found[by].uri, one = single(h[prefix[0]])
		found[by].method, two = single(h[prefix[1]])
		if !one || !two || (found[by].uri == "") != (found[by].method == "") {
			return "", "", by, badRequest("Tell " + prefix[0] + " and " + prefix[1] + ", each of them once")
		}
	}
	for _, one := range [...]convention{envoy, nginx, forwarded} {
		told := found[one]
		switch {
		case told.uri == "":
		case uri == "":
			uri, method, by = told.uri, told.method, one
		case uri != told.uri || method != told.method:
			return "", "", by, badRequest("The question is about two requests. Have the proxy remove headers of other proxies that clients send")
		}
	}
	if uri == "" {
		return "", "", by, badRequest("Which request? Tell X-Original-URI and X-Original-Method, or X-Forwarded-Uri and X-Forwarded-Method")
	}
	return uri, method, by, nil
}
