// Package peers says how other servers are asked to refresh, so that the load
// generator of the bench can be pointed at them: what the request looks like, and
// where the next token is in the answer. It knows each server's wire as its
// documents and code describe it, and nothing else of it.
package peers

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Target is a server to be asked. Its URL may have a path, as that of an issuer.
type Target struct {
	URL *url.URL
	// Client and Secret are those of the OAuth client. A public client has no
	// secret, and names itself in the form.
	Client, Secret string
	// Tenant is FOLIO's.
	Tenant string
	// Headers are added as they are, such as "apikey: …".
	Headers []string
}

// Answer is what came back.
type Answer struct {
	Status  int
	Body    []byte
	Cookies []string // the values of Set-Cookie
}

// Adapter is the wire of one server.
type Adapter struct {
	// Name is how it is called on the command line.
	Name string
	// Request is a whole HTTP/1.1 request.
	Request func(t *Target, token string) []byte
	// Next is the refresh token that an answer brings.
	Next func(a *Answer) (string, error)
}

// All are the servers that are known.
var All = []Adapter{
	{"hydra", form("/oauth2/token"), fromJSON(200, "refresh_token")},
	{"dex", form("/token"), fromJSON(200, "refresh_token")},
	{"supabase", supabase, fromJSON(200, "refresh_token")},
	{"mod-authtoken", okapi("/token/refresh"), fromJSON(201, "refreshToken")},
	{"mod-login", cookie, fromCookie},
	{"counterfoil", okapi("/authn/refresh"), fromJSON(201, "refreshToken")},
	{"counterfoil-cookie", cookie, fromCookie},
}

// Find is the adapter of a name.
func Find(name string) (*Adapter, error) {
	i := slices.IndexFunc(All, func(a Adapter) bool { return a.Name == name })
	if i < 0 {
		var names []string
		for _, a := range All {
			names = append(names, a.Name)
		}
		return nil, fmt.Errorf("no server is called %q, only %s", name, strings.Join(names, ", "))
	}
	return &All[i], nil
}

// post writes a request.
func post(t *Target, path, kind, body string, headers ...string) []byte {
	out := fmt.Appendf(nil, "POST %s%s HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n", strings.TrimRight(t.URL.EscapedPath(), "/"), path, t.URL.Host)
	for _, header := range append(headers, t.Headers...) {
		out = append(append(out, header...), "\r\n"...)
	}
	if kind != "" {
		out = fmt.Appendf(out, "Content-Type: %s\r\n", kind)
	}
	return fmt.Appendf(out, "Content-Length: %d\r\n\r\n%s", len(body), body)
}

// form is the token endpoint of RFC 6749, §6 and §2.3.1: id and secret are
// encoded before they are joined.
func form(path string) func(*Target, string) []byte {
	return func(t *Target, token string) []byte {
		values := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		var headers []string
		if t.Secret == "" {
			values.Set("client_id", t.Client)
		} else {
			pair := url.QueryEscape(t.Client) + ":" + url.QueryEscape(t.Secret)
			headers = append(headers, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
		}
		return post(t, path, "application/x-www-form-urlencoded", values.Encode(), headers...)
	}
}

// supabase names the grant in the query and takes JSON.
func supabase(t *Target, token string) []byte {
	return post(t, "/token?grant_type=refresh_token", "application/json", object("refresh_token", token))
}

// okapi is a module's endpoint with the token in the body.
func okapi(path string) func(*Target, string) []byte {
	return func(t *Target, token string) []byte {
		return post(t, path, "application/json", object("refreshToken", token), okapiHeaders(t)...)
	}
}

// cookie is how browsers refresh: no body, the token in its cookie.
func cookie(t *Target, token string) []byte {
	return post(t, "/authn/refresh", "", "", append(okapiHeaders(t), "Cookie: folioRefreshToken="+token)...)
}

// okapiHeaders are what Okapi would add, for modules that are asked directly.
func okapiHeaders(t *Target) []string {
	headers := []string{"X-Okapi-Tenant: " + t.Tenant}
	if !slices.ContainsFunc(t.Headers, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "x-okapi-url:") }) {
		headers = append(headers, "X-Okapi-Url: http://"+t.URL.Host)
	}
	return headers
}

func object(name, value string) string {
	text, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		panic(err) // texts can always be encoded
	}
	return string(text)
}

func fromJSON(status int, name string) func(*Answer) (string, error) {
	return func(a *Answer) (string, error) {
		if a.Status != status {
			return "", refused(a)
		}
		var members map[string]json.RawMessage
		var token string
		if err := json.Unmarshal(a.Body, &members); err != nil {
			return "", errors.New("not JSON")
		}
		if err := json.Unmarshal(members[name], &token); err != nil || token == "" {
			return "", errors.New("no " + name)
		}
		return token, nil
	}
}

func fromCookie(a *Answer) (string, error) {
	if a.Status != 201 {
		return "", refused(a)
	}
	for _, set := range a.Cookies {
		if value, ok := strings.CutPrefix(set, "folioRefreshToken="); ok {
			value, _, _ = strings.Cut(value, ";")
			return value, nil
		}
	}
	return "", errors.New("no cookie folioRefreshToken")
}

// refused is an answer that is no success, with the code that it gives and
// nothing else of it: what else it says may hold a token.
func refused(a *Answer) error {
	var told struct {
		Error  any    // OAuth: a text
		Code   string `json:"error_code"`
		Errors []struct{ Code string }
	}
	_ = json.Unmarshal(a.Body, &told) // FOLIO's other refusals are plain text
	code, _ := told.Error.(string)
	if told.Code != "" {
		code = told.Code
	}
	if len(told.Errors) > 0 {
		code = told.Errors[0].Code
	}
	return errors.New(strings.TrimSpace(fmt.Sprintf("%d %.60s", a.Status, code)))
}
