package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Caller is who presented a token that holds.
type Caller struct {
	Claims token.Claims
	// Access is what the directory says about the user; nil for a token that
	// names none.
	Access *directory.Access
}

// The ways in which a presented access or module token is refused.
var (
	// ErrTokenExpired is a genuine token whose time is over: refresh.
	ErrTokenExpired = token.ErrExpired
	// ErrTokenInvalid is every other token that does not hold.
	ErrTokenInvalid = token.ErrInvalid
	// ErrDirectory comes along with ErrUnavailable where it was the directory
	// that could not tell about the user.
	ErrDirectory = errors.New("directory not available")
)

// UserGone is a genuine token of a user who cannot go on. It is ErrTokenInvalid
// too, by errors.Is.
type UserGone struct {
	UserID string
	// Inactive is a user who exists; otherwise there is none of that id.
	Inactive bool
}

func (u *UserGone) Error() string {
	if u.Inactive {
		return "user of the token is not active"
	}
	return "user of the token does not exist"
}

// Is says that a token of such a user does not hold.
func (u *UserGone) Is(target error) bool { return target == ErrTokenInvalid }

type tokenHash [sha256.Size]byte

// verified is a token whose signature held. Everything that may change while
// it lives is looked at again on every request.
type verified struct {
	claims token.Claims
	ring   uint64
	// noted is in which stretch of noteEvery a use was last noted.
	noted atomic.Int64
}

// Check tells whether a token of one of the accepted kinds holds now: its
// signature, its expiry, that its session and its user's epochs stand, and
// that its user is active. It asks the store for nothing that is in memory.
// A token that is bound to a key is refused with *ProofError. It fails with
// ErrTokenExpired, ErrTokenInvalid (also as *UserGone) or
// ErrUnavailable; with ErrDirectory, the claims are there and genuine.
func (s *Service) Check(ctx context.Context, raw string, accept ...token.Kind) (Caller, error) {
	c, err := s.check(ctx, raw, false, accept)
	if err == nil && c.Claims.Confirm != "" {
		return Caller{}, &ProofError{Missing: true, reason: "the token is bound to a key"}
	}
	return c, err
}

// CheckUnproved is Check for tokens that are bound to keys, too. Whoever lets
// somebody in by what it returns asks for the proof: see Possesses.
func (s *Service) CheckUnproved(ctx context.Context, raw string, accept ...token.Kind) (Caller, error) {
	return s.check(ctx, raw, false, accept)
}

// CheckConsole is Check for the console's own access tokens, which hold nowhere
// else.
func (s *Service) CheckConsole(ctx context.Context, raw string) (Caller, error) {
	return s.check(ctx, raw, true, []token.Kind{token.KindAccess})
}

func (s *Service) check(ctx context.Context, raw string, console bool, accept []token.Kind) (Caller, error) {
	now := s.Now()
	if s.Old != nil && !console && token.IsFOLIO(raw) && slices.Contains(accept, token.KindAccess) {
		return s.checkOld(ctx, raw, now)
	}
	v, err := s.verifiedToken(raw, now, accept)
	if err != nil {
		return Caller{}, err
	}
	c := &v.claims
	// A module's token outlives its caller's session on purpose, so that
	// nothing inside fails half-way. It still dies with its user and its key.
	own := c.Kind == token.KindAccess || c.Kind == token.KindElevated
	if (c.ClientID == ClientConsole) != console {
		return Caller{}, ErrTokenInvalid
	}
	// Ended sessions are forgotten after the longest lifetime of today. A token
	// that was issued for longer must not hold again then.
	if !now.Before(c.Expires) || own && !now.Before(c.IssuedAt.Add(s.Policies.MaxAccessTTL())) {
		return Caller{}, ErrTokenExpired
	}
	if own && s.undone(c.IssuedAt) {
		return Caller{}, ErrTokenExpired
	}
	if !s.Trusted(now) {
		return Caller{}, fmt.Errorf("%w: this node has not heard of revocations for too long", ErrUnavailable)
	}
	if c.Kind != token.KindModule && s.memory.over(c.Session, c.Tenant, c.UserID, c.TenantEpoch, c.UserEpoch) {
		return Caller{}, ErrTokenInvalid
	}
	caller := Caller{Claims: *c}
	if c.UserID != "" {
		if caller.Access, err = s.userOf(ctx, c, own); errors.Is(err, ErrDirectory) {
			return Caller{Claims: *c}, err
		} else if err != nil {
			return Caller{}, err
		}
		if Registered(c.ClientID) {
			if caller.Access, err = s.scoped(ctx, c, caller.Access); err != nil {
				return Caller{}, err
			}
		} else if c.Kind == token.KindModule && c.ClientID != "" {
			if caller.Access, err = s.Keys.nested(ctx, c.ClientID, caller.Access); err != nil {
				return Caller{}, err
			}
		}
	}
	if stretch := now.UnixNano() / int64(noteEvery); own && v.noted.Swap(stretch) != stretch {
		s.seen.note(c.Session, c.Gen, now, 0)
	}
	return caller, nil
}

