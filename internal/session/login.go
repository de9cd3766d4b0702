package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// LoginRequest is a password presented for a user.
type LoginRequest struct {
	Tenant string
	// Username or UserID names the user.
	Username, UserID string
	Password         string
	// Client is ClientWeb or ClientAPI.
	Client string
	// Device is the value of the device cookie, if there was one.
	Device string
	// Scope and Confirm are the session's.
	Scope   string
	Confirm token.Confirmation
}

// Limited is a login that was refused unheard.
type Limited struct {
	// RetryAfter is when the next attempt will be heard.
	RetryAfter time.Duration
}

func (l *Limited) Error() string { return "too many failed logins, try again later" }

// Login proves a password and gives the tokens of a new session. It fails with
// ErrCredentials, the same for every reason and after the same work, with
// *Limited, ErrBusy or ErrUnavailable.
func (s *Service) Login(ctx context.Context, req LoginRequest) (*Tokens, error) {
	p, err := s.prove(ctx, req.Tenant, req.Username, req.UserID, req.Password)
	if err != nil {
		s.Observe.LoggedIn(loginResult(err))
		return nil, err
	}
	if s.UsersElsewhere {
		s.Directory.ForgetUser(p.Tenant, p.ID)
	}
	tokens, err := s.create(ctx, p, req)
	s.Observe.LoggedIn(loginResult(err))
	return tokens, err
}

// proven is a user who was proved, at a time when the user's epoch was this.
type proven struct {
	directory.User
	epoch uint64
}

func (s *Service) create(ctx context.Context, user proven, req LoginRequest) (*Tokens, error) {
	now, policy, actor := s.Now(), s.Policies.For(user.Tenant, req.Client, user.ID), audit.ActorFrom(ctx)
	actor.Kind, actor.Name, actor.UserID = "user", user.Username, user.ID
	row, device := s.newSession(user.User, req, policy, now, actor)
	err := s.retry(ctx, func() error {
		return s.Store.CreateSession(ctx, row, policy.SessionsPerUser, event(ctx, audit.Login, row, ""))
	})
	if err != nil {
		return nil, err
	}
	if s.memory.epoch(user.Tenant, user.ID) != user.epoch {
		// The password was changed, or the user kept out, after the old one had
		// been proved: what ended all sessions must end this one, too.
		_, err := s.end(ctx, row.ID, func(*Session) bool { return true }, LoggedOutAll, audit.SessionRevoked)
		return nil, errors.Join(ErrCredentials, err)
	}
	tokens, err := s.issue(row, policy, now, true)
	if err != nil {
		return nil, err
	}
	tokens.Device = device
	return tokens, nil
}

// newSession is a session that begins now, and the device cookie to set for it.
func (s *Service) newSession(user directory.User, req LoginRequest, policy Policy, now time.Time, actor *audit.Actor) (row *Session, device string) {
	row = &Session{
		ID: token.NewSessionID(), Tenant: user.Tenant, UserID: user.ID, Username: user.Username, Client: req.Client,
		Family:    Family{Gen: 1, RotatedAt: now},
		CreatedAt: now, LastActivity: now, AbsoluteExpiry: now.Add(policy.Absolute).Truncate(time.Second),
		LoginAddress: actor.Address, LastAddress: actor.Address, UserAgent: actor.UserAgent,
		Scope: req.Scope, Confirm: req.Confirm,
	}
	_, _ = rand.Read(row.Secret[:]) // never fails since Go 1.24
	if policy.Binding == BindingDevice {
		if req.Device == "" {
			device = newDevice()
			req.Device = device
		}
		row.Device = deviceHash(req.Device)
	}
	return row, device
}

// nobody is an id in place of that of a user who was not found.
const nobody = "00000000-0000-0000-0000-000000000000"

