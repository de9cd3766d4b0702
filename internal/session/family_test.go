package session

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// rotationTime is when the families of these tests last rotated.
var rotationTime = time.Unix(1704067200, 0).UTC()

// The times of the default rule.
const (
	graceW = 10 * time.Second
	floorF = 20 * time.Second
	healH  = 30 * time.Second
)

// presentCase is one presentation to a family of generation 7 under the
// default rule. Unless told otherwise the token is of generation 6, genuine
// and allowed, and the feed of seen generations has never come.
type presentCase struct {
	name   string
	family func(*Family)
	given  func(*Presented)
	rule   func(*Rule)
	// after is the time since the rotation.
	after time.Duration
	want  Verdict
	// saved is what the family must have become; nil is unchanged.
	saved func(*Family)
}

func usualFamily() Family {
	return Family{Gen: 7, SeenGen: 6, RotatedAt: rotationTime, WindowAt: rotationTime}
}

func (c presentCase) run(t *testing.T) {
	family, rule := usualFamily(), DefaultPolicy().Rule()
	given := Presented{Gen: 6, Genuine: true, Allowed: true, Expiry: rotationTime.Add(24 * 24 * time.Hour)}
	if c.family != nil {
		c.family(&family)
	}
	if c.given != nil {
		c.given(&given)
	}
	if c.rule != nil {
		c.rule(&rule)
	}
	want := family
	if c.saved != nil {
		c.saved(&want)
		c.want.Changed = true
	}
	got, verdict := family.Present(given, rule, rotationTime.Add(c.after))
	if diff := cmp.Diff(c.want, verdict); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("family (-want +got):\n%s", diff)
	}
}

func runCases(t *testing.T, cases []presentCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, c.run)
	}
}

func newestToken(p *Presented) { p.Gen = 7 }

func olderToken(p *Presented) { p.Gen = 5 }

// arrivedAt is a token that came so long after the rotation, and a feed that is
// complete until so long after that.
func arrivedAt(after, flushed time.Duration) func(*Presented) {
	return func(p *Presented) {
		p.Arrived = rotationTime.Add(after)
		p.FlushedAt = p.Arrived.Add(flushed)
	}
}

func feedComplete(p *Presented) { p.FlushedAt = rotationTime.Add(1) }

// withStrikes opens strikes, numbered from 1, at a time after the rotation.
func withStrikes(strikes int, after time.Duration) func(*Family) {
	return func(f *Family) {
		for n := range uint32(strikes) {
			f.StrikeNo = n + 1
			f.StrikeOpen[f.StrikeNo%MaxStrikes] = f.StrikeNo
		}
		f.StrikeAt = rotationTime.Add(after)
	}
}

// newestWith presents the newest token with the nonces of these strikes.
func newestWith(strikes ...uint32) func(*Presented) {
	return func(p *Presented) { p.Gen, p.Heals = 7, strikes }
}

// previousWith presents the previous token with the nonces of these strikes.
func previousWith(strikes ...uint32) func(*Presented) {
	return func(p *Presented) { p.Heals = strikes }
}

func revokedAt(after time.Duration) func(*Family) {
	return func(f *Family) { f.RevokedAt, f.RevokedWhy = rotationTime.Add(after), RefreshReuse }
}

func rotatedAt(after time.Duration) func(*Family) {
	return func(f *Family) {
		f.Gen, f.SeenGen = 8, 7
		f.RotatedAt, f.WindowAt = rotationTime.Add(after), rotationTime.Add(after)
	}
}

func recoveredAt(after time.Duration) func(*Family) {
	return func(f *Family) {
		f.LateN = 1
		f.LateSince, f.WindowAt = rotationTime.Add(after), rotationTime.Add(after)
	}
}

func inTurn(changes ...func(*Family)) func(*Family) {
	return func(f *Family) {
		for _, change := range changes {
			change(f)
		}
	}
}

