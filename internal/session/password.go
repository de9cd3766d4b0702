package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// history is how many passwords in a row must differ, the present one
// included: FOLIO's password.history.number.
const history = 10

var errEmptyPassword = fmt.Errorf("%w: %w: it must not be empty", ErrInvalid, credential.ErrPassword)

// CreateCredential gives a user who has none a first password. It fails with
// directory.ErrExists if there is one, with credential.ErrPassword, or with
// ErrNotFound for an unknown tenant. The user need not exist yet, as FOLIO
// creates users and credentials in either order.
func (s *Service) CreateCredential(ctx context.Context, tenant, userID, password string) error {
	if password == "" {
		return errEmptyPassword
	}
	username, err := s.nameOf(ctx, tenant, userID)
	if err != nil {
		return err
	}
	encoded, err := s.encode(ctx, password, username)
	if err != nil {
		return err
	}
	set, err := s.Accounts.SetCredential(ctx, tenant, userID, "", encoded, account(ctx, audit.PasswordCreated, tenant, userID))
	if err == nil && !set {
		err = directory.ErrExists
	}
	return err
}

// nameOf is the name that a password must not contain; empty if nobody has it yet.
func (s *Service) nameOf(ctx context.Context, tenant, userID string) (string, error) {
	user, err := s.Users.User(ctx, tenant, userID)
	if errors.Is(err, directory.ErrNotFound) {
		return "", nil
	}
	return user.Username, err
}

// DeleteCredential removes a password and ends all sessions of the user.
func (s *Service) DeleteCredential(ctx context.Context, tenant, userID string) (int, error) {
	n, err := s.Credentials.DeleteCredential(ctx, tenant, userID, account(ctx, audit.PasswordDeleted, tenant, userID))
	if err == nil {
		s.Observe.SessionsEnded(PasswordChanged, n)
	}
	return n, err
}

// HasCredential tells whether a user has a password.
func (s *Service) HasCredential(ctx context.Context, tenant, userID string) (bool, error) {
	_, err := s.Accounts.Credential(ctx, tenant, userID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Fresh tells whether a password is neither the user's present one nor one of
// the nine before it.
func (s *Service) Fresh(ctx context.Context, tenant, userID, password string) (bool, error) {
	all, err := s.Credentials.FormerPasswords(ctx, tenant, userID, history-1)
	if err != nil {
		return false, err
	}
	present, err := s.Accounts.Credential(ctx, tenant, userID)
	switch {
	case err == nil:
		all = append(all, present)
	case !errors.Is(err, ErrNotFound):
		return false, err
	}
	for _, encoded := range all {
		result, err := s.verify(ctx, encoded, password)
		if err != nil || result.OK {
			return false, err
		}
	}
	return true, nil
}

// Attempts tells how many wrong passwords there were in a row. It fails with
// ErrNotFound if there never was one.
func (s *Service) Attempts(ctx context.Context, tenant, userID string) (Attempts, error) {
	return s.Credentials.Attempts(ctx, tenant, userID)
}

// failed counts a failure and, where FOLIO's rule is switched on, deactivates
// a user whose password was guessed at too often. guessed is whether there is
// a password that the presented one was not.
func (s *Service) failed(ctx context.Context, tenant string, user directory.User, attempt credential.Attempt, guessed bool) {
	s.Limits.Failed(s.Now(), attempt)
	told := audit.Event{Kind: audit.LoginFailed, Tenant: tenant, UserID: user.ID}
	if !guessed || !user.Active {
		s.append(ctx, told)
		return
	}
	told.Actor = *audit.ActorFrom(ctx)
	rule := s.Limits.Deactivation
	n, err := s.Credentials.FailAttempt(ctx, tenant, user.ID, rule.Span(), told)
	if err != nil {
		s.Log.ErrorContext(ctx, "security event not stored", "kind", string(told.Kind), "error", err)
		return
	}
	if !rule.Due(n) {
		return
	}
	user.Active = false
	ended, err := s.Accounts.UpdateUser(ctx, user, account(ctx, audit.UserBlocked, tenant, user.ID))
	if err != nil {
		s.Log.ErrorContext(ctx, "user not deactivated after too many wrong passwords", "error", err)
		return
	}
	s.Observe.SessionsEnded(UserDeactivated, ended)
}

// passed begins the count of wrong passwords anew. It is written only where
// something was counted, so that a login costs no further commit.
func (s *Service) passed(ctx context.Context, tenant, userID string) {
	count, err := s.Credentials.Attempts(ctx, tenant, userID)
	if err == nil && count.Count > 0 {
		err = s.Credentials.ClearAttempts(ctx, tenant, userID)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		s.Log.WarnContext(ctx, "count of wrong passwords not cleared, the next login will", "error", err)
	}
}

// SaveAction stores a module's right to set a password once: FOLIO's password
// reset action, whose id the module has chosen. It replaces the user's former
// one, and tells whether the user has a password.
func (s *Service) SaveAction(ctx context.Context, a PasswordAction) (hasPassword bool, err error) {
	a.Secret = [32]byte{}
	return s.Credentials.SaveAction(ctx, a, linkEvent(ctx, &a))
}

// Action reads an action, also one that is over.
func (s *Service) Action(ctx context.Context, tenant, id string) (PasswordAction, error) {
	return s.Credentials.Action(ctx, tenant, id)
}

// UseAction sets a password by a module's action. It fails with ErrNotFound if
// there is none, or it is over, or belongs to a link, with credential.ErrPassword,
// and tells whether this is the user's first password.
func (s *Service) UseAction(ctx context.Context, tenant, id, password string) (first bool, err error) {
	a, err := s.Credentials.Action(ctx, tenant, id)
	if err != nil {
		return false, err
	}
	if a.Secret != [32]byte{} {
		return false, ErrNotFound
	}
	return s.useAction(ctx, a, password)
}

func (s *Service) useAction(ctx context.Context, a PasswordAction, password string) (first bool, err error) {
	if !s.Now().Before(a.Expires) {
		return false, ErrNotFound // before the work of a hash
	}
	user, err := s.Users.User(ctx, a.Tenant, a.UserID)
	if errors.Is(err, directory.ErrNotFound) {
		return false, fmt.Errorf("%w: the user of the action does not exist", ErrInvalid)
	}
	if err != nil {
		return false, errors.Join(ErrUnavailable, err)
	}
	if password == "" {
		return false, errEmptyPassword
	}
	encoded, err := s.encode(ctx, password, user.Username)
	if err != nil {
		return false, err
	}
	first, n, err := s.Credentials.UseAction(ctx, a, encoded, account(ctx, audit.PasswordReset, a.Tenant, a.UserID))
	if err == nil {
		s.Observe.SessionsEnded(PasswordChanged, n)
	}
	return first, err
}

// ChangePassword lets a user replace the password, proving the old one. It is
// refused and counted as a login is. All sessions of the user end.
func (s *Service) ChangePassword(ctx context.Context, tenant, username, userID, old, password string) error {
	user, err := s.prove(ctx, tenant, username, userID, old)
	if err != nil {
		return err
	}
	_, err = s.SetPassword(ctx, tenant, user.ID, password, token.SessionID{})
	return err
}
