package session

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// ErrScope is a scope that was asked for and goes beyond what was granted.
var ErrScope = errors.New("scope is wider than what was granted")

// The scopes of OpenID Connect. They are no permissions: they are about what a
// client learns of the user.
const (
	ScopeOpenID  = "openid"
	ScopeProfile = "profile"
	ScopeEmail   = "email"
)

// maxScope is in bytes: a scope is in every access token, and tokens travel in
// headers.
const maxScope = 2000

// Narrow is the scope of what a client gets: what it asks for, if that is within
// what was granted, and what was granted if it asks for nothing. Both are written
// as RFC 6749 section 3.3 does; an empty grant is the whole scope of the client.
// It fails with ErrScope or ErrUnavailable.
func (s *Service) Narrow(ctx context.Context, c *Client, granted, asked string) (string, error) {
	names := strings.Fields(asked)
	if len(names) == 0 {
		return granted, nil
	}
	within := strings.Fields(granted)
	if len(within) == 0 {
		within = c.Scopes
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if narrow := strings.Join(names, " "); len(narrow) > maxScope {
		return "", ErrScope
	}
	var all directory.Set
	expanded := false
	for _, name := range names {
		switch {
		case slices.Contains(within, name):
			continue
		case slices.Contains(within, apikey.Everything):
			if directory.ValidPermission(name) != nil {
				return "", ErrScope
			}
			continue
		case !expanded:
			var err error
			if all, err = s.Directory.Expand(ctx, c.Tenant, within); err != nil {
				return "", errors.Join(ErrUnavailable, err)
			}
			expanded = true
		}
		if !all.Has(name) {
			return "", ErrScope
		}
	}
	return strings.Join(names, " "), nil
}

// ScopeOf is the scope of a token of a client, in words also where it is the
// whole one; empty where the client is none that was registered.
func (s *Service) ScopeOf(client, scope string) string {
	if c := s.Client(client); c != nil && scope == "" {
		return strings.Join(c.Scopes, " ")
	}
	return scope
}

// narrowed is the scope of an access token that a refresh asks for. A session's
// own scope never changes, so it can be read before anything is decided: a scope
// that is too wide must not use the token up.
func (s *Service) narrowed(ctx context.Context, req *RefreshRequest, id token.SessionID) (string, error) {
	c := s.Client(req.Client)
	if req.Scope == "" || c == nil {
		return "", nil
	}
	row, err := s.Store.Session(ctx, id)
	if err != nil {
		return "", err
	}
	return s.Narrow(ctx, c, row.Scope, req.Scope)
}