// prove finds the user and verifies the password. Every refusal costs the same
// work and says the same, so that nobody learns which names exist.
func (s *Service) prove(ctx context.Context, tenant, username, userID, password string) (user proven, err error) {
	var known bool
	if user.User, known, err = s.find(ctx, tenant, username, userID); err != nil {
		return user, err
	}
	if known {
		// Read again after the epoch: whatever happens to the user from here on
		// moves it, and create notices.
		user.epoch = s.memory.epoch(user.Tenant, user.ID)
		user.User, known, err = s.find(ctx, tenant, "", user.ID)
	} else {
		// Asked all the same: another system is far enough away for the time to
		// tell who is known.
		_, _, err = s.find(ctx, tenant, "", nobody)
	}
	if err != nil {
		return user, err
	}
	attempt := s.attempt(ctx, tenant, username, user.User, known)
	if d := s.Limits.Allow(s.Now(), attempt); !d.Allowed {
		s.append(ctx, audit.Event{Kind: audit.LoginLimited, Tenant: tenant, UserID: user.ID, Reason: "limit of failed logins per " + d.Limit})
		return user, &Limited{RetryAfter: d.RetryAfter}
	}
	encoded := ""
	if known {
		if encoded, err = s.Accounts.Credential(ctx, tenant, user.ID); err != nil && !errors.Is(err, ErrNotFound) {
			s.Limits.Abandoned(s.Now(), attempt)
			return user, err
		}
	}
	result, err := s.verify(ctx, encoded, password)
	if err != nil {
		s.Limits.Abandoned(s.Now(), attempt)
		return user, err
	}
	if !known || !result.OK || !user.Active {
		s.failed(ctx, tenant, user.User, attempt, encoded != "" && !result.OK)
		return user, ErrCredentials
	}
	s.Limits.Succeeded(s.Now(), attempt)
	s.passed(ctx, tenant, user.ID)
	if result.Rehash {
		s.upgrade(ctx, user.User, encoded, password)
	}
	return user, nil
}

func (s *Service) find(ctx context.Context, tenant, username, userID string) (user directory.User, known bool, err error) {
	if _, ok := s.Directory.Tenant(tenant); !ok {
		return user, false, nil
	}
	if userID != "" {
		user, err = s.Users.User(ctx, tenant, userID)
	} else {
		user, err = s.Users.UserByName(ctx, tenant, username)
	}
	switch {
	case err == nil:
		return user, true, nil
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
		return directory.User{}, false, nil
	}
	return user, false, errors.Join(ErrUnavailable, err)
}

// attempt names what is counted. A known user counts by id, so that spellings
// of one name share a count.
func (s *Service) attempt(ctx context.Context, tenant, username string, user directory.User, known bool) credential.Attempt {
	a := credential.Attempt{Tenant: tenant, User: user.ID}
	if !known {
		a.User = "?" + username[:min(len(username), 255)]
		if normal, err := directory.NormalName(username); err == nil {
			a.User = "?" + normal
		}
	}
	a.Address, _ = netip.ParseAddr(audit.ActorFrom(ctx).Address)
	return a
}

func (s *Service) verify(ctx context.Context, encoded, password string) (credential.Result, error) {
	var result credential.Result
	var err error
	if encoded == "" {
		err = s.Passwords.VerifyNothing(ctx, password)
	} else {
		result, err = s.Passwords.Verify(ctx, encoded, password)
	}
	switch {
	case errors.Is(err, credential.ErrBusy):
		return result, errors.Join(ErrBusy, err)
	case errors.Is(err, credential.ErrTooLong):
		return credential.Result{}, nil
	case err != nil && ctx.Err() != nil:
		return result, ctx.Err()
	case err != nil:
		// A hash that cannot be read: the operator must learn of it, the
		// caller only that the login failed.
		s.Log.ErrorContext(ctx, "stored password hash cannot be read", "error", err)
		return credential.Result{}, nil
	}
	return result, nil
}

