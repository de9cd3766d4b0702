package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// tampered plays the tour through a proxy that changes answers, and tells what
// was found not to be as promised.
func tampered(t *testing.T, tamper func(*http.Response)) (found []string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = Run(t.Context(), Options{Tour: true, Data: t.TempDir(), Out: &out, LogTo: io.Discard, between: func(public string) string {
		to, err := url.Parse(public)
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(to) },
			ModifyResponse: func(answer *http.Response) error { tamper(answer); return nil },
		})
		t.Cleanup(front.Close)
		return front.URL
	}})
	for line := range strings.Lines(out.String()) {
		if fault, ok := strings.CutPrefix(strings.TrimSpace(line), "✗ NOT "); ok {
			found = append(found, fault)
		}
	}
	return found, err
}

// answersTo is a tamperer of the answers to one request.
func answersTo(method, path string, tamper func(*http.Response)) func(*http.Response) {
	return func(answer *http.Response) {
		if answer.Request.Method == method && answer.Request.URL.Path == path {
			tamper(answer)
		}
	}
}

func setBody(answer *http.Response, text string) {
	answer.Body.Close()
	answer.Body = io.NopCloser(strings.NewReader(text))
	answer.ContentLength = int64(len(text))
	answer.Header.Del("Content-Length")
}

// fault is one thing that goes wrong, and the step that must notice.
type fault struct {
	what   string
	tamper func(*http.Response)
	want   string
}

// A tour that cannot fail would prove nothing. Faults of steps that have
// nothing to do with each other share a tour, which takes its time.
func TestTourNoticesWhatIsNotAsPromised(t *testing.T) {
	for name, faults := range map[string][]fault{
		"wrong answers": {
			{"a token in the body of a browser's login", answersTo("POST", "/authn/login-with-expiry", func(a *http.Response) {
				if a.StatusCode == http.StatusCreated {
					setBody(a, `{"accessToken":"eyJhbGciOi"}`)
				}
			}), "no token in the body"},
			{"whether a user exists is given away", answersTo("POST", "/authn/login-with-expiry", func(a *http.Response) {
				if a.StatusCode == http.StatusUnprocessableEntity {
					setBody(a, nextNumber())
				}
			}), "422, the same body"},
			{"an expired token without the way on", answersTo("GET", "/orders", func(a *http.Response) {
				if a.StatusCode == http.StatusUnauthorized {
					setBody(a, `{"message":"no"}`)
				}
			}), "401 TOKEN_EXPIRED with the way to refresh"},
			{"a module that sees the session's cookie", answersTo("GET", "/echo", func(a *http.Response) {
				if a.StatusCode == http.StatusOK {
					setBody(a, `{"x-okapi-tenant":"diku","cookie":"folioAccessToken=x"}`)
				}
			}), "the module saw none of our cookies"},
			{"a logout that leaves cookies", answersTo("POST", "/authn/logout", func(a *http.Response) {
				a.Header.Del("Set-Cookie")
			}), "204, cookies cleared"},
		},
		"wrong lives": {
			{"a lost answer that costs the session", answersTo("POST", "/authn/refresh", func(a *http.Response) {
				for i, cookie := range a.Header["Set-Cookie"] {
					if strings.HasPrefix(cookie, "folioRefreshToken=cfrt_") {
						a.Header["Set-Cookie"][i] = "folioRefreshToken=cfrt_" + nextNumber() + "; Path=/authn"
					}
				}
			}), "201 and the very same successor"},
			{"an access token that outlives its session", answersTo("GET", "/orders", func(a *http.Response) {
				a.StatusCode = http.StatusOK
			}), "401 for the access token, at once"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			found, err := tampered(t, func(a *http.Response) {
				for _, f := range faults {
					f.tamper(a)
				}
			})
			if !errors.Is(err, ErrTour) {
				t.Errorf("the tour ends with %v", err)
			}
			for _, f := range faults {
				if !slices.Contains(found, f.want) {
					t.Errorf("%s was not noticed, but %q", f.what, found)
				}
			}
		})
	}
}

var drawn atomic.Int64

// nextNumber makes answers differ.
func nextNumber() string { return fmt.Sprintf("%080d", drawn.Add(1)) }

func TestTokensAreShownShortened(t *testing.T) {
	const jwt, refresh = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "cfrt_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhc"
	for _, text := range []string{jwt, `{"accessToken":"` + jwt + `"}`, "folioRefreshToken=" + refresh + "; Path=/", refresh} {
		got := shorten(text)
		if strings.Contains(got, jwt[12:30]) || strings.Contains(got, refresh[12:26]) || !strings.Contains(got, "…") {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
}

func TestDemoServesOnLoopbackOnly(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:9130": true, "localhost:9130": true, ":0": true, "127.8.8.8:1": true,
		"0.0.0.0:0": false, "[::]:0": false, "192.0.2.1:0": false, "example.org:80": false, "9130": false,
	} {
		o := Options{Data: t.TempDir(), Listen: address, InternalListen: ":0", AdminListen: ":0"}
		if _, _, err := o.config(); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}