// userOf is what the directory says of the user of a token who may go on. own is
// whether it is the user's own and not a module's.
func (s *Service) userOf(ctx context.Context, c *token.Claims, own bool) (*directory.Access, error) {
	access, err := s.Directory.Access(ctx, c.Tenant, c.UserID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return nil, &UserGone{UserID: c.UserID}
	case err != nil:
		return nil, errors.Join(ErrUnavailable, ErrDirectory, err)
	case !access.User.Active && own && s.UsersElsewhere:
		return s.confirmInactive(ctx, c.Tenant, c.UserID)
	case !access.User.Active:
		return nil, &UserGone{UserID: c.UserID, Inactive: true}
	}
	return access, nil
}

// confirmInactive ends the sessions of a user whom another system made inactive.
// It asks again before: what this node remembers may be from before the user was
// let in anew, by another node. The epoch moves with the end, so it comes to
// this once.
func (s *Service) confirmInactive(ctx context.Context, tenant, userID string) (*directory.Access, error) {
	s.Directory.ForgetUser(tenant, userID)
	access, err := s.Directory.Access(ctx, tenant, userID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return nil, ErrTokenInvalid
	case err != nil:
		return nil, errors.Join(ErrUnavailable, err)
	case access.User.Active:
		return access, nil
	}
	if _, err := s.EndUser(ctx, Scope{Tenant: tenant, UserID: userID}, UserDeactivated, audit.UserDeactivated); err != nil {
		s.Log.WarnContext(ctx, "sessions of an inactive user not ended, the next use of one will", "error", err)
	}
	return nil, ErrTokenInvalid
}

// verifiedToken verifies a signature, or remembers that it did. The cache is
// keyed by a hash, so that a dump of memory holds no token twice, and dropped
// whole when a key is removed.
func (s *Service) verifiedToken(raw string, now time.Time, accept []token.Kind) (*verified, error) {
	if s.verified == nil {
		return s.verify1(raw, now, accept)
	}
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	if v, ok := s.verified.Get(hash); ok && v.ring == s.Tokens.Version() {
		for _, kind := range accept {
			if v.claims.Kind == kind {
				s.Observe.TokenCache(true)
				return v, nil
			}
		}
		return nil, ErrTokenInvalid
	}
	s.Observe.TokenCache(false)
	v, err := s.verify1(raw, now, accept)
	if err == nil {
		s.verified.Add(hash, v)
	}
	return v, err
}

func (s *Service) verify1(raw string, now time.Time, accept []token.Kind) (*verified, error) {
	ring := s.Tokens.Version()
	claims, err := s.Tokens.Verify(raw, now, accept...)
	if err != nil {
		return nil, err
	}
	return &verified{claims: claims, ring: ring}, nil
}
