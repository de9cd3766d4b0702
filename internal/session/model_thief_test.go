package session

import (
	"fmt"
	"testing"
	"time"
)

// A thief copied the jar once and knows every token that was replaced. Once
// the owner was refused, neither of them is served for longer than H, unless
// nonce and newest token come back together and show that it was a false
// alarm. Late recoveries stay within the budget whoever makes them, and a
// session that has ended is never heard of again.
func TestT5ModelNobodyIsServedLongAfterTheOwnerWasRefused(t *testing.T) {
	// In ticks of 100 s the five minutes pass in which a late client is told to
	// wait, in ticks of 3 h the day of the budget.
	const wait, day = 100 * time.Second, 3 * time.Hour
	cases := []struct {
		base modelScope
		tick time.Duration
		tabs int
		long bool
	}{
		{base: ticks24, tick: wait, tabs: 2},
		{base: ticks36, tick: wait, tabs: 1},
		{base: ticks24, tick: day, tabs: 1, long: true},
		{base: ticks24, tick: wait, tabs: 3, long: true},
		{base: ticks36, tick: wait, tabs: 2, long: true},
	}
	for _, c := range cases {
		if c.long && !longSearches {
			continue
		}
		s := c.base
		s.tick, s.tabs = c.tick, c.tabs
		s.request, s.answer, s.feed, s.thief = 1, 1, feedAnyTime, true
		s.name = fmt.Sprintf("%d tabs, W=%d F=%d, ticks of %v", s.tabs, s.grace, s.floor, s.tick)
		modelHolds(t, s)
	}
}

// The budget holds in every rolling day, and comes back after one. In ticks of
// 3 h there is time in a day for more late recoveries than the budget allows.
func TestModelLateRecoveriesStayWithinTheBudget(t *testing.T) {
	for budget := range 3 {
		modelHolds(t, ticks24.with(fmt.Sprintf("B=%d", budget), func(s *modelScope) {
			s.tick, s.tabs, s.budget = 3*time.Hour, 2, budget
			s.request, s.answer, s.feed, s.losses = 1, 1, feedAnyTime, allLosses
		}))
	}
}
