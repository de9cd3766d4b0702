package session

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// ownStrike is how one presentation knows the strike that it opened from that of
// another. The answer to a commit may be lost, and then the strike may stand in the
// row or not. A second one beside it would leave the first without anybody to heal
// it, and the session would end; and the nonce of another's would let one owner
// close what a thief opened. The event that was committed with the strike tells.
type ownStrike struct {
	// mark is drawn for the presentation and stands in its event.
	mark string
	// last is the strike that was opened last, and perhaps not kept.
	last uint32
	// own is the one that was kept, as the log knew when the newest strike of the
	// row was asked.
	own, asked uint32
	// unclear is set while the log must be asked before deciding.
	unclear bool
	newest  uint32
}

// withdrawAgain is how soon a strike is tried to be taken back again.
const withdrawAgain = 300 * time.Millisecond

// Of the event of a strike.
const (
	detailStrike = "strike"
	detailMark   = "presentation"
)

// opened is told of each strike that is to be written.
func (o *ownStrike) opened(n uint32) {
	if o.mark == "" {
		o.mark = rand.Text()[:16]
	}
	o.last = n
}

// in is whether a strike of this presentation is open in the row. It sets unclear
// if nobody knows.
func (o *ownStrike) in(row *Session) bool {
	o.newest = row.StrikeNo
	o.unclear = row.isOpen(o.last) && o.asked != row.StrikeNo
	return !o.unclear && row.isOpen(o.own)
}

// recall asks the log which strike is this presentation's own.
func (d *decision) recall(ctx context.Context) error {
	events, err := d.service.Events.Events(ctx, EventFilter{
		Tenant: d.row.Tenant, Session: d.row.ID.String(), Kind: audit.Superseded, Limit: 2 * MaxStrikes,
	})
	if err != nil {
		return err
	}
	o := &d.strike
	o.own, o.asked = 0, o.newest
	for _, e := range events {
		if n, err := strconv.ParseUint(e.Detail[detailStrike], 10, 32); err == nil && e.Detail[detailMark] == o.mark {
			o.own = uint32(n)
		}
	}
	return nil
}

// withdraw takes back the strike of a presentation that was answered with a 503:
// its commit may have been made, but its refusal was not given and nobody has the
// nonce. Whoever comes again is decided about anew. It tries until the strike would
// end the session.
func (d *decision) withdraw(ctx context.Context) {
	ctx, done := context.WithTimeout(audit.WithActor(ctx, &audit.Actor{Kind: "system", Name: "refresh rule"}), d.policy.Rule().Heal)
	defer done()
	pause := time.NewTicker(withdrawAgain)
	defer pause.Stop()
	for {
		err := d.service.Store.UpdateSession(ctx, d.opened.Session, func(_ time.Time, row *Session) Effects {
			if !d.strike.in(row) {
				return Effects{}
			}
			row.heal([]uint32{d.strike.own})
			return Effects{Save: true, Events: []audit.Event{event(ctx, audit.StrikeHealed, row, "nobody was told of it")}}
		})
		if err == nil && d.strike.unclear {
			err = d.recall(ctx)
		} else if err == nil {
			return
		}
		if err == nil {
			continue
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			d.service.Log.WarnContext(ctx, "a strike that nobody was told of was not taken back", "session", d.opened.Session.String(), "error", err)
			return
		}
	}
}
