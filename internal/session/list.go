package session

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// State is where a session stands.
type State string

// The states of a session.
const (
	StateLive    State = "live"
	StateExpired State = "expired"
	StateEnded   State = "ended"
)

// StateOf tells where a session stands now. A live row whose tenant's or
// user's epoch has moved is over, too.
func (s *Service) StateOf(row *Session, now time.Time) State {
	policy := s.Policies.For(row.Tenant, row.Client, row.UserID)
	switch {
	case !row.RevokedAt.IsZero(), s.memory.over(row.ID, row.Tenant, row.UserID, row.TenantEpoch, row.UserEpoch):
		return StateEnded
	case row.Over(policy.Rule(), row.AbsoluteExpiry, now):
		return StateExpired
	}
	return StateLive
}

// ExpiresAt is when the session ends if nobody uses it.
func (s *Service) ExpiresAt(row *Session) time.Time {
	return row.Expires(s.Policies.For(row.Tenant, row.Client, row.UserID).Idle, row.AbsoluteExpiry)
}

// Session reads one session.
func (s *Service) Session(ctx context.Context, id token.SessionID) (*Session, error) {
	return s.Store.Session(ctx, id)
}

// List reads a page of sessions, newest first.
func (s *Service) List(ctx context.Context, f Filter) (Page, error) {
	return s.Store.ListSessions(ctx, f)
}

// Timeline reads what happened to a session, oldest first. Rotations and
// retries are counted in the row and are no events.
func (s *Service) Timeline(ctx context.Context, row *Session) ([]audit.Event, error) {
	events, err := s.Events.Events(ctx, EventFilter{Tenant: row.Tenant, Session: row.ID.String(), Limit: 1000})
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
	return events, err
}
