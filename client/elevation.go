package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// ElevationRequired says that the gateway has not served a request, because it
// wants a fresh proof of who calls (RFC 9470). Session.Elevate can give it.
type ElevationRequired struct {
	// Permissions are what the proof is for.
	Permissions []string `json:"permissions"`
	// ACR is the authentication context that is asked for, if one is.
	ACR string `json:"acr"`
	// MaxAge is how long ago the password may have been given; 0 is no limit.
	MaxAge time.Duration `json:"-"`
	// Err is why Session.Elevate was of no avail, or nil.
	Err error `json:"-"`
}

func (e *ElevationRequired) Error() string {
	text := "client: the gateway wants a fresh proof for " + strings.Join(e.Permissions, ", ")
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", text, e.Err)
	}
	return text
}

func (e *ElevationRequired) Unwrap() error { return e.Err }

// elevationOf reads the gateway's challenge; nil is any other answer. A module's
// own 401 has no such body, and the body of that is left to be read.
func elevationOf(answer *http.Response) *ElevationRequired {
	if answer.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(answer.Header.Get("Www-Authenticate"), `error="insufficient_user_authentication"`) {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	told := struct {
		ElevationRequired
		Code   string `json:"code"`
		MaxAge int    `json:"maxAge"`
	}{}
	if err == nil && json.Unmarshal(text, &told) == nil && told.Code == "ELEVATION_REQUIRED" && len(told.Permissions) > 0 {
		answer.Body.Close()
		told.ElevationRequired.MaxAge = time.Duration(told.MaxAge) * time.Second
		return &told.ElevationRequired
	}
	rest := io.Reader(answer.Body)
	if err != nil {
		rest = failing{err}
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), rest), answer.Body}
	return nil
}

// elevate gets raised scope for one request. The token is kept nowhere: the
// next request asks again.
func (s *Session) elevate(ctx context.Context, st *state, need *ElevationRequired) (string, error) {
	if s.Elevate == nil {
		return "", need
	}
	password, err := s.Elevate(ctx, need)
	if err != nil {
		need.Err = err
		return "", need
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := json.Marshal(map[string]any{"password": password, "permissions": need.Permissions})
	if err != nil {
		return "", err
	}
	g, err := s.gatewayFor(st.Tokens)
	if err != nil {
		return "", err
	}
	a, err := g.send(ctx, "/authn/elevate", "application/json", text, func(r *http.Request) {
		if g.prover != nil {
			r.Header.Set("Authorization", "DPoP "+st.Access)
		} else {
			r.Header.Set("X-Okapi-Token", st.Access)
		}
	})
	if err == nil && !a.ok() {
		err = a.failure()
	}
	var got granted
	if err == nil && (json.Unmarshal(a.Body, &got) != nil || got.AccessToken == "") {
		err = errors.New("/authn/elevate answered without a token")
	}
	if err != nil {
		need.Err = err
		return "", need
	}
	return got.AccessToken, nil
}
