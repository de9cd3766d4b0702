package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Transport adds the session's access token to requests to the gateway, and
// sends a request again if the gateway refused it because the token had
// ended. Requests to other hosts, where a redirect may lead, pass untouched,
// and so does one to the gateway that a redirect from another host led to.
//
// It never repeats a request that may have been served: answers of modules,
// errors of the network and 503 are the caller's.
type Transport struct {
	Session *Session
	// Base sends the requests; nil is http.DefaultTransport.
	Base http.RoundTripper
}

// RoundTrip implements http.RoundTripper. Besides those of Base, its errors
// are those of Session.Token, *NotReplayable and *ElevationRequired. A refused request is replayed
// once; once more only if what it was replayed with is a token that another
// process had left in the Store, which may have ended as well.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.send(orDefault(t.Base), r)
	var own *notSent
	if errors.As(err, &own) {
		if r.Body != nil {
			r.Body.Close() // as every RoundTripper must
		}
		return nil, own.err
	}
	return answer, err
}

// notSent is an error from before Base had the request.
type notSent struct{ err error }

func (e *notSent) Error() string { return e.err.Error() }

func (t *Transport) send(base http.RoundTripper, r *http.Request) (*http.Response, error) {
	s := t.Session
	if err := s.init(); err != nil {
		return nil, &notSent{err}
	}
	if !belongs(s.base, r) {
		return base.RoundTrip(r)
	}
	again := r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
	used, err := s.token(r.Context(), !again)
	if err != nil {
		return nil, &notSent{err}
	}
	body := r.Body
	for replays := 0; ; replays++ {
		answer, err := t.show(base, r, used, used.Access, body)
		if err == nil {
			if need := elevationOf(answer); need != nil {
				return t.raise(base, r, used, need, again)
			}
		}
		if err != nil || replays > 0 && !(replays == 1 && used.found) || !isRefusal(answer) {
			return answer, err
		}
		discard(answer)
		s.bury(used)
		if !again {
			return nil, &NotReplayable{}
		}
		if used, err = s.renewed(r.Context(), used); err != nil {
			return nil, err
		}
		if r.GetBody != nil {
			if body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// raise sends a request once more with raised scope. If that will not do
// either, the answer is the gateway's: a password is asked for once.
func (t *Transport) raise(base http.RoundTripper, r *http.Request, used *state, need *ElevationRequired, again bool) (*http.Response, error) {
	if !again {
		return nil, need
	}
	raised, err := t.Session.elevate(r.Context(), used, need)
	if err != nil {
		return nil, err
	}
	body := r.Body
	if r.GetBody != nil {
		if body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.show(base, r, used, raised, body)
}

// CloseIdleConnections does so at Base, for http.Client's method of that name.
func (t *Transport) CloseIdleConnections() { closeIdle(t.Base) }

func orDefault(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		return http.DefaultTransport
	}
	return base
}

func closeIdle(base http.RoundTripper) {
	if base, ok := base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// bare returns a copy of r with body and without credentials: the gateway
// refuses a request with two that differ.
func bare(r *http.Request, body io.ReadCloser, tenant string) *http.Request {
	b := r.Clone(r.Context())
	b.Body = body
	if b.Header == nil {
		b.Header = http.Header{}
	}
	b.Header.Del("Authorization")
	b.Header.Del("DPoP")
	b.Header.Del("X-Okapi-Token")
	if b.Header.Get("X-Okapi-Tenant") == "" && tenant != "" {
		b.Header.Set("X-Okapi-Tenant", tenant)
	}
	if cookies := r.Cookies(); len(cookies) > 0 {
		b.Header.Del("Cookie")
		for _, c := range cookies {
			if c.Name != accessCookie && c.Name != refreshCookie {
				b.AddCookie(c)
			}
		}
	}
	return b
}

// belongs is whether r may carry credentials: it goes to the gateway, and so
// did every request whose redirect led to it. Another host is not to choose
// what is done here in the program's name.
func belongs(base *url.URL, r *http.Request) bool {
	for hop := r; ; hop = hop.Response.Request {
		if hop == nil || !covers(base, hop.URL) {
			return false
		}
		if hop.Response == nil {
			return true
		}
	}
}

// covers is whether u is at or below base: the same origin, and the path by
// whole segments. Comparing text would send tokens to folio.example.org.evil.
func covers(base, u *url.URL) bool {
	if !strings.EqualFold(base.Scheme, u.Scheme) || !strings.EqualFold(base.Hostname(), u.Hostname()) || port(base) != port(u) {
		return false
	}
	below := path.Clean("/" + u.Path)
	return base.Path == "" || below == base.Path || strings.HasPrefix(below, base.Path+"/")
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
}

// isRefusal is whether the gateway refused the token, and so has not served
// the request. A module's own 401, about a wrong old password for instance, is
// the answer to a request that was served; repeating that one would count
// twice.
func isRefusal(answer *http.Response) bool {
	if answer.StatusCode != http.StatusUnauthorized {
		return false
	}
	if strings.Contains(answer.Header.Get("Www-Authenticate"), `error="invalid_token"`) { // RFC 6750
		return true
	}
	const enough = 4 << 10
	start, err := io.ReadAll(io.LimitReader(answer.Body, enough))
	rest := io.Reader(answer.Body)
	if err != nil {
		rest = failing{err}
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), rest), answer.Body}
	var told struct{ Code string }
	if json.Unmarshal(start, &told) == nil {
		return told.Code == "TOKEN_EXPIRED" || told.Code == "TOKEN_INVALID"
	}
	return bytes.HasPrefix(start, []byte("Invalid token")) // mod-authtoken's
}

// failing is a body that breaks off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// discard reads a short body to its end, so that its connection can be used
// again.
func discard(answer *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	answer.Body.Close()
}
