package session

import (
	"context"
	"fmt"
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

// StateOf tells where a session stands, as its row says. A live row is over, too, once
// all sessions of its tenant have ended: that is in no row. Any other end since the
// row was read it does not tell, because only the row of then says why: it is for
// those who look, and gives no right.
func (s *Service) StateOf(row *Session, now time.Time) State {
	policy := s.Policies.For(row.Tenant, row.Client, row.UserID)
	switch {
	case !row.RevokedAt.IsZero(), row.TenantEpoch < s.TenantEpoch(row.Tenant):
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

// MostAtOnce is how many sessions EndMatching ends with one call.
const MostAtOnce = 10_000

// matching calls do for each live session of a filter that began until a time,
// and for MostAtOnce of them at most.
func (s *Service) matching(ctx context.Context, f Filter, until time.Time, do func(*Session) error) error {
	if f.Tenant == "" && f.UserID == "" && f.Client == "" && f.Address == "" {
		return fmt.Errorf("%w: name a tenant, user, client or address: all sessions of all tenants are not ended so", ErrInvalid)
	}
	f.Live, f.Limit, f.Cursor = true, 1000, ""
	for n := 0; ; {
		page, err := s.Store.ListSessions(ctx, f)
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			row := &page.Sessions[i]
			if row.CreatedAt.After(until) || s.StateOf(row, s.Now()) != StateLive {
				continue
			}
			if n++; n > MostAtOnce {
				return nil
			}
			if err := do(row); err != nil {
				return err
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return nil
		}
	}
}

// CountMatching counts what EndMatching would end.
func (s *Service) CountMatching(ctx context.Context, f Filter, until time.Time) (n int, err error) {
	err = s.matching(ctx, f, until, func(*Session) error { n++; return nil })
	return n, err
}

// EndMatching ends the live sessions of a filter that began until a time, one by
// one, MostAtOnce at most, and returns how many. Those that begin meanwhile were
// not what the operator saw and go on. When it fails, those that it had come to
// have ended.
func (s *Service) EndMatching(ctx context.Context, f Filter, until time.Time) (n int, err error) {
	err = s.matching(ctx, f, until, func(row *Session) error {
		ended, err := s.Revoke(ctx, row.ID)
		if ended {
			n++
		}
		return err
	})
	return n, err
}
