package session

import (
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// events tells what operators must be able to find later. Alarms that write no
// row are told once a minute for a session: whoever holds a dead token must
// not fill the log with it.
func (d *decision) events(row *Session, bound bool) []audit.Event {
	var list []audit.Event
	tell := func(kind audit.Kind, reason string) {
		e := audit.Event{
			Kind: kind, Tenant: row.Tenant, Session: row.ID.String(), UserID: row.UserID,
			Actor: *d.actor, Reason: reason, Detail: map[string]string{
				"presented": strconv.FormatUint(d.opened.Gen, 10),
				"newest":    strconv.FormatUint(row.Gen, 10),
			},
		}
		list = append(list, e)
	}
	d.alarms = d.alarms[:0]
	alarm := func(kind audit.Kind, reason string) {
		if d.service.alarmDue(row.ID, kind, d.now) {
			tell(kind, reason)
			d.alarms = append(d.alarms, kind)
		}
	}
	if d.verdict.ClockBackwards {
		alarm(audit.ClockBackwards, "the clock is behind the session's last rotation")
	}
	if d.verdict.Healed > 0 {
		tell(audit.StrikeHealed, "the owner came back with the newest token")
	}
	switch d.verdict.Outcome {
	case Adopted:
		tell(audit.GenerationAdopted, "a genuine token is newer than the restored row, which moved on to it")
	case Recovered:
		tell(audit.LateRecovery, "an answer was lost; its token was given again")
	case Stale:
		tell(audit.Superseded, "an old refresh token was presented")
		detail := list[len(list)-1].Detail
		detail[detailStrike], detail[detailMark] = strconv.FormatUint(uint64(d.verdict.Strike), 10), d.strike.mark
	case Reused:
		tell(audit.RefreshReuse, reuseReason(d.verdict.Row))
	case Altered:
		alarm(audit.TagMismatch, "the session's row was altered, or a key leaked")
	case Ahead:
		alarm(audit.GenerationAhead, ahead)
	case Ended:
		if row.RevokedWhy == StoreRestored && d.opened.Gen > row.Gen && d.service.Tokens.RefreshMatches(row.Binding(), d.opened) {
			alarm(audit.GenerationAhead, ahead)
		}
	case NotAllowed:
		if !bound {
			alarm(audit.BindingMismatch, d.mismatch(row))
		}
	}
	return list
}

const ahead = "a genuine token is newer than the row: the database was restored"

// Why a session ended by the refresh rule, by the row that decided.
const (
	reuseUnhealed = "an old refresh token was presented and nobody came back with the newest one in time"
	reuseStrict   = "a refresh token was used twice and the policy is strict"
	reuseOften    = "old refresh tokens were presented too often"
)

func reuseReason(row int) string {
	switch row {
	case 8:
		return reuseUnhealed
	case 11:
		return reuseStrict
	}
	return reuseOften
}

type alarmKey struct {
	session token.SessionID
	kind    audit.Kind
}

// alarmDue is whether an alarm was not told within the last minute.
func (s *Service) alarmDue(id token.SessionID, kind audit.Kind, now time.Time) bool {
	last, told := s.alarmed.Get(alarmKey{id, kind})
	return !told || now.Sub(last) >= time.Minute || now.Before(last)
}
