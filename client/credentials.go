package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ClientCredentials logs in as a client of OAuth 2.0, for programs that act for
// themselves and for no user (RFC 6749, section 4.4). It asks BaseURL +
// /oauth2/token, with id and secret in the Authorization header
// (client_secret_basic).
//
// There is no refresh token: the session asks for the next access token when
// the last one is nearly over. Logout forgets the token, which the server takes
// until it ends.
//
// A plain FOLIO has no such endpoint: there it is a *SessionEnded that says 404.
type ClientCredentials struct {
	ClientID     string
	ClientSecret string
	// Secrets has the secret if ClientSecret is empty, with ClientID as the
	// user's name. It is asked at each login.
	Secrets SecretStore
	// Salt is part of the secret's name in the stores of FOLIO's edge modules.
	Salt string
	// Scopes are asked for; none leaves it to the server.
	Scopes []string
}

// Account implements Login.
func (c ClientCredentials) Account() string { return c.ClientID }

// LogIn implements Login.
func (c ClientCredentials) LogIn(ctx context.Context, g *Gateway) (*Tokens, error) {
	secret, err := secretOf(ctx, c.ClientSecret, c.Secrets, SecretName{Salt: c.Salt, Tenant: g.Tenant, User: c.ClientID})
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	a, err := g.send(ctx, "/oauth2/token", "application/x-www-form-urlencoded", []byte(form.Encode()), func(r *http.Request) {
		// Section 2.3.1: both are form-encoded first, so that a colon in an id divides nothing.
		r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(secret))
	})
	if err != nil || !a.ok() {
		return Granted(a, err)
	}
	t, err := a.bearer()
	if err == nil {
		t.Refresh = "" // section 4.4.3: there should be none
	}
	return t, err
}

// bearer reads the answer of RFC 6749, section 5.1.
func (a *Answer) bearer() (*Tokens, error) {
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		TokenType    string `json:"token_type"`
		ExpiresIn    int64  `json:"expires_in"`
	}
	switch err := json.Unmarshal(a.Body, &got); {
	case err != nil || got.AccessToken == "":
		return nil, &RefreshUnavailable{Err: fmt.Errorf("%s answered %d without an access token", a.path, a.Status)}
	case !strings.EqualFold(got.TokenType, "bearer") && !strings.EqualFold(got.TokenType, "dpop"):
		return nil, &SessionEnded{ReasonCredentials, fmt.Errorf("%s gave a token of type %.20q, which this package cannot use", a.path, got.TokenType)}
	}
	t := &Tokens{Access: got.AccessToken, Refresh: got.RefreshToken, Received: a.sent, bound: strings.EqualFold(got.TokenType, "dpop")}
	if got.ExpiresIn > 0 {
		const longest = 10 * 365 * 24 * 3600
		t.Lifetime = certain(time.Duration(min(got.ExpiresIn, longest)) * time.Second)
	}
	return t, nil
}
