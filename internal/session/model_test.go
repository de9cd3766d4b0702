package session

import (
	"os"
	"time"
)

// The model tries the real Present and StrikesDue in every world that can be
// reached: honest tabs that share a cookie jar, requests that wait, answers
// that overtake each other or are lost, a feed of seen generations that comes
// when it likes, a thief. A world that must not be fails with the shortest way
// to it.
//
// In every scope the search refuses worlds in which
//
//   - the generation moved while a strike was open, or by more than one;
//   - an old token was given its successor after the grace time, although the
//     successor was known to have arrived;
//   - there were more late recoveries in a day than the budget;
//   - anything was given later than H after a refusal of the owner whose strike
//     was not closed by its own nonce together with the newest token, or the
//     timer would let the session live longer than that;
//   - a session that had ended answered again, at whatever time;
//
// and those that break the scope's promise to an honest owner.

// modelScope is what may happen in a search, and what must not.
type modelScope struct {
	name string
	// tick is how long a tick is. What is more than a dozen ticks away, such as
	// a day when the tick is short, never comes.
	tick time.Duration
	// grace, floor and heal are W, F and H in ticks, budget is B.
	grace, floor, heal uint8
	budget             int
	tabs               int
	// request is D1, the longest time from sending to deciding, and answer is
	// D2, the longest from deciding to the jar; in ticks.
	request, answer uint8
	feed            feed
	losses          losses
	thief           bool
	promise         promise

	// present is the rule under test; nil is Family.Present.
	present func(Family, Presented, Rule, time.Time) (Family, Verdict)
	// cookieAtFloor lets a floored answer set the cookie, oneHealCookie keeps
	// all nonces under one name: mistakes around the rule.
	cookieAtFloor, oneHealCookie bool

	// judged are the ended families that were asked again already.
	judged map[Family]struct{}
}

// feed is when the nodes report which generations they saw.
type feed uint8

const (
	feedNever      feed = iota
	feedAnyTime         // at any time, or never
	feedInPatience      // at any time, but before late clients are turned away
)

// losses is which answers may be lost.
type losses uint8

const (
	noLosses    losses = iota
	tokenLosses        // those with tokens
	allLosses
)

// promise is what an owner may rely on.
type promise uint8

const (
	promiseNothing promise = iota
	promiseNeverRefused
	promiseNeverEnded
	// promiseEndsOnlyLate is that the session ends only when the budget of late
	// recoveries is spent.
	promiseEndsOnlyLate
)

// with returns s changed.
func (s modelScope) with(name string, change func(*modelScope)) modelScope {
	s.name = name
	change(&s)
	return s
}

// limits is the rule of the scope.
func (s *modelScope) limits() Rule {
	ticks := func(n uint8) time.Duration { return time.Duration(n) * s.tick }
	return Rule{
		Grace: ticks(s.grace), Floor: ticks(s.floor), Heal: ticks(s.heal),
		LateBudget: s.budget, Idle: 1000 * lateWindow,
	}
}

// ticks is how many whole ticks d has, 0 if they are too many to come.
func (s *modelScope) ticks(d time.Duration) uint8 {
	if n := d / s.tick; n <= 12 {
		return uint8(n)
	}
	return 0
}

// ticks24 and ticks36 are the default policy's proportions, F = 2 W and
// H = 2 F − W, in few and in more ticks. Five minutes are three of them.
var (
	ticks24 = modelScope{tick: 100 * time.Second, grace: 2, floor: 4, heal: 6, budget: 1}
	ticks36 = modelScope{tick: 100 * time.Second, grace: 3, floor: 6, heal: 9, budget: 1}
)

// longSearches is whether scopes that take minutes are searched, too.
var longSearches = os.Getenv("COUNTERFOIL_LONG") == "1"
