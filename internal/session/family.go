package session

import (
	"slices"
	"time"
)

// Family is the refresh-token family of one session: everything that the rule
// reads and writes. It is a line, never a tree, because the successor of a
// generation is a pure function of the session.
type Family struct {
	// Gen is G, the generation of the newest refresh token; 1 at login.
	Gen uint64
	// RotatedAt is when Gen last advanced; the time of login before that.
	RotatedAt time.Time
	// WindowAt is the time of the last rotation or late recovery. It is zero
	// at login, so that the first refresh rotates.
	WindowAt time.Time
	// SeenGen is the highest generation known to have reached the client.
	SeenGen uint64
	// LateN counts late recoveries since the last day without one.
	LateN int
	// LateSince is the time of the newest late recovery.
	LateSince time.Time
	// StrikeNo is the number of the newest strike. It only grows.
	StrikeNo uint32
	// StrikeOpen holds the numbers of the open strikes, number n in slot
	// n mod 4, and 0 in a free slot.
	StrikeOpen [MaxStrikes]uint32
	// StrikeAt is when the set of open strikes was opened.
	StrikeAt time.Time
	// RevokedAt is terminal: it is never reset and never used as the clock of
	// a rotation.
	RevokedAt time.Time
	// RevokedWhy is the reason for the end, for people.
	RevokedWhy Reason
}

// MaxStrikes is how many stale requests may be in flight at once.
const MaxStrikes = 4

const (
	lateWindow   = 24 * time.Hour  // the budget of late recoveries is per this much time
	feedPatience = 5 * time.Minute // how long a late client is told to wait for the feed
	clockSlack   = time.Second     // a clock this far behind the last rotation is an alarm
)

// Rule is the part of a policy that Present needs.
type Rule struct {
	// Grace is W, Floor is F, Heal is H.
	Grace, Floor, Heal time.Duration
	// LateBudget is B, late recoveries per rolling 24 hours.
	LateBudget int
	// Strict ends the session when any older token is presented.
	Strict bool
	// Keep is whether the newest token stays where the table says that it rotates.
	Keep bool
	// Idle is how long after its last rotation or late recovery a session lives.
	Idle time.Duration
}

// Presented is one refresh token as presented, and what is known around it.
type Presented struct {
	// Gen is g, the token's generation.
	Gen uint64
	// Genuine is whether the inner tag matched the row.
	Genuine bool
	// Allowed is whether user, tenant, client and binding permit a refresh now.
	Allowed bool
	// Heals are the strike numbers whose nonces came along and verified.
	Heals []uint32
	// Seen is the highest generation whose access token this node has seen and
	// perhaps not yet stored.
	Seen uint64
	// FlushedAt is until when every live node has reported what it saw, and Arrived
	// when the token came: what was seen before then counts.
	FlushedAt, Arrived time.Time
	// Expiry is the session's absolute end.
	Expiry time.Time
	// Restored is whether the row is that of a restored database, and an operator
	// lets sessions catch up. What was given out since the backup is not known.
	Restored bool
}

// Outcome is what the rule decided.
type Outcome uint8

// The outcomes. Rotated, Floored, Retried, Recovered, Kept and Adopted are answered
// with tokens, all others with a refusal.
const (
	Rotated Outcome = iota + 1
	Floored
	Retried
	Recovered
	Kept
	Adopted
	Altered     // inner tag wrong; alarm
	Ended       // revoked or expired; final
	NotAllowed  // not now; not final
	Ahead       // a generation that this row never issued; alarm
	Reused      // this presentation ended the session; final
	Unready     // ask again soon: the feed of seen generations is behind
	Stale       // superseded; carries a strike number to heal with
	StaleAgain  // superseded; the strike is open already
	strikesOver // the timer ended the session
)

// Verdict is the outcome with what the answer needs.
type Verdict struct {
	Outcome Outcome
	// Row is the row of the table that decided.
	Row int
	// Strike is the number of the strike that was opened (Stale).
	Strike uint32
	// Healed is how many strikes this presentation closed.
	Healed int
	// Changed is whether the family must be saved.
	Changed bool
	// ClockBackwards is an alarm: now is before the last rotation.
	ClockBackwards bool
}

// Granted is whether tokens are given.
func (v Verdict) Granted() bool { return v.Outcome >= Rotated && v.Outcome <= Adopted }

