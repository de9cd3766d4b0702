package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/token"
)

// MovingStore keeps what was taken over from mod-login and mod-authtoken.
type MovingStore interface {
	// ImportedCredential tells the salt of the hash that was last imported for
	// a user, "" for none, and whether the user has a password now.
	ImportedCredential(ctx context.Context, tenant, userID string) (salt string, hasPassword bool, err error)
	// ImportCredential stores an imported hash and notes its salt, unless
	// another was imported since oldSalt was read: false. Where it replaces a
	// password, all sessions of the user end.
	ImportCredential(ctx context.Context, c ImportedCredential, oldSalt string, event audit.Event) (bool, error)

	// ImportOldTokens allows tokens that are new here, withdraws those that
	// were revoked since, unless they were used here, forgets the expired, and
	// returns how many it allowed and withdrew.
	ImportOldTokens(ctx context.Context, tenant string, tokens []OldToken, event audit.Event) (allowed, withdrawn int, err error)
	// SwapOldToken stores s, as CreateSession does, if the token was allowed and
	// not used: of many who try, one succeeds. The others get false and what
	// the token became. A token that was not allowed is ErrNotFound.
	SwapOldToken(ctx context.Context, tenant, id string, s *Session, limit int, events ...audit.Event) (OldToken, bool, error)
	// SpendOldToken uses a token for nothing and returns what it was before. A
	// token that was not allowed is ErrNotFound.
	SpendOldToken(ctx context.Context, tenant, id string, event audit.Event) (OldToken, error)
}

// ImportedCredential is a hash of mod-login in argon2id's wrap.
type ImportedCredential struct {
	Tenant, UserID string
	// Salt is FOLIO's.
	Salt, Encoded string
}

// OldToken is a refresh token of mod-authtoken as its table knows it.
type OldToken struct {
	ID, UserID string
	Expires    time.Time
	// Revoked is whether mod-authtoken revoked it: used, logged out, or ended.
	Revoked bool
	// UsedAt is when it was used here, zero for not yet, and Session what it
	// became then, zero for nothing.
	UsedAt  time.Time
	Session token.SessionID
}

// FOLIOCredential is a row of mod-login's auth_credentials, with hash and salt in
// hexadecimal.
type FOLIOCredential struct {
	UserID string `json:"userId"`
	Hash   string `json:"hash"`
	Salt   string `json:"salt"`
}

// ImportResult is what became of an imported row.
type ImportResult string

// The results.
const (
	Imported        ImportResult = "imported"
	ImportReplaced  ImportResult = "replaced"  // it was changed in mod-login since the last import
	ImportUnchanged ImportResult = "unchanged" // it was imported before; what happened here since stays
	ImportConflict  ImportResult = "conflict"  // the user has a password here that was not imported
	ImportNoUser    ImportResult = "no user"   // there is no such user here
	ImportBroken    ImportResult = "broken"    // hash or salt are not what mod-login writes
)

// ImportCredential takes over a password from mod-login, wrapped at once: what is
// stored is argon2id over FOLIO's fast hash. Whoever changed the password there
// since the last import gets the newer one, and nobody else gets another than
// they have. replace also takes rows that are a conflict otherwise.
func (s *Service) ImportCredential(ctx context.Context, tenant string, row FOLIOCredential, replace bool) (ImportResult, error) {
	user, known, err := s.find(ctx, tenant, "", row.UserID)
	switch {
	case err != nil:
		return "", err
	case !known:
		return ImportNoUser, nil
	}
	oldSalt, hasPassword, err := s.Moving.ImportedCredential(ctx, tenant, user.ID)
	switch {
	case err != nil:
		return "", err
	case oldSalt == row.Salt && row.Salt != "":
		return ImportUnchanged, nil
	case oldSalt == "" && hasPassword && !replace:
		return ImportConflict, nil
	}
	encoded, err := s.Passwords.ImportFOLIO(ctx, row.Hash, row.Salt)
	switch {
	case errors.Is(err, credential.ErrEncoding):
		return ImportBroken, nil
	case errors.Is(err, credential.ErrBusy):
		return "", errors.Join(ErrBusy, err)
	case err != nil:
		return "", err
	}
	e := event(ctx, audit.PasswordImported, nil, "taken over from mod-login")
	e.Tenant, e.UserID = tenant, user.ID
	c := ImportedCredential{Tenant: tenant, UserID: user.ID, Salt: row.Salt, Encoded: encoded}
	done, err := s.Moving.ImportCredential(ctx, c, oldSalt, e)
	switch {
	case err != nil:
		return "", err
	case !done:
		return ImportUnchanged, nil // another import was faster
	case hasPassword:
		return ImportReplaced, nil
	}
	return Imported, nil
}

