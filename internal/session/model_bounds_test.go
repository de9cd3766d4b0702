package session

import (
	"fmt"
	"testing"
	"time"
)

// delays returns s with D1 + D2 = sum, once for each way to share them, D2 at
// most longest. An answer is never in the jar the instant it was decided, so
// it takes a tick at least.
func (s modelScope) delays(sum, longest uint8) (list []modelScope) {
	for s.answer = 1; s.answer <= min(longest, sum); s.answer++ {
		s.request = sum - s.answer
		s.name = fmt.Sprintf("%d tabs, W=%d F=%d D1=%d D2=%d", s.tabs, s.grace, s.floor, s.request, s.answer)
		list = append(list, s)
	}
	return list
}

// manyTabs is how many tabs share the jar.
func manyTabs() int {
	if longSearches {
		return 4
	}
	return 3
}

// An owner is never refused if D1 + D2 ≤ W and D2 ≤ F − W, whatever the feed:
// here it never comes, and having to wait for it counts as refused. F = W + 1
// is there for the second condition, which F = 2 W makes superfluous.
func TestModelOwnerIsNeverRefused(t *testing.T) {
	for _, base := range []modelScope{ticks24, ticks36, {grace: 3, floor: 4}} {
		base.tick, base.tabs, base.promise = 100*time.Second, manyTabs(), promiseNeverRefused
		for _, s := range base.delays(base.grace, base.floor-base.grace) {
			modelHolds(t, s)
		}
	}
}

// A session never ends if D1 + D2 ≤ F, D2 ≤ F − W, H ≥ 2 (D1 + D2) − W, at most
// four requests are stale at once, and every superseded tab comes back with its
// nonce.
func TestModelSessionNeverEnds(t *testing.T) {
	for _, base := range []modelScope{ticks24, ticks36} {
		base.tabs, base.promise, base.feed = manyTabs(), promiseNeverEnded, feedAnyTime
		for _, s := range base.delays(base.floor, base.floor-base.grace) {
			s.heal = 2*(s.request+s.answer) - s.grace
			modelHolds(t, s)
		}
	}
	modelHolds(t, ticks24.with("5 tabs, four of them stale at once", func(s *modelScope) {
		s.grace, s.floor, s.heal, s.request, s.answer = 1, 2, 3, 1, 1
		s.tabs, s.promise, s.feed = 5, promiseNeverEnded, feedAnyTime
	}))
}

// Lost answers end nothing while the budget of late recoveries lasts, if
// D1 + D2 ≤ F − W, the feed comes within five minutes and no superseded answer
// is lost. The sum is smaller than without losses, because the jar may have the
// new token from a retry, which is up to W after the rotation.
func TestModelLostAnswersEndNothingWhileTheBudgetLasts(t *testing.T) {
	for _, base := range []modelScope{ticks24, ticks36} {
		base.tabs, base.promise = manyTabs(), promiseEndsOnlyLate
		base.feed, base.losses = feedInPatience, tokenLosses
		for base.budget = 1; base.budget <= 2; base.budget++ {
			for _, s := range base.delays(base.floor-base.grace, base.floor-base.grace) {
				s.name += fmt.Sprintf(" B=%d", s.budget)
				modelHolds(t, s)
			}
		}
	}
}

// What is a tick more than the model promises goes wrong. A delay of answers
// is two ticks more: between a retry in the grace time, which is less than W,
// and the next rotation lie more than F − W.
func TestModelBoundsAreTight(t *testing.T) {
	refused, ended := ticks24, ticks24
	refused.tabs, refused.promise = 3, promiseNeverRefused
	ended.tabs, ended.promise, ended.feed = 3, promiseNeverEnded, feedAnyTime
	lost := ended
	lost.promise, lost.feed, lost.losses, lost.request, lost.answer = promiseEndsOnlyLate, feedInPatience, tokenLosses, 1, 1

	modelBreaks(t, refused.with("never refused, D1 + D2 > W", func(s *modelScope) { s.request, s.answer = 2, 1 }), "the owner was refused")
	modelBreaks(t, refused.with("never refused, D2 > F − W", func(s *modelScope) { s.grace, s.floor, s.answer = 3, 4, 3 }), "the owner was refused")
	modelBreaks(t, ended.with("never ended, D1 + D2 > F", func(s *modelScope) { s.request, s.answer, s.heal = 4, 1, 8 }), "the session ended")
	modelBreaks(t, ended.with("never ended, D2 > F − W", func(s *modelScope) { s.answer = 4 }), "the session ended")
	modelBreaks(t, ended.with("never ended, H < 2 (D1 + D2) − W", func(s *modelScope) { s.request, s.answer, s.heal = 3, 1, 5 }), "the session ended")
	modelBreaks(t, ended.with("never ended, a superseded answer is lost", func(s *modelScope) { s.request, s.answer, s.losses = 2, 1, allLosses }), "the session ended")
	modelBreaks(t, ended.with("never ended, five stale requests at once", func(s *modelScope) {
		s.tabs, s.grace, s.floor, s.heal, s.request, s.answer = 6, 1, 2, 3, 1, 1
	}), "the session ended")
	modelBreaks(t, lost.with("lost answers, D1 + D2 > F − W", func(s *modelScope) { s.request, s.answer = 3, 1 }), "the session ended after 0 of 1")
	modelBreaks(t, lost.with("lost answers, a superseded one, too", func(s *modelScope) { s.losses = allLosses }), "the session ended after 0 of 1")
	modelBreaks(t, lost.with("lost answers, the feed comes too late", func(s *modelScope) { s.feed = feedAnyTime }), "the session ended after 0 of 1")
	modelBreaks(t, lost.with("lost answers, more late than the budget", func(s *modelScope) { s.promise = promiseNeverEnded }), "the session ended")
}