func TestPresentRefusesBeforeTheGenerationCounts(t *testing.T) {
	ended := Verdict{Row: 5, Outcome: Ended}
	runCases(t, []presentCase{
		{
			name:  "row 4: a token whose inner tag is wrong is an alarm",
			given: func(p *Presented) { p.Genuine = false },
			want:  Verdict{Row: 4, Outcome: Altered},
		},
		{
			name:   "row 4: a wrong tag says nothing about a session that ended",
			family: revokedAt(0),
			given:  func(p *Presented) { p.Genuine = false },
			want:   Verdict{Row: 4, Outcome: Altered},
		},
		{name: "row 5: revoked refuses the newest token", family: revokedAt(floorF), given: newestToken, after: floorF, want: ended},
		{name: "row 5: revoked refuses before it was revoked", family: revokedAt(floorF), given: newestToken, want: ended},
		{name: "row 5: revoked refuses the previous token in its grace time", family: revokedAt(1), after: 2, want: ended},
		{name: "row 5: revoked opens no strike", family: revokedAt(1), given: olderToken, after: time.Hour, want: ended},
		{
			name:   "row 5: revoked is not healed",
			family: inTurn(withStrikes(1, graceW), revokedAt(graceW)), given: newestWith(1), after: floorF, want: ended,
		},
		{name: "row 5: idle for as long as the policy says", given: newestToken, after: 7 * 24 * time.Hour, want: ended},
		{
			name:  "row 9: an instant before that",
			given: newestToken, after: 7*24*time.Hour - 1,
			want: Verdict{Row: 9, Outcome: Rotated}, saved: rotatedAt(7*24*time.Hour - 1),
		},
		{
			name:  "row 5: the absolute end has come",
			given: func(p *Presented) { p.Gen, p.Expiry = 7, rotationTime.Add(floorF) }, after: floorF, want: ended,
		},
		{
			name:  "row 6: a user who is not allowed now",
			given: func(p *Presented) { p.Gen, p.Allowed = 7, false }, after: floorF,
			want: Verdict{Row: 6, Outcome: NotAllowed},
		},
		{
			name:  "row 6: who is not allowed opens no strike",
			given: func(p *Presented) { p.Gen, p.Allowed = 5, false }, after: floorF,
			want: Verdict{Row: 6, Outcome: NotAllowed},
		},
		{
			name:   "row 6: who is not allowed does not end a session that is struck",
			family: withStrikes(1, graceW),
			given:  func(p *Presented) { p.Allowed = false }, after: time.Hour,
			want: Verdict{Row: 6, Outcome: NotAllowed},
		},
		{
			name:  "row 7: a generation that was never issued is an alarm",
			given: func(p *Presented) { p.Gen = 8 }, after: floorF, want: Verdict{Row: 7, Outcome: Ahead},
		},
		{
			name:   "row 7: it heals nothing",
			family: withStrikes(1, graceW),
			given:  func(p *Presented) { p.Gen, p.Heals = 8, []uint32{1} }, after: floorF,
			want: Verdict{Row: 7, Outcome: Ahead},
		},
	})
}

func TestPresentEndsTheSessionWhoseStrikesWereNotHealedInTime(t *testing.T) {
	reused := Verdict{Row: 8, Outcome: Reused}
	runCases(t, []presentCase{
		{
			name:   "row 8: the newest token",
			family: withStrikes(1, graceW), given: newestToken, after: graceW + healH + 1, want: reused, saved: revokedAt(graceW + healH + 1),
		},
		{
			name:   "row 8: the newest token with the nonce, but late",
			family: withStrikes(1, graceW), given: newestWith(1), after: graceW + healH + 1, want: reused, saved: revokedAt(graceW + healH + 1),
		},
		{
			name:   "row 8: an older token",
			family: withStrikes(1, graceW), given: olderToken, after: graceW + healH + 1, want: reused, saved: revokedAt(graceW + healH + 1),
		},
		{
			name:   "row 9: at the last instant the nonce heals",
			family: withStrikes(1, graceW), given: newestWith(1), after: graceW + healH,
			want:  Verdict{Row: 9, Outcome: Rotated, Healed: 1},
			saved: func(f *Family) { rotatedAt(graceW + healH)(f); f.StrikeOpen = [MaxStrikes]uint32{} },
		},
	})
}

