package session

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Logout ends the session of an authentic refresh token, of whatever
// generation: an old token may do this and nothing else. It is idempotent, and
// a token that is not ours ends nothing and is no error. It works in the
// token's own tenant, whatever the request named.
func (s *Service) Logout(ctx context.Context, raw string) error {
	opened, err := s.Tokens.OpenRefresh(raw)
	if err != nil {
		return s.logoutOld(ctx, raw)
	}
	_, err = s.end(ctx, opened.Session, func(row *Session) bool {
		return s.Tokens.RefreshMatches(row.Binding(), opened)
	}, LoggedOut, audit.Logout)
	return ignoreNotFound(err)
}

// LogoutAll ends all sessions of the user of an authentic refresh token of a
// session that goes on. Repeated, because its answer was lost perhaps, it is
// acknowledged again. A session that ended for another reason ends no other.
func (s *Service) LogoutAll(ctx context.Context, raw string) error {
	opened, err := s.Tokens.OpenRefresh(raw)
	if err != nil {
		return s.logoutAllOld(ctx, raw)
	}
	row, err := s.Store.Session(ctx, opened.Session)
	if err != nil {
		return err
	}
	policy := s.Policies.For(row.Tenant, row.Client, row.UserID)
	if !s.Tokens.RefreshMatches(row.Binding(), opened) || !ownClient(row.Client) {
		return ErrTokenInvalid // a client of OAuth ends its own session, no more
	}
	if row.RevokedWhy == LoggedOutAll {
		return s.repeatLogoutAll(ctx, row)
	}
	if row.Over(policy.Rule(), row.AbsoluteExpiry, s.Now()) {
		return ErrTokenInvalid
	}
	return s.LogoutUser(ctx, row.Tenant, row.UserID)
}

// repeatLogoutAll acknowledges again, once the end has been read under the row's
// lock: then it is committed for good, on a standby too, and what may have been
// committed without an answer is known here.
func (s *Service) repeatLogoutAll(ctx context.Context, row *Session) error {
	_, err := s.end(ctx, row.ID, func(*Session) bool { return false }, LoggedOutAll, audit.LogoutAll)
	if err == nil {
		s.memory.raise(row.Tenant, row.UserID, row.UserEpoch+1)
	}
	return err
}

// LogoutUser ends all sessions of the user who asks for it.
func (s *Service) LogoutUser(ctx context.Context, tenant, userID string) error {
	_, err := s.EndUser(ctx, Scope{Tenant: tenant, UserID: userID}, LoggedOutAll, audit.LogoutAll)
	return err
}

// EndUser ends the sessions that scope names and returns how many.
func (s *Service) EndUser(ctx context.Context, scope Scope, why Reason, kind audit.Kind) (int, error) {
	e := event(ctx, kind, nil, "")
	e.Tenant, e.UserID = scope.Tenant, scope.UserID
	var n int
	err := s.retry(ctx, func() (err error) {
		n, err = s.Store.EndSessions(ctx, scope, why, e)
		return err
	})
	if err == nil {
		s.Observe.SessionsEnded(why, n)
	}
	return n, err
}

// Revoke ends one session for an operator, or for its own user. It returns
// false if it was over already. A session of an API key would begin anew with
// the next request, so the key is stopped first, until an operator resumes it.
func (s *Service) Revoke(ctx context.Context, id token.SessionID) (bool, error) {
	if s.Keys != nil {
		row, err := s.Store.Session(ctx, id)
		if err != nil {
			return false, err
		}
		if key, ok := apikey.FromClient(row.Client); ok && s.StateOf(row, s.Now()) == StateLive {
			if err := s.Keys.stop(ctx, key); err != nil {
				return false, err
			}
		}
	}
	return s.end(ctx, id, func(*Session) bool { return true }, RevokedByAdmin, audit.SessionRevoked)
}

// end marks a session as over. Rotation and revocation meet in the same row,
// so a session that was revoked never comes back.
func (s *Service) end(ctx context.Context, id token.SessionID, may func(*Session) bool, why Reason, kind audit.Kind) (ended bool, err error) {
	var over time.Time
	err = s.retry(ctx, func() error {
		return s.Store.UpdateSession(ctx, id, func(now time.Time, row *Session) Effects {
			ended, over = false, row.RevokedAt
			if !row.RevokedAt.IsZero() || !may(row) {
				return Effects{}
			}
			ended = true
			row.RevokedAt, row.RevokedWhy, row.RevokedBy = now, why, audit.ActorFrom(ctx).Name
			return Effects{Save: true, Events: []audit.Event{event(ctx, kind, row, "")}}
		})
	})
	if err == nil && ended {
		s.Observe.SessionsEnded(why, 1)
	}
	if err == nil && !over.IsZero() {
		// It may have ended on another node a moment ago, or here, in a commit
		// whose answer was lost; and whoever asks is told that it has.
		s.memory.end(id, over)
	}
	return ended, err
}
