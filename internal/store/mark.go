package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// MarkStore is how a database that was turned back is noticed and dealt with.
type MarkStore interface {
	// Advance moves the database's mark on, durably, and returns it. It fails
	// with session.ErrTurnedBack, and changes nothing, if the database is behind
	// what is remembered. It also ends an adoption whose time is over.
	Advance(ctx context.Context, remembered session.Mark) (session.Mark, error)
	// Restored deals with a database that was turned back, in one transaction: it
	// ends all sessions of all tenants, or lets them catch up for a while, moves
	// the mark beyond all that anybody can remember, and writes an event. It
	// returns false if there was nothing to do.
	Restored(ctx context.Context, r session.Restoration) (session.Mark, bool, error)
}

// marked is what a transaction read under the lock of the mark.
type marked struct {
	own session.Mark
	// recorded is the number for the remembered incarnation, 0 if there is none.
	recorded uint64
	// floor is the epoch of all tenants.
	floor uint64
}

// behind fails if the database was turned back. One without a mark of its own is
// one into which a backup is being read.
func (m *marked) behind(remembered session.Mark) error {
	if !m.own.Known() {
		return fmt.Errorf("%w: the database has no mark, is it being restored?", session.ErrUnavailable)
	}
	if why := m.own.TurnedBack(remembered, m.recorded); why != "" {
		return fmt.Errorf("%w: %s", session.ErrTurnedBack, why)
	}
	return nil
}

// over is whether an adoption is to be ended.
func (m *marked) over(now time.Time) bool {
	a := m.own.Adoption
	return a.Epoch > 0 && !now.Before(a.Until)
}

// beyond is a number that none of before the restore can have reached, whether
// it counts epochs, changes or marks: what was given out since the backup is
// lost. It goes by the time, so that a second restore of the same backup is
// beyond the first, and by what is known, so that a clock which was set back
// does no harm. The margin is for what was counted in between.
func (m *marked) beyond(now time.Time, remembered session.Mark) uint64 {
	const margin = 1 << 20
	return max(uint64(micro(now)), remembered.N, m.recorded, m.own.N, m.floor, m.own.Adoption.Epoch) + margin
}

// adoption is what a restoration lets be.
func adoption(epoch uint64, now time.Time, r session.Restoration) session.Adoption {
	if r.AdoptFor <= 0 {
		return session.Adoption{}
	}
	return session.Adoption{Epoch: epoch, Since: now, Until: now.Add(r.AdoptFor)}
}

// restored is the event of a restoration.
func (m *marked) restored(r session.Restoration, place string) audit.Event {
	e := audit.Event{
		Kind: audit.StoreTurnedBack, Reason: "the database was turned back, all sessions of all tenants ended: " + m.why(r),
		Detail: map[string]string{
			"remembered": strconv.FormatUint(r.Remembered.N, 10), "found": strconv.FormatUint(m.own.N, 10),
		},
	}
	if r.AdoptFor > 0 {
		e.Kind, e.Reason = audit.AdoptionBegan, "the database was turned back, sessions may catch up: "+m.why(r)
		e.Detail["for"] = r.AdoptFor.String()
	}
	if r.Remembered.Place != "" || place != "" {
		e.Detail["was"], e.Detail["is"] = r.Remembered.Place, place
	}
	return e
}

func (m *marked) why(r session.Restoration) string {
	if why := m.own.TurnedBack(r.Remembered, m.recorded); why != "" {
		return why
	}
	return "an operator says so"
}

var adoptionEnded = audit.Event{Kind: audit.AdoptionEnded, Reason: "sessions of the restored database that did not catch up are over"}
