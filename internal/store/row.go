package store

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// row is a session and its place in the table.
type row struct {
	seq int64
	// day is the one of the last activity, as the row has it.
	day int64
	session.Session
}

// allowed is whether a callback kept its contract. Only what the family, the
// activity and the end of a session are made of can change, its epoch grow, and
// its key be set once; a callback that changes more, or wakes the dead, has a fault that must not be stored in part.
func allowed(s, before *session.Session) error {
	if fixed(*s) != fixed(*before) {
		return misuse("what is fixed at login was changed")
	}
	if s.Confirm != before.Confirm && before.Confirm != "" {
		return misuse("a session stays bound to the key that it was bound to")
	}
	if s.TenantEpoch < before.TenantEpoch {
		return misuse("the epoch of a session went back")
	}
	if !before.RevokedAt.IsZero() && !sameEnd(s, before) {
		return misuse("a session that ended cannot change its end")
	}
	return nil
}

// merge takes in what a node noticed: by maximum, retries are added.
func (r *row) merge(one session.Seen) {
	r.SeenGen = max(r.SeenGen, one.Gen)
	r.Retries += one.Retries
	if one.At.After(r.LastActivity) {
		r.LastActivity = one.At
	}
}

// activeDay is the day of the last activity, as it is indexed: an index that
// followed the time would have every rotation write it.
func activeDay(s *session.Session) int64 { return s.LastActivity.Unix() / (24 * 60 * 60) }

// moved is whether a row is to move to a later day.
func (r *row) moved() bool { return activeDay(&r.Session) > r.day }

// struckAt is since when a live session has an open strike, as it is indexed.
func struckAt(s *session.Session) int64 {
	if !s.Struck() || !s.RevokedAt.IsZero() {
		return 0
	}
	return micro(s.StrikeAt)
}

func sameEnd(a, b *session.Session) bool {
	return a.RevokedAt.Equal(b.RevokedAt) && a.RevokedWhy == b.RevokedWhy && a.RevokedBy == b.RevokedBy
}

// fixed returns what never changes after the login. The epoch of the tenant
// does once, when a session catches up with a restored database, and the key,
// when a code is redeemed.
func fixed(s session.Session) session.Session {
	s.Family, s.TenantEpoch = session.Family{}, 0
	s.Confirm = ""
	s.LastActivity, s.LastAddress, s.Retries, s.RevokedBy = time.Time{}, "", 0, ""
	return s
}

// client shares the memory of the names that nearly all sessions have.
func client(name string) string {
	switch name {
	case session.ClientWeb:
		return session.ClientWeb
	case session.ClientAPI:
		return session.ClientAPI
	}
	return name
}