func TestPresentNewestToken(t *testing.T) {
	runCases(t, []presentCase{
		{
			name:  "row 9: rotates at the floor",
			given: newestToken, after: floorF, want: Verdict{Row: 9, Outcome: Rotated}, saved: rotatedAt(floorF),
		},
		{
			name:   "row 9: the first refresh after login rotates at once",
			family: func(f *Family) { f.Gen, f.SeenGen, f.WindowAt = 1, 0, time.Time{} },
			given:  func(p *Presented) { p.Gen = 1 },
			want:   Verdict{Row: 9, Outcome: Rotated},
			saved: func(f *Family) {
				f.Gen, f.SeenGen, f.RotatedAt, f.WindowAt = 2, 1, rotationTime, rotationTime
			},
		},
		{
			name:   "row 9: closing the last strike rotates",
			family: withStrikes(1, graceW), given: newestWith(1), after: floorF,
			want:  Verdict{Row: 9, Outcome: Rotated, Healed: 1},
			saved: inTurn(rotatedAt(floorF), func(f *Family) { f.StrikeOpen = [MaxStrikes]uint32{} }),
		},
		{name: "row 10: an instant before the floor", given: newestToken, after: floorF - 1, want: Verdict{Row: 10, Outcome: Floored}},
		{
			name:   "row 10: the floor counts from a late recovery",
			family: recoveredAt(graceW), given: newestToken, after: graceW + floorF - 1, want: Verdict{Row: 10, Outcome: Floored},
		},
		{
			name:   "row 10: a strike holds the generation",
			family: withStrikes(1, graceW), given: newestToken, after: floorF, want: Verdict{Row: 10, Outcome: Floored},
		},
		{
			name:   "row 10: closing a strike before the floor",
			family: withStrikes(1, graceW), given: newestWith(1), after: floorF - 1,
			want:  Verdict{Row: 10, Outcome: Floored, Healed: 1},
			saved: func(f *Family) { f.StrikeOpen = [MaxStrikes]uint32{} },
		},
		{
			name:   "row 10: closing one's own strike leaves another's",
			family: withStrikes(2, graceW), given: newestWith(2), after: floorF,
			want:  Verdict{Row: 10, Outcome: Floored, Healed: 1},
			saved: func(f *Family) { f.StrikeOpen = [MaxStrikes]uint32{1: 1} },
		},
	})
}

func TestPresentOldTokenUnderTheStrictPolicy(t *testing.T) {
	strict := func(r *Rule) { r.Strict = true }
	reused := Verdict{Row: 11, Outcome: Reused}
	runCases(t, []presentCase{
		{name: "row 11: the previous token at once", rule: strict, want: reused, saved: revokedAt(0)},
		{name: "row 11: the previous token, late", given: feedComplete, rule: strict, after: graceW, want: reused, saved: revokedAt(graceW)},
		{name: "row 11: an older token", given: olderToken, rule: strict, after: graceW, want: reused, saved: revokedAt(graceW)},
		{name: "row 10: the newest token is kept from rotating", given: newestToken, rule: strict, want: Verdict{Row: 10, Outcome: Floored}},
	})
}

