package session

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/counterfoil/counterfoil/internal/token"
)

// ErrProofOld is a user whose proof of who he is was too long ago for raised
// scope.
var ErrProofOld = errors.New("the user proved too long ago who he is")

// ExchangeRequest is an access token for which a client wants another one.
type ExchangeRequest struct {
	Token string
	// Scope is what the new one is to have of the scope of the old; empty is all
	// of it. With Raise it names the permissions.
	Scope string
	// Raise asks for raised scope.
	Raise bool
	// Confirm is the key that the client has proved to hold.
	Confirm token.Confirmation
}

// Exchange gives a client another access token of the same session (RFC 8693):
// one with less scope, to be handed on, or one of raised scope, for which the
// user must just have proved who he is. Neither lives longer than what it is
// given for, and none can be refreshed. It fails with ErrTokenInvalid or
// ErrTokenExpired for a token that is not good or not the client's, ErrScope,
// ErrProofOld, ErrForbidden for permissions that the user does not have, or
// ErrUnavailable.
func (s *Service) Exchange(ctx context.Context, c *Client, req ExchangeRequest) (*Tokens, error) {
	caller, err := s.CheckUnproved(ctx, req.Token, token.KindAccess)
	switch {
	case err != nil:
		return nil, err
	case caller.Claims.ClientID != c.ID, caller.Claims.Confirm != "" && caller.Claims.Confirm != req.Confirm:
		return nil, ErrTokenInvalid
	}
	claims := caller.Claims
	claims.Confirm = req.Confirm
	scope, err := s.Narrow(ctx, c, claims.Scope, req.Scope)
	if err != nil {
		return nil, err
	}
	if req.Raise {
		return s.exchangeRaised(ctx, &claims, strings.Fields(req.Scope))
	}
	claims.Scope, claims.ID, claims.IssuedAt = scope, "", s.Now()
	t := &Tokens{
		Session: claims.Session, Tenant: claims.Tenant, UserID: claims.UserID, Username: claims.Subject,
		Issued: claims.IssuedAt, AccessExpires: claims.Expires, Scope: s.ScopeOf(c.ID, scope), Confirm: claims.Confirm,
	}
	t.Access, err = s.Tokens.Mint(claims)
	return t, err
}

func (s *Service) exchangeRaised(ctx context.Context, claims *token.Claims, permissions []string) (*Tokens, error) {
	if len(permissions) == 0 || len(permissions) > 50 {
		return nil, fmt.Errorf("%w: name 1 to 50 permissions", ErrInvalid)
	}
	if claims.AuthTime.IsZero() {
		return nil, ErrProofOld
	}
	access, err := s.userOf(ctx, claims, true)
	if err != nil {
		return nil, err
	}
	raised := *claims
	raised.Kind = token.KindElevated
	if access, err = s.scoped(ctx, &raised, access); err != nil {
		return nil, err
	}
	return s.raise(ctx, claims, access, permissions)
}
