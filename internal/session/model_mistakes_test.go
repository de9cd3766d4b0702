package session

import (
	"testing"
	"time"
)

// The model must notice when a part of the rule is missing: here each is left
// out in turn.
func TestModelNoticesMistakesInTheRule(t *testing.T) {
	honest := ticks24
	honest.tabs, honest.request, honest.answer, honest.feed = 2, 1, 1, feedAnyTime
	refused := honest.with("", func(s *modelScope) { s.promise, s.feed, s.request, s.answer = promiseNeverRefused, feedNever, 0, 2 })
	ended := honest.with("", func(s *modelScope) { s.promise, s.tabs, s.request = promiseNeverEnded, 3, 3 })
	robbed := honest.with("", func(s *modelScope) { s.thief, s.tabs = true, 1 })
	days := honest.with("", func(s *modelScope) { s.tick, s.losses = 3*time.Hour, tokenLosses })

	modelBreaks(t, refused.with("a floor below the grace time", func(s *modelScope) { s.floor = 1 }), "the owner was refused")
	modelBreaks(t, refused.with("a floor that is the grace time", func(s *modelScope) { s.floor = 2 }), "the owner was refused")
	modelBreaks(t, refused.with("a floored answer sets the cookie", func(s *modelScope) { s.cookieAtFloor = true }), "the owner was refused")
	modelBreaks(t, ended.with("one cookie for all nonces", func(s *modelScope) { s.oneHealCookie = true }), "the session ended")
	for _, m := range mistakes {
		modelBreaks(t, robbed.with(m.name, func(s *modelScope) { s.present = m.present }), m.words)
	}
	modelBreaks(t, days.with("the budget's day is shorter than a day", func(s *modelScope) {
		s.present = func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
			f.LateSince = f.LateSince.Add(-s.tick)
			return f.Present(p, r, now)
		}
	}), "there were more late recoveries in a day than the budget")
}

var mistakes = []struct {
	name    string
	present func(Family, Presented, Rule, time.Time) (Family, Verdict)
	words   string
}{
	{"any nonce closes all strikes", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		if len(p.Heals) > 0 {
			p.Heals = f.StrikeOpen[:]
		}
		return f.Present(p, r, now)
	}, "the timer lets a session live longer than H"},
	{"the newest token closes strikes without nonces", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		p.Heals = f.StrikeOpen[:]
		return f.Present(p, r, now)
	}, "the timer lets a session live longer than H"},
	{"each strike begins the time to heal anew", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		f, v := f.Present(p, r, now)
		if v.Outcome == Stale {
			f.StrikeAt = now
		}
		return f, v
	}, "the timer lets a session live longer than H"},
	{"row 8 is missing and the timer failed", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		r.Heal = time.Hour
		return f.Present(p, r, now)
	}, "tokens were given later than H"},
	{"strikes do not hold the generation", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		open := f.StrikeOpen
		if p.Gen == f.Gen {
			f.StrikeOpen = [MaxStrikes]uint32{}
		}
		f, v := f.Present(p, r, now)
		if v.Outcome == Rotated {
			f.StrikeOpen = open
		}
		return f, v
	}, "the generation moved while a strike was open"},
	{"late recovery although the successor was seen", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		f.SeenGen, p.Seen = 0, 0
		return f.Present(p, r, now)
	}, "an old token was given its successor"},
	{"late recovery without a budget", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		f.LateN = 0
		return f.Present(p, r, now)
	}, "there were more late recoveries in a day than the budget"},
	{"revoked is forgotten when it is long ago", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		if now.Sub(f.RevokedAt) > lateWindow {
			f.RevokedAt = time.Time{}
		}
		return f.Present(p, r, now)
	}, "a session that had ended answered"},
	{"revoked has the grace time of a rotation", func(f Family, p Presented, r Rule, now time.Time) (Family, Verdict) {
		if since := now.Sub(f.RevokedAt); since >= 0 && since < r.Grace {
			f.RevokedAt = time.Time{}
		}
		return f.Present(p, r, now)
	}, "a session that had ended answered"},
}