// Final is whether the session is over, so that the client may forget its token.
func (v Verdict) Final() bool { return v.Outcome == Ended || v.Outcome == Reused }

// Present decides what becomes of one presented refresh token. It is pure; this
// table is its specification. G is the family's generation, g the presented
// one, age = max(0, now − window_at), W ≤ F, H ≥ 2 F − W. The first row that
// matches decides.
//
//	row  condition                                     outcome     write
//	 0   request seen cancelled before the commit      –           –            (store)
//	 1   store error or time-out                       503         –            (service)
//	 2   length, charset, key id or outer tag wrong    refused     –            (token)
//	 3   row gone                                      refused     –            (service)
//	 4   inner tag wrong                               Altered     –            alarm
//	 5   revoked, idle or absolute expiry passed       Ended       –            final
//	 6   user, tenant, client, binding not allowed     NotAllowed  –
//	 7   g > G, restored, no strike open               Adopted     gen = g + 1, rotated_at = window_at = now
//	     g > G otherwise                               Ahead       –            alarm
//	 8   strikes open, now − strike_at > H             Reused      revoke       final
//	 9   g = G, healed strikes closed, none open,      Rotated     gen + 1, rotated_at = window_at = now
//	     age ≥ F
//	     the same, and tokens are kept                 Kept        rotated_at = now
//	10   g = G otherwise                               Floored     strikes, only if changed
//	11   strict, g < G                                 Reused      revoke       final, by scope
//	12   g = G − 1, age < W, not restored              Retried     –
//	13   g = G − 1, none open, seen_gen < G, rotated   Recovered   late_n + 1, window_at = now
//	     ≤ 24 h ago, budget left, feed complete until
//	     the token came, not restored
//	14   as 13, feed behind for at most 5 minutes      Unready     –            503, Retry-After
//	15   g < G, carries the nonce of an open strike    StaleAgain  –
//	16   g < G, fewer than 4 strikes open              Stale       strike opened, strike_at if the first
//	17   g < G, 4 open                                 Reused      revoke       final
//	 T   H after strike_at, still open (StrikesDue)    strikesOver revoke
//
// Rows 10 and 12 to 17 never match with W = 0, which is FOLIO-exact: F, H and
// the budget are 0 then, and the rule is strict.
//
// Restored is a row that may be behind its owner. Whoever holds a newer token
// moves it on; the caller sees to it that this happens once. Its older tokens
// are given nothing, since nobody knows any more what reached whom.
//
// A refusal is a verdict that is committed like any other, not an error, so a
// theft that was noticed cannot be rolled back. If the clock is more than a
// second behind the last rotation, g = G is taken as age ≥ F and g = G − 1 as
// age < W: a clock must not log anybody out.
func (f Family) Present(p Presented, r Rule, now time.Time) (Family, Verdict) {
	age := max(0, now.Sub(f.WindowAt))
	backwards := now.Before(f.WindowAt.Add(-clockSlack))
	v := Verdict{ClockBackwards: backwards}
	say := func(row int, o Outcome) (Family, Verdict) {
		v.Row, v.Outcome = row, o
		return f, v
	}
	revoke := func(row int) (Family, Verdict) {
		f.RevokedAt, f.RevokedWhy, v.Changed = now, RefreshReuse, true
		return say(row, Reused)
	}
	switch {
	case !p.Genuine:
		return say(4, Altered)
	case f.Over(r, p.Expiry, now):
		return say(5, Ended)
	case !p.Allowed:
		return say(6, NotAllowed)
	case p.Gen > f.Gen && p.Restored && !f.Struck():
		f.rotate(p.Gen, now)
		v.Changed = true
		return say(7, Adopted)
	case p.Gen > f.Gen:
		return say(7, Ahead)
	case f.Struck() && now.Sub(f.StrikeAt) > r.Heal:
		return revoke(8)
	}
	if p.Gen == f.Gen {
		v.Healed = f.heal(p.Heals)
		v.Changed = v.Healed > 0
		if !f.Struck() && (age >= r.Floor || backwards) {
			v.Changed = true
			if r.Keep {
				f.SeenGen = max(f.SeenGen, p.Gen)
				f.RotatedAt = now // not the window of an older token
				return say(9, Kept)
			}
			f.rotate(p.Gen, now)
			return say(9, Rotated)
		}
		return say(10, Floored)
	}
	previous := p.Gen == f.Gen-1
	switch {
	case r.Strict:
		return revoke(11)
	case previous && (age < r.Grace || backwards) && !p.Restored:
		return say(12, Retried)
	case previous && f.mayRecover(p, r, now):
		if !p.FlushedAt.After(f.RotatedAt) || p.FlushedAt.Before(p.Arrived) {
			if now.Sub(later(f.RotatedAt, p.FlushedAt)) <= feedPatience {
				return say(14, Unready)
			}
			break
		}
		f.spendLate(now)
		f.WindowAt, v.Changed = now, true
		return say(13, Recovered)
	}
	switch {
	case slices.ContainsFunc(p.Heals, f.isOpen):
		return say(15, StaleAgain)
	case f.openStrikes() < MaxStrikes:
		v.Strike, v.Changed = f.strike(now), true
		return say(16, Stale)
	}
	return revoke(17)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rotate makes the successor of a generation that its owner has shown.
func (f *Family) rotate(shown uint64, now time.Time) {
	f.SeenGen = max(f.SeenGen, shown)
	f.Gen = shown + 1
	f.RotatedAt, f.WindowAt = now, now
}

// StrikesDue is row T: it ends the session whose strikes nobody healed.
func (f Family) StrikesDue(r Rule, now time.Time) (Family, Verdict) {
	if !f.RevokedAt.IsZero() || !f.Struck() || now.Sub(f.StrikeAt) < r.Heal {
		return f, Verdict{}
	}
	f.RevokedAt, f.RevokedWhy = now, RefreshReuse
	return f, Verdict{Outcome: strikesOver, Changed: true}
}

// Over is whether the session has ended: revoked, or idle or absolute expiry
// passed.
func (f Family) Over(r Rule, absolute, now time.Time) bool {
	return !f.RevokedAt.IsZero() || !now.Before(f.Expires(r.Idle, absolute))
}

// Expires is when the session ends if nobody uses it.
func (f Family) Expires(idle time.Duration, absolute time.Time) time.Time {
	used := f.RotatedAt
	if f.WindowAt.After(used) {
		used = f.WindowAt
	}
	if end := used.Add(idle); end.Before(absolute) {
		return end
	}
	return absolute
}

// Struck is whether a strike is open. While one is, Gen does not move.
func (f Family) Struck() bool { return f.openStrikes() > 0 }

func (f Family) openStrikes() (n int) {
	for _, open := range f.StrikeOpen {
		if open != 0 {
			n++
		}
	}
	return n
}

func (f Family) isOpen(n uint32) bool { return n != 0 && f.StrikeOpen[n%MaxStrikes] == n }

// heal closes the strikes whose nonces came along with the newest token, and
// only those: another's strike stays open.
func (f *Family) heal(numbers []uint32) (healed int) {
	for _, n := range numbers {
		if f.isOpen(n) {
			f.StrikeOpen[n%MaxStrikes] = 0
			healed++
		}
	}
	return healed
}

// strike opens the next strike. It skips numbers whose slot is taken, because
// a browser keeps one nonce a slot: two open strikes under one cookie name
// would lose a nonce, and with it an honest session.
func (f *Family) strike(now time.Time) uint32 {
	if !f.Struck() {
		f.StrikeAt = now
	}
	f.StrikeNo++
	for f.StrikeOpen[f.StrikeNo%MaxStrikes] != 0 {
		f.StrikeNo++
	}
	f.StrikeOpen[f.StrikeNo%MaxStrikes] = f.StrikeNo
	return f.StrikeNo
}

// mayRecover is row 13 but for the feed: the successor was never seen, so its
// owner cannot have received it, and the budget bounds what a silent thief
// gains from that.
func (f Family) mayRecover(p Presented, r Rule, now time.Time) bool {
	spent := f.LateN
	if now.Sub(f.LateSince) >= lateWindow {
		spent = 0
	}
	return !p.Restored && !f.Struck() && max(f.SeenGen, p.Seen) < f.Gen &&
		now.Sub(f.RotatedAt) <= lateWindow && spent < r.LateBudget
}

func (f *Family) spendLate(now time.Time) {
	if now.Sub(f.LateSince) >= lateWindow {
		f.LateN = 0
	}
	f.LateN++
	if now.After(f.LateSince) { // a clock that went back must not bring the next day forward
		f.LateSince = now
	}
}