// upgrade replaces an old hash by one of today's strength. Losing the race
// against another login is fine, and so is failing: the next login tries again.
func (s *Service) upgrade(ctx context.Context, user directory.User, old, password string) {
	encoded, err := s.Passwords.Hash(ctx, password)
	if err == nil {
		e := event(ctx, audit.PasswordUpgraded, nil, "")
		e.Tenant, e.UserID = user.Tenant, user.ID
		_, err = s.Accounts.SetCredential(ctx, user.Tenant, user.ID, old, encoded, e)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "old password hash not replaced, the next login will", "error", err)
	}
}

// append writes an event that belongs to no other change. A store that cannot
// take it must not turn a refusal into something else.
func (s *Service) append(ctx context.Context, e audit.Event) {
	e.Actor = *audit.ActorFrom(ctx)
	if err := s.Events.AppendEvents(ctx, e); err != nil {
		s.Log.ErrorContext(ctx, "security event not stored", "kind", string(e.Kind), "error", err)
	}
}

func loginResult(err error) string {
	var limited *Limited
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrCredentials):
		return "refused"
	case errors.As(err, &limited):
		return "limited"
	case errors.Is(err, ErrBusy):
		return "busy"
	}
	return "error"
}

// Elevate gives raised scope for one operation: a token of at most 5 minutes
// that is never refreshed, with the named permissions beside the ordinary
// ones. A wrong password is refused and counted as at login.
func (s *Service) Elevate(ctx context.Context, c *Caller, password string, permissions []string) (*Tokens, error) {
	if c.Claims.Kind != token.KindAccess || c.Claims.Session.IsZero() {
		return nil, fmt.Errorf("%w: raised scope is given for an ordinary access token only", ErrForbidden)
	}
	if len(permissions) == 0 || len(permissions) > 50 {
		return nil, fmt.Errorf("%w: name 1 to 50 permissions", ErrInvalid)
	}
	if err := s.Prove(ctx, c, password); err != nil {
		return nil, err
	}
	claims := c.Claims
	claims.AuthTime = s.Now()
	return s.raise(ctx, &claims, c.Access, permissions)
}

// raise gives raised scope to whoever proved at claims.AuthTime who he is. Its
// time counts from there.
func (s *Service) raise(ctx context.Context, claims *token.Claims, access *directory.Access, permissions []string) (*Tokens, error) {
	row := &Session{ID: claims.Session, Tenant: claims.Tenant, UserID: claims.UserID}
	for _, p := range permissions {
		if p != EndOthers && !access.Elevated.Has(p) && !access.Ordinary.Has(p) {
			s.append(ctx, event(ctx, audit.ElevationFailed, row, "a permission was asked for that the user does not have"))
			return nil, fmt.Errorf("%w: a permission was asked for that the user does not have", ErrForbidden)
		}
	}
	now, policy := s.Now(), s.Policies.For(claims.Tenant, claims.ClientID, claims.UserID)
	t := &Tokens{
		Session: row.ID, Tenant: claims.Tenant, UserID: claims.UserID, Username: claims.Subject, Issued: now,
		AccessExpires: claims.AuthTime.Add(min(policy.ElevatedTTL, longestElevated)).Truncate(time.Second),
		Scope:         strings.Join(permissions, " "), Confirm: claims.Confirm,
	}
	if !t.AccessExpires.After(now) {
		return nil, ErrProofOld
	}
	raised := *claims
	raised.Kind, raised.Permissions, raised.ID = token.KindElevated, permissions, ""
	raised.IssuedAt, raised.Expires = now, t.AccessExpires
	var err error
	if t.Access, err = s.Tokens.Mint(raised); err != nil {
		return nil, err
	}
	if err := s.Events.AppendEvents(ctx, event(ctx, audit.Elevated, row, "for "+strings.Join(permissions, ", "))); err != nil {
		return nil, err // raised scope that nobody can trace is not given
	}
	return t, nil
}