// ImportOldTokens allows refresh tokens of mod-authtoken to be swapped.
func (s *Service) ImportOldTokens(ctx context.Context, tenant string, tokens []OldToken) (allowed, withdrawn int, err error) {
	if _, ok := s.Directory.Tenant(tenant); !ok {
		return 0, 0, fmt.Errorf("tenant: %w", ErrNotFound)
	}
	e := event(ctx, audit.OldTokensImported, nil, "refresh tokens of mod-authtoken may be swapped")
	e.Tenant = tenant
	return s.Moving.ImportOldTokens(ctx, tenant, tokens, e)
}

// swap gives the tokens of a new session for a refresh token of mod-authtoken,
// once. Whoever comes with the same token within the retry window gets the
// first tokens of the same session: several tabs share one cookie. After that it
// is a used token that came back, and its session ends.
func (s *Service) swap(ctx context.Context, req RefreshRequest) (*Tokens, error) {
	old, err := s.openOld(req.Token)
	switch {
	case errors.Is(err, token.ErrExpired):
		s.Observe.OldToken("refresh", "expired")
		return nil, &Refused{Final: true}
	case err != nil:
		s.Observe.Refreshed("forged")
		s.Observe.OldToken("refresh", "refused")
		return nil, &Refused{}
	case req.Tenant != "" && req.Tenant != old.Tenant:
		s.Observe.OldToken("refresh", "refused")
		return nil, &Refused{}
	case !s.Trusted(s.Now()):
		return nil, fmt.Errorf("%w: this node has not heard of revocations for too long", ErrUnavailable)
	}
	epoch := s.memory.epoch(old.Tenant, old.UserID)
	user, known, err := s.find(ctx, old.Tenant, "", old.UserID)
	switch {
	case err != nil:
		return nil, err
	case !known || !user.Active:
		s.Observe.OldToken("refresh", "refused")
		return nil, &Refused{}
	}
	return s.swapFor(ctx, old, proven{user, epoch}, req)
}

func (s *Service) swapFor(ctx context.Context, old token.FOLIORefresh, user proven, req RefreshRequest) (*Tokens, error) {
	login := LoginRequest{Client: ClientAPI, Device: req.Device}
	if req.Browser {
		login.Client = ClientWeb
	}
	actor := audit.ActorFrom(ctx)
	actor.Kind, actor.Name, actor.UserID = "user", user.Username, user.ID
	now, policy := s.Now(), s.Policies.For(user.Tenant, login.Client, user.ID)
	row, device := s.newSession(user.User, login, policy, now, actor)
	var before OldToken
	var first bool
	err := s.retry(ctx, func() (err error) {
		e := event(ctx, audit.OldTokenSwapped, row, "a refresh token of mod-authtoken became this session")
		before, first, err = s.Moving.SwapOldToken(ctx, old.Tenant, old.ID, row, policy.SessionsPerUser, e)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		s.Observe.OldToken("refresh", "not allowed")
		return nil, &Refused{Final: true}
	case err != nil:
		return nil, err
	case !first:
		return s.swapAgain(ctx, before)
	}
	s.Observe.OldToken("refresh", "swapped")
	if s.memory.epoch(user.Tenant, user.ID) != user.epoch {
		_, err := s.end(ctx, row.ID, func(*Session) bool { return true }, LoggedOutAll, audit.SessionRevoked)
		return nil, errors.Join(&Refused{Final: true}, err)
	}
	tokens, err := s.issue(row, policy, now, true)
	if err != nil {
		return nil, err
	}
	tokens.Device = device
	return tokens, nil
}

// swapAgain decides about an old token that was used.
func (s *Service) swapAgain(ctx context.Context, old OldToken) (*Tokens, error) {
	if old.Session.IsZero() {
		s.Observe.OldToken("refresh", "logged out")
		return nil, &Refused{Final: true}
	}
	var row Session
	var policy Policy
	var now time.Time
	var granted, ended bool
	err := s.retry(ctx, func() error {
		return s.Store.UpdateSession(ctx, old.Session, func(at time.Time, one *Session) Effects {
			now, policy = at, s.Policies.For(one.Tenant, one.Client, one.UserID)
			age := at.Sub(old.UsedAt)
			over := s.memory.overRow(one) || !one.RevokedAt.IsZero()
			granted, ended = !over && !policy.Rule().Strict && max(0, age) < policy.Grace, false
			defer func() { row = *one }()
			if granted || over {
				return Effects{}
			}
			ended = true
			one.RevokedAt, one.RevokedWhy, one.RevokedBy = at, RefreshReuse, "refresh rule"
			effects := Effects{Save: true, Events: []audit.Event{event(ctx, audit.RefreshReuse, one, "the refresh token of mod-authtoken that it came from was used again")}}
			if policy.EndUser {
				effects.EndUser = RefreshReuse
			}
			return effects
		})
	})
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, err
	case granted:
		s.Observe.OldToken("refresh", "again")
		row.Gen = 1 // its first tokens, however far it is: the refresh rule goes on from there
		return s.issue(&row, policy, now, true)
	case ended:
		s.Observe.SessionsEnded(RefreshReuse, 1)
	}
	s.Observe.OldToken("refresh", "reused")
	return nil, &Refused{Final: true}
}

