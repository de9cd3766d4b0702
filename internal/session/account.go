package session

import (
	"context"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// CreateUser stores a user with a first password; an empty one means that the
// user cannot log in until a password is set.
func (s *Service) CreateUser(ctx context.Context, u directory.User, g directory.Grants, password string) error {
	if err := directory.ValidUser(u); err != nil {
		return err
	}
	encoded, err := s.encode(ctx, password, u.Username)
	if err != nil {
		return err
	}
	return s.Accounts.CreateUser(ctx, u, g, encoded, account(ctx, audit.UserCreated, u.Tenant, u.ID))
}

// UpdateUser replaces a user's record. One that is no longer active loses
// sessions and access tokens at once. It returns how many sessions ended.
func (s *Service) UpdateUser(ctx context.Context, u directory.User) (int, error) {
	if err := directory.ValidUser(u); err != nil {
		return 0, err
	}
	kind := audit.UserChanged
	if !u.Active {
		kind = audit.UserDeactivated
	}
	n, err := s.Accounts.UpdateUser(ctx, u, account(ctx, kind, u.Tenant, u.ID))
	if err == nil {
		s.Observe.SessionsEnded(UserDeactivated, n)
	}
	return n, err
}

// DeleteUser removes a user and ends all sessions.
func (s *Service) DeleteUser(ctx context.Context, tenant, userID string) (int, error) {
	n, err := s.Accounts.DeleteUser(ctx, tenant, userID, account(ctx, audit.UserDeleted, tenant, userID))
	if err == nil {
		s.Observe.SessionsEnded(UserDeleted, n)
	}
	return n, err
}

// SetGrants replaces what a user was given. It has effect on the next request,
// with tokens that were issued before.
func (s *Service) SetGrants(ctx context.Context, tenant, userID string, g directory.Grants) error {
	for _, name := range append(append([]string(nil), g.Permissions...), g.Elevated...) {
		if err := directory.ValidPermission(name); err != nil {
			return err
		}
	}
	return s.Accounts.SetGrants(ctx, tenant, userID, g, account(ctx, audit.PermissionChanged, tenant, userID))
}

// SetPassword gives a user a new password and ends all sessions but except.
func (s *Service) SetPassword(ctx context.Context, tenant, userID, password string, except token.SessionID) (int, error) {
	user, err := s.Users.User(ctx, tenant, userID)
	if err != nil {
		return 0, err
	}
	if password == "" {
		return 0, fmt.Errorf("%w: the new password is empty", ErrInvalid)
	}
	encoded, err := s.encode(ctx, password, user.Username)
	if err != nil {
		return 0, err
	}
	scope := Scope{Tenant: tenant, UserID: userID, Except: except}
	n, err := s.Accounts.ChangePassword(ctx, scope, encoded, account(ctx, audit.PasswordChanged, tenant, userID))
	if err == nil {
		s.Observe.SessionsEnded(PasswordChanged, n)
	}
	return n, err
}

func (s *Service) encode(ctx context.Context, password, username string) (string, error) {
	if password == "" {
		return "", nil
	}
	if err := s.Rules.Check(password, username); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s.Passwords.Hash(ctx, password)
}

func account(ctx context.Context, kind audit.Kind, tenant, userID string) audit.Event {
	e := event(ctx, kind, nil, "")
	e.Tenant, e.UserID = tenant, userID
	return e
}