func TestPresentPreviousTokenInTheGraceTime(t *testing.T) {
	retried := Verdict{Row: 12, Outcome: Retried}
	runCases(t, []presentCase{
		{name: "row 12: at once", want: retried},
		{name: "row 12: until an instant before W", after: graceW - 1, want: retried},
		{name: "row 16: not at W", given: func(p *Presented) { p.Seen = 7 }, after: graceW, want: Verdict{Row: 16, Outcome: Stale, Strike: 1}, saved: withStrikes(1, graceW)},
		{name: "row 12: although its successor was seen", family: func(f *Family) { f.SeenGen = 7 }, after: graceW - 1, want: retried},
		{name: "row 12: although a strike is open", family: withStrikes(1, 1), after: graceW - 1, want: retried},
		{name: "row 12: its nonces heal nothing", family: withStrikes(1, 1), given: previousWith(1), after: graceW - 1, want: retried},
		{name: "row 12: the grace time begins again with a late recovery", family: recoveredAt(time.Hour), after: time.Hour + graceW - 1, want: retried},
		{
			name:  "row 16: the grace time is not for older tokens",
			given: olderToken, want: Verdict{Row: 16, Outcome: Stale, Strike: 1}, saved: withStrikes(1, 0),
		},
	})
}

func TestPresentLateRecovery(t *testing.T) {
	const day = 24 * time.Hour
	late := Verdict{Row: 13, Outcome: Recovered}
	stale := Verdict{Row: 16, Outcome: Stale, Strike: 1}
	seen := func(p *Presented) { feedComplete(p); p.Seen = 7 }
	spent := func(n int, ago time.Duration) func(*Family) {
		return func(f *Family) { f.LateN, f.LateSince = n, rotationTime.Add(graceW-ago) }
	}
	two := func(r *Rule) { r.LateBudget = 2 }
	runCases(t, []presentCase{
		{name: "row 13: from W on", given: feedComplete, after: graceW, want: late, saved: recoveredAt(graceW)},
		{name: "row 13: until a day after the rotation", given: feedComplete, after: day, want: late, saved: recoveredAt(day)},
		{name: "row 16: a day is over", given: feedComplete, after: day + 1, want: stale, saved: withStrikes(1, day+1)},
		{name: "row 16: the row knows that the successor arrived", family: func(f *Family) { f.SeenGen = 7 }, given: feedComplete, after: graceW, want: stale, saved: withStrikes(1, graceW)},
		{name: "row 16: this node knows that the successor arrived", given: seen, after: graceW, want: stale, saved: withStrikes(1, graceW)},
		{name: "row 16: the token is older", given: func(p *Presented) { feedComplete(p); p.Gen = 5 }, after: graceW, want: stale, saved: withStrikes(1, graceW)},
		{name: "row 16: the budget is spent", family: spent(1, day-1), given: feedComplete, after: graceW, want: stale, saved: withStrikes(1, graceW)},
		{name: "row 13: the budget was spent a day ago", family: spent(1, day), given: feedComplete, after: graceW, want: late, saved: recoveredAt(graceW)},
		{name: "row 13: some budget is left", family: spent(1, day-1), given: feedComplete, rule: two, after: graceW, want: late, saved: inTurn(recoveredAt(graceW), func(f *Family) { f.LateN = 2 })},
		{
			name:   "row 13: a clock that went back does not bring the budget's next day forward",
			family: spent(1, -time.Hour), given: feedComplete, rule: two, after: graceW,
			want: late, saved: func(f *Family) { f.LateN, f.WindowAt = 2, rotationTime.Add(graceW) },
		},
		{name: "row 16: no budget was given", given: feedComplete, rule: func(r *Rule) { r.LateBudget = 0 }, after: graceW, want: stale, saved: withStrikes(1, graceW)},
		{
			name:   "row 16: a strike is open",
			family: withStrikes(1, graceW), given: feedComplete, after: graceW,
			want: Verdict{Row: 16, Outcome: Stale, Strike: 2}, saved: withStrikes(2, graceW),
		},
		{name: "row 14: the feed never came", after: graceW, want: Verdict{Row: 14, Outcome: Unready}},
		{
			name:  "row 14: the feed tells of the time before the rotation",
			given: func(p *Presented) { p.FlushedAt = rotationTime }, after: graceW, want: Verdict{Row: 14, Outcome: Unready},
		},
		{
			name:  "row 14: the feed tells of the time before the token came",
			given: arrivedAt(graceW, -1), after: graceW + time.Second, want: Verdict{Row: 14, Outcome: Unready},
		},
		{
			name:  "row 13: the feed tells of the time until the token came",
			given: arrivedAt(graceW, 0), after: graceW + time.Second, want: late, saved: recoveredAt(graceW + time.Second),
		},
		{
			name:  "row 14: the feed was complete five minutes ago",
			given: arrivedAt(time.Hour, -5*time.Minute), after: time.Hour, want: Verdict{Row: 14, Outcome: Unready},
		},
		{
			name:  "row 16: the feed was complete longer ago",
			given: arrivedAt(time.Hour, -5*time.Minute-1), after: time.Hour, want: stale, saved: withStrikes(1, time.Hour),
		},
		{name: "row 14: for five minutes", after: 5 * time.Minute, want: Verdict{Row: 14, Outcome: Unready}},
		{name: "row 16: five minutes are over", after: 5*time.Minute + 1, want: stale, saved: withStrikes(1, 5*time.Minute+1)},
		{name: "row 16: no feed to wait for, the successor was seen here", given: func(p *Presented) { p.Seen = 7 }, after: graceW, want: stale, saved: withStrikes(1, graceW)},
	})
}

