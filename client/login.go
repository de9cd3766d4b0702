package client

import (
	"context"
	"errors"
	"net/http"
)

// Login is a way to begin a session, and to begin anew once it is over.
//
// Password, FOLIOPassword and ClientCredentials are three. For another one,
// get tokens from wherever they are given and return them with Access and
// Lifetime set; without Refresh, they are asked for again when they end.
type Login interface {
	// Account says who logs in. It holds no secret.
	Account() string
	// LogIn gets the first tokens of a session. It returns a *SessionEnded if
	// the server refused for good and a *RefreshUnavailable if it may let us
	// in later; what that is for an Answer, Granted knows.
	LogIn(ctx context.Context, g *Gateway) (*Tokens, error)
}

// Granted returns the tokens of an answer to a login, or the error that LogIn
// is to return.
func Granted(a *Answer, err error) (*Tokens, error) {
	switch {
	case err != nil:
		return nil, err
	case a.ok():
		return a.Tokens()
	}
	err = a.failure(http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity)
	var refused *refusal
	if errors.As(err, &refused) && err == error(refused) {
		return nil, &SessionEnded{ReasonCredentials, refused}
	}
	return nil, err
}

// ErrEndlessToken is what a plain FOLIO gives for a Password.
var ErrEndlessToken = errors.New("the server gave a token that never ends, use FOLIOPassword")

// Password logs in with user name and password at Counterfoil's /authn/login,
// where programs get their tokens. Of a plain FOLIO this asks for a token that
// never ends; use FOLIOPassword there.
type Password struct {
	Username string
	Password string
	// Secrets has the password if Password is empty. It is asked at each
	// login, so that a password can be changed while the program runs.
	Secrets SecretStore
	// Salt is part of the secret's name in the stores of FOLIO's edge modules.
	Salt string
}

// Account implements Login.
func (p Password) Account() string { return p.Username }

// LogIn implements Login.
func (p Password) LogIn(ctx context.Context, g *Gateway) (*Tokens, error) {
	body, err := p.credentials(ctx, g)
	if err != nil {
		return nil, err
	}
	t, err := Granted(g.Post(ctx, "/authn/login", body, nil))
	if err == nil && t.Refresh == "" {
		return nil, &SessionEnded{ReasonCredentials, ErrEndlessToken}
	}
	return t, err
}

type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func (p Password) credentials(ctx context.Context, g *Gateway) (credentials, error) {
	secret, err := secretOf(ctx, p.Password, p.Secrets, SecretName{Salt: p.Salt, Tenant: g.Tenant, User: p.Username})
	return credentials{p.Username, secret}, err
}

// secretOf is the secret that the program has, or else that of the store. A
// store that does not have it ends the matter; one that fails does not.
func secretOf(ctx context.Context, own string, store SecretStore, name SecretName) (string, error) {
	if own != "" || store == nil {
		return own, nil
	}
	secret, err := store.Secret(ctx, name)
	switch {
	case errors.Is(err, ErrNoSecret):
		return "", &SessionEnded{ReasonCredentials, err}
	case err != nil:
		return "", &RefreshUnavailable{Err: err, settled: true}
	}
	return secret, nil
}

// FOLIOPassword logs in with user name and password at any FOLIO: at
// /authn/login-with-expiry, which answers with cookies, and where that does not
// exist, at the /authn/login of old, whose token never ends. It works with
// Counterfoil too, which takes the program for a browser then.
type FOLIOPassword Password

// Account implements Login.
func (p FOLIOPassword) Account() string { return p.Username }

// LogIn implements Login.
func (p FOLIOPassword) LogIn(ctx context.Context, g *Gateway) (*Tokens, error) {
	body, err := Password(p).credentials(ctx, g)
	if err != nil {
		return nil, err
	}
	a, err := g.Post(ctx, "/authn/login-with-expiry", body, nil)
	if err == nil && a.Status == http.StatusNotFound {
		a, err = g.Post(ctx, "/authn/login", body, nil)
	}
	return Granted(a, err)
}
