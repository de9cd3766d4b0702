package session

import (
	"fmt"
	"time"
)

// judge says what a presentation must never bring about. It goes by what the
// model knows, not by what the row says of itself.
func (s *modelScope) judge(w *modelWorld, a ask, before, after Family, v Verdict) string {
	switch {
	case after.Gen != before.Gen && (after.Struck() || after.Gen != before.Gen+1):
		return "the generation moved while a strike was open, or jumped"
	case v.Granted() && w.watched != 0 && w.watchedAge > s.heal:
		return "tokens were given later than H after a refusal of the owner that was not healed"
	case v.Granted() && a.behind > 0 && w.window >= s.grace && (w.seen || a.noticed):
		return "an old token was given its successor, which was known to have arrived"
	case v.Outcome == Recovered && (s.budget == 0 || w.recovered[s.budget-1] != 0):
		return "there were more late recoveries in a day than the budget"
	case a.owner && !v.Granted() && s.promise == promiseNeverRefused:
		return "the owner was refused"
	}
	return ""
}

// follow keeps the checker's own book. The strike of a refusal that it watches
// is healed by its own nonce together with the newest token, and by nothing
// else, whatever the row says.
func (w *modelWorld) follow(a ask, v Verdict) {
	switch {
	case a.behind == 0 && a.nonces&w.watched != 0:
		w.watched, w.watchedAge = 0, 0
	case a.watched && v.Outcome == Stale:
		w.watched, w.watchedAge = slotOf(v.Strike), 0
	case a.watched && v.Outcome == StaleAgain:
		w.watched, w.watchedAge = a.nonces&-a.nonces, 0
	}
	if v.Outcome == Recovered {
		w.recovered = [2]uint8{1, w.recovered[0]}
	}
}

// judgeTimer is that a refusal which nobody heals ends the session in time.
func (s *modelScope) judgeTimer(w *modelWorld) string {
	if w.watched == 0 || w.watchedAge < s.heal {
		return ""
	}
	if after, _ := s.family(w).StrikesDue(s.limits(), instant); after.RevokedAt.IsZero() {
		return "the timer lets a session live longer than H after a refusal that nobody healed"
	}
	return ""
}

// judgeEnd is that the session may end, and stays so at any time.
func (s *modelScope) judgeEnd(w *modelWorld, f Family) string {
	spent := 0
	for _, age := range w.recovered {
		if age != 0 {
			spent++
		}
	}
	switch {
	case s.promise == promiseNeverRefused || s.promise == promiseNeverEnded:
		return "the session ended"
	case s.promise == promiseEndsOnlyLate && spent < s.budget:
		return fmt.Sprintf("the session ended after %d of %d late recoveries", spent, s.budget)
	}
	if _, done := s.judged[f]; done {
		return ""
	}
	s.judged[f] = struct{}{}
	for _, off := range []time.Duration{-30 * lateWindow, -s.tick, 0, 1, s.tick, lateWindow, 30 * lateWindow} {
		for behind := range uint8(3) {
			p := s.presented(w, f, ask{behind: behind, nonces: 1<<MaxStrikes - 1})
			p.FlushedAt = instant.Add(off)
			if _, v := s.present(f, p, s.limits(), instant.Add(off)); v.Granted() || v.Changed {
				return fmt.Sprintf("a session that had ended answered %v later", off)
			}
		}
	}
	return ""
}
