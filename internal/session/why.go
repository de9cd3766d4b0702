package session

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Story is what happened to a session, oldest first: its Timeline and, where the
// row does not say what ended it, the event of all sessions that does.
func (s *Service) Story(ctx context.Context, row *Session) ([]audit.Event, error) {
	events, err := s.Timeline(ctx, row)
	if err != nil || s.StateOf(row, s.Now()) != StateEnded {
		return events, err
	}
	// The row learns of an epoch at the next refresh, without who or when.
	if row.RevokedAt.IsZero() || row.RevokedWhy == TenantEnded || row.RevokedWhy == StoreRestored {
		ending, err := s.epochEnding(ctx, row)
		return append(events, ending...), err
	}
	return events, nil
}

// epochEnding finds what ended a session whose row does not say so: all sessions
// of its tenant ended at once, or those of all tenants because the database was
// restored, which is told once.
func (s *Service) epochEnding(ctx context.Context, row *Session) ([]audit.Event, error) {
	var events []audit.Event
	for _, of := range []EventFilter{
		{Kind: audit.TenantEnded, Tenant: row.Tenant, Limit: 1000},
		{Kind: audit.StoreTurnedBack, Limit: 1000},
		{Kind: audit.AdoptionEnded, Limit: 1000},
	} {
		some, err := s.Events.Events(ctx, of)
		if err != nil {
			return nil, err
		}
		events = append(events, some...)
	}
	slices.SortStableFunc(events, func(a, b audit.Event) int { return b.Time.Compare(a.Time) })
	// Newest first: the last one after the login was the one.
	after := slices.IndexFunc(events, func(e audit.Event) bool { return e.Time.Before(row.CreatedAt) })
	if after < 0 {
		after = len(events)
	}
	return events[max(after-1, 0):after], nil
}

// Why says in a sentence why a session is over, to somebody who asks "why was I
// logged out?". It is empty for a live session. story is the session's Story.
func (s *Service) Why(row *Session, story []audit.Event) string {
	switch state := s.StateOf(row, s.Now()); {
	case state == StateLive:
		return ""
	case state == StateExpired:
		return s.whyExpired(row)
	}
	last := func(kinds ...audit.Kind) *audit.Event {
		for i := range slices.Backward(story) {
			if slices.Contains(kinds, story[i].Kind) {
				return &story[i]
			}
		}
		return &audit.Event{Time: row.RevokedAt}
	}
	var e *audit.Event
	var why string
	switch row.RevokedWhy {
	case RefreshReuse:
		e, why = whyReused(last)
	case "", TenantEnded, StoreRestored: // an epoch
		e = last(audit.TenantEnded, audit.StoreTurnedBack, audit.AdoptionEnded)
		why = s.whyEpoch(row, e)
	default:
		e = last(endingKinds...)
		why = whyOf(row.RevokedWhy, e)
	}
	at := row.RevokedAt
	if at.IsZero() || row.RevokedWhy == TenantEnded || row.RevokedWhy == StoreRestored {
		at = e.Time
	}
	if at.IsZero() {
		return "ended: " + why
	}
	return "ended at " + moment(at) + ": " + why
}

// Ends is whether an event of this kind says that its session is over.
func Ends(kind audit.Kind) bool {
	return kind == audit.RefreshReuse || slices.Contains(endingKinds, kind)
}

// endingKinds are the events of which one is written when a session ends.
var endingKinds = []audit.Kind{
	audit.Logout, audit.LogoutAll, audit.SessionRevoked, audit.SessionEvicted, audit.UserDeactivated, audit.UserBlocked, audit.UserDeleted,
	audit.PasswordChanged, audit.PasswordReset, audit.PasswordDeleted,
}

func whyOf(reason Reason, e *audit.Event) string {
	switch reason {
	case LoggedOut:
		return "the user logged out" + from(e)
	case LoggedOutAll:
		if e.Kind == audit.SessionRevoked {
			return "the password was changed, or the user kept out, while this login was under way"
		}
		return "the user ended all sessions" + from(e)
	case CodeReplayed:
		return "the authorization code that it came from was redeemed a second time" + from(e)
	case RevokedByAdmin:
		return "it was revoked" + by(e) + from(e)
	case Evicted:
		return "the user logged in once more than there may be sessions, and this one was idle the longest"
	case UserDeactivated:
		if e.Kind == audit.UserBlocked {
			return "the user was blocked after too many wrong passwords"
		}
		return "the user was made inactive" + by(e)
	case UserDeleted:
		return "the user was deleted" + by(e)
	case PasswordChanged:
		switch e.Kind {
		case audit.PasswordReset:
			return "the password was reset" + by(e) + from(e)
		case audit.PasswordDeleted:
			return "the password was removed" + by(e)
		}
		return "the password was changed" + by(e) + from(e)
	}
	return "for the reason " + string(reason)
}

// whyEpoch also answers where the event is missing, because it is older than what is
// kept or younger than the story.
func (s *Service) whyEpoch(row *Session, e *audit.Event) string {
	restored := row.RevokedWhy == StoreRestored || s.memory.restored(row.TenantEpoch)
	switch {
	case e.Kind == audit.AdoptionEnded:
		return "the database was restored from a backup, and this session did not catch up in time"
	case e.Kind == audit.StoreTurnedBack, e.Kind == "" && restored:
		return "the database was restored from a backup or had lost commits"
	}
	return "all sessions of the tenant were ended" + by(e)
}

// whyReused tells who came with an old token, which is not whoever was last.
func whyReused(last func(...audit.Kind) *audit.Event) (*audit.Event, string) {
	e := last(audit.RefreshReuse)
	switch e.Reason {
	case reuseUnhealed:
		struck := last(audit.Superseded)
		return e, "an old token was used" + from(struck) + ", and the owner did not come back with the newest one in time"
	case reuseStrict:
		return e, "a token was used twice, the second time" + from(e)
	case reuseOften:
		return e, "old tokens were used too often, the last time" + from(e)
	}
	return e, "a token of another session of the user was used twice, and the policy ends all"
}

func (s *Service) whyExpired(row *Session) string {
	policy := s.Policies.For(row.Tenant, row.Client, row.UserID)
	at := s.ExpiresAt(row)
	if at.Equal(row.AbsoluteExpiry) {
		return "expired at " + moment(at) + ": a session lasts " + lasting(row.AbsoluteExpiry.Sub(row.CreatedAt)) + " from the login at most"
	}
	return "expired at " + moment(at) + ": nobody refreshed it for " + lasting(policy.Idle)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// lasting tells a lifetime in the largest unit that it is whole in, or nearly.
func lasting(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		if n := d.Round(time.Second) / unit.of; n > 0 {
			if n == 1 {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}

func by(e *audit.Event) string {
	if name := cmp.Or(e.Actor.Name, e.Actor.Kind); name != "" {
		return " by " + name
	}
	return ""
}

func from(e *audit.Event) string {
	if e.Actor.Address == "" {
		return ""
	}
	return " from " + e.Actor.Address
}