// logoutOld ends what an old token became, or keeps it from becoming anything.
func (s *Service) logoutOld(ctx context.Context, raw string) error {
	old, err := s.openOld(raw)
	if err != nil {
		return nil
	}
	before, err := s.spend(ctx, old)
	if err != nil || before.Session.IsZero() {
		return ignoreNotFound(err)
	}
	_, err = s.end(ctx, before.Session, func(*Session) bool { return true }, LoggedOut, audit.Logout)
	return ignoreNotFound(err)
}

// logoutAllOld ends all sessions of the user of an old token that still counts.
func (s *Service) logoutAllOld(ctx context.Context, raw string) error {
	old, err := s.openOld(raw)
	if err != nil {
		return ErrTokenInvalid
	}
	before, err := s.spend(ctx, old)
	switch {
	case err != nil:
		return err
	case !before.UsedAt.IsZero():
		return ErrTokenInvalid
	}
	return s.LogoutUser(ctx, old.Tenant, old.UserID)
}

func (s *Service) spend(ctx context.Context, old token.FOLIORefresh) (before OldToken, err error) {
	e := event(ctx, audit.Logout, nil, "with a refresh token of mod-authtoken")
	e.Tenant, e.UserID = old.Tenant, old.UserID
	err = s.retry(ctx, func() (err error) {
		before, err = s.Moving.SpendOldToken(ctx, old.Tenant, old.ID, e)
		return err
	})
	return before, err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// openOld opens a refresh token of mod-authtoken, while such tokens count and the
// sessions of its user have not all been ended since.
func (s *Service) openOld(raw string) (token.FOLIORefresh, error) {
	if s.Old == nil || !s.Now().Before(s.Old.Until) {
		return token.FOLIORefresh{}, token.ErrInvalid
	}
	old, err := s.Old.Reader.OpenRefresh(raw, s.Now())
	if err == nil && s.Old.endedAfter(old.Tenant, old.UserID, old.IssuedAt) {
		return old, token.ErrExpired
	}
	return old, err
}

// checkOld is Check for what mod-authtoken signed. It names no session, so a
// single one cannot be ended; whatever ends all sessions of its user ends it.
func (s *Service) checkOld(ctx context.Context, raw string, now time.Time) (Caller, error) {
	claims, legacy, err := s.Old.Reader.Verify(raw, now)
	kind := "access"
	if legacy {
		kind = "legacy"
	}
	if err == nil {
		err = s.Old.counts(&claims, legacy, now)
	}
	if err != nil {
		s.Observe.OldToken(kind, "refused")
		return Caller{}, err
	}
	if !s.Trusted(now) {
		return Caller{}, fmt.Errorf("%w: this node has not heard of revocations for too long", ErrUnavailable)
	}
	caller := Caller{Claims: claims}
	if caller.Access, err = s.userOf(ctx, &claims, true); err != nil {
		return Caller{Claims: claims}, err
	}
	s.Observe.OldToken(kind, "accepted")
	if legacy {
		e := event(ctx, audit.LegacyTokenUsed, nil, "a token that never expires")
		e.Tenant, e.UserID = claims.Tenant, claims.UserID
		s.tellUses(ctx, s.Old.use(raw, e, now))
	}
	return caller, nil
}

// tellUses writes of uses of legacy tokens, each with the one who used it last.
func (s *Service) tellUses(ctx context.Context, events []audit.Event) {
	if len(events) == 0 {
		return
	}
	if err := s.Events.AppendEvents(ctx, events...); err != nil {
		s.Log.ErrorContext(ctx, "uses of tokens that never expire were not stored", "events", len(events), "error", err)
	}
}

// LegacyToken gives a user a token that never expires, in a tenant that has such.
func (s *Service) LegacyToken(ctx context.Context, tenant, userID, username string) (string, error) {
	now := s.Now()
	if !s.Old.HasLegacy(tenant, now) {
		return "", fmt.Errorf("%w: the tenant has no tokens that never expire", ErrForbidden)
	}
	user, known, err := s.find(ctx, tenant, "", userID)
	switch {
	case err != nil:
		return "", err
	case !known || !user.Active:
		return "", fmt.Errorf("active user: %w", ErrNotFound)
	case username != userID && !sameName(username, user.Username):
		return "", fmt.Errorf("%w: user id and user name belong to different users", ErrInvalid)
	}
	e := event(ctx, audit.LegacyTokenIssued, nil, "a token that never expires")
	e.Tenant, e.UserID = tenant, user.ID
	if err := s.Events.AppendEvents(ctx, e); err != nil {
		return "", err // what nobody can trace is not given
	}
	s.Observe.OldToken("legacy", "issued")
	return s.Old.Reader.MintLegacy(tenant, user.Username, user.ID, now)
}