func TestPresentSupersededToken(t *testing.T) {
	at := 2 * floorF
	again := Verdict{Row: 15, Outcome: StaleAgain}
	runCases(t, []presentCase{
		{name: "row 15: the previous token with an open strike's nonce", family: withStrikes(1, floorF), given: previousWith(1), after: at, want: again},
		{name: "row 15: an older token with it", family: withStrikes(2, floorF), given: func(p *Presented) { p.Gen, p.Heals = 5, []uint32{2} }, after: at, want: again},
		{name: "row 15: a nonce spares a session with four strikes", family: withStrikes(4, floorF), given: previousWith(3), after: at, want: again},
		{
			name:   "row 16: the nonce of a strike that was never opened",
			family: withStrikes(1, floorF), given: previousWith(5), after: at,
			want: Verdict{Row: 16, Outcome: Stale, Strike: 2}, saved: func(f *Family) {
				f.StrikeNo, f.StrikeOpen = 2, [MaxStrikes]uint32{1: 1, 2: 2}
			},
		},
		{
			name:  "row 16: the first strike starts the clock",
			given: olderToken, after: at, want: Verdict{Row: 16, Outcome: Stale, Strike: 1}, saved: withStrikes(1, at),
		},
		{
			name:   "row 16: another does not set it back",
			family: withStrikes(1, floorF), given: olderToken, after: at,
			want: Verdict{Row: 16, Outcome: Stale, Strike: 2}, saved: withStrikes(2, floorF),
		},
		{
			name:   "row 16: the fourth",
			family: withStrikes(3, floorF), given: olderToken, after: at,
			want: Verdict{Row: 16, Outcome: Stale, Strike: 4}, saved: withStrikes(4, floorF),
		},
		{
			name:   "row 16: a new set has a new clock and goes on counting",
			family: func(f *Family) { f.StrikeNo, f.StrikeAt = 9, rotationTime.Add(-time.Hour) },
			given:  olderToken, after: at,
			want: Verdict{Row: 16, Outcome: Stale, Strike: 10},
			saved: func(f *Family) {
				f.StrikeNo, f.StrikeAt = 10, rotationTime.Add(at)
				f.StrikeOpen = [MaxStrikes]uint32{2: 10}
			},
		},
		{
			name:   "row 17: one too many ends the session",
			family: withStrikes(4, floorF), given: olderToken, after: at,
			want: Verdict{Row: 17, Outcome: Reused}, saved: revokedAt(at),
		},
	})
}
