package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// familyMachine plays at random with one family, and remembers of it what the
// family itself could forget.
type familyMachine struct {
	family Family
	rule   Rule
	now    time.Time
	// recoveries are when the late ones were.
	recoveries []time.Time
	// strikes are the numbers that were ever given out.
	strikes []uint32
	// end is the family as it was when it ended.
	end Family
}

// some draws a time, mostly a short one, next to what a row of the rule tells
// apart: a session that slept for a day has little left to show.
func (m *familyMachine) some(t *rapid.T) time.Duration {
	times := []time.Duration{0, 1, clockSlack, m.rule.Grace, m.rule.Floor, m.rule.Heal}
	if rapid.IntRange(0, 9).Draw(t, "long") == 9 {
		times = []time.Duration{feedPatience, time.Hour, lateWindow, lateWindow, m.rule.Idle}
	}
	return max(0, rapid.SampledFrom(times).Draw(t, "time")+time.Duration(rapid.IntRange(-1, 1).Draw(t, "instant")))
}

// present presents any token, with any nonces and any state of the feed.
func (m *familyMachine) present(t *rapid.T) {
	gens := []uint64{m.family.Gen, m.family.Gen - 1, m.family.Gen - 1, 1}
	if rapid.IntRange(0, 30).Draw(t, "ahead") == 30 {
		gens = []uint64{m.family.Gen + 1, m.family.Gen + 7}
	}
	gen := rapid.SampledFrom(gens).Draw(t, "gen")
	flushed := rapid.SampledFrom([]time.Duration{-1, 0, 1, time.Hour}).Draw(t, "flushed after that")
	nonces := []uint32{0, m.family.StrikeNo + 1, m.family.StrikeNo + MaxStrikes}
	nonces = append(nonces, m.strikes[max(0, len(m.strikes)-6):]...)
	arrived := m.now.Add(-rapid.SampledFrom([]time.Duration{0, 1, time.Second}).Draw(t, "has waited"))
	since := rapid.SampledFrom([]time.Time{m.family.RotatedAt, arrived}).Draw(t, "told of")
	given := Presented{
		Gen:       max(1, gen),
		Genuine:   rapid.IntRange(0, 30).Draw(t, "genuine") < 30,
		Allowed:   rapid.IntRange(0, 30).Draw(t, "allowed") < 30,
		Heals:     rapid.SliceOfN(rapid.SampledFrom(nonces), 0, MaxStrikes).Draw(t, "nonces"),
		Seen:      rapid.SampledFrom([]uint64{0, 0, 0, m.family.Gen - 1, m.family.Gen}).Draw(t, "seen"),
		FlushedAt: since.Add(flushed),
		Arrived:   arrived,
		Expiry:    rotationTime.Add(400 * lateWindow),
		Restored:  rapid.IntRange(0, 9).Draw(t, "restored") == 9,
	}
	before := m.family
	after, v := before.Present(given, m.rule, m.now)
	m.check(t, before, after, v.Changed, v.Outcome == Adopted)
	m.checkVerdict(t, given, before, after, v)
	m.family = after
	if v.Outcome == Stale {
		m.strikes = append(m.strikes, v.Strike)
	}
	if v.Outcome == Recovered {
		m.recovered(t)
	}
}

// check is what holds of everything that changes a family.
func (m *familyMachine) check(t *rapid.T, before, after Family, changed, adopted bool) {
	switch {
	case changed == (before == after):
		t.Fatalf("changed is %v:\n%+v\n%+v", changed, before, after)
	case after.Gen < before.Gen || after.SeenGen < before.SeenGen ||
		after.StrikeNo < before.StrikeNo || after.LateSince.Before(before.LateSince):
		t.Fatalf("went back:\n%+v\n%+v", before, after)
	case changed && after.Gen == before.Gen && after.StrikeNo == before.StrikeNo &&
		!after.LateSince.After(before.LateSince) && after.LateN <= before.LateN && after.RevokedAt.IsZero() &&
		after.openStrikes() >= before.openStrikes():
		t.Fatalf("written, and nothing went forward:\n%+v\n%+v", before, after)
	case after.Gen > before.Gen+1 && !adopted:
		t.Fatalf("the generation jumped from %d to %d", before.Gen, after.Gen)
	case after.Gen > before.Gen && after.Struck():
		t.Fatalf("the generation moved while strikes %v were open", after.StrikeOpen)
	}
	for i, n := range after.StrikeOpen {
		if n != 0 && (int(n%MaxStrikes) != i || n > after.StrikeNo) {
			t.Fatalf("slot %d holds strike %d of %d", i, n, after.StrikeNo)
		}
		if old := before.StrikeOpen[i]; n != 0 && old != 0 && n != old {
			t.Fatalf("strike %d was forgotten for %d", old, n)
		}
	}
	if m.end.RevokedAt.IsZero() {
		m.end = after
	} else if after != m.end {
		t.Fatalf("a family that had ended changed:\n%+v\n%+v", m.end, after)
	}
}

// checkVerdict is what holds of a verdict and what became of the family.
func (m *familyMachine) checkVerdict(t *rapid.T, given Presented, before, after Family, v Verdict) {
	closed := 0
	for i, n := range before.StrikeOpen {
		if n == 0 || after.StrikeOpen[i] == n {
			continue
		}
		closed++
		if given.Gen != before.Gen || !slices.Contains(given.Heals, n) {
			t.Fatalf("generation %d of %d with nonces %v closed strike %d", given.Gen, before.Gen, given.Heals, n)
		}
	}
	opened := after.StrikeNo > before.StrikeNo
	switch {
	case v.Row < 4 || v.Row > 17:
		t.Fatalf("row %d", v.Row)
	case closed != v.Healed:
		t.Fatalf("%d closed, healed %d", closed, v.Healed)
	case v.Granted() && !(before.RevokedAt.IsZero() && after.RevokedAt.IsZero()):
		t.Fatal("tokens of a session that had ended")
	case v.Granted() && !(given.Genuine && given.Allowed):
		t.Fatal("tokens for who must not have any")
	case v.Outcome == Adopted && (!given.Restored || given.Gen <= before.Gen || after.Gen != given.Gen+1 || before.Struck()):
		t.Fatalf("generation %d of %d, restored %v, adopted as %d", given.Gen, before.Gen, given.Restored, after.Gen)
	case v.Granted() && given.Restored && given.Gen < before.Gen:
		t.Fatalf("tokens of a restored session for generation %d of %d", given.Gen, before.Gen)
	case v.Granted() && given.Gen != before.Gen && given.Gen != before.Gen-1 && v.Outcome != Adopted:
		t.Fatalf("tokens for generation %d of %d", given.Gen, before.Gen)
	case v.Outcome == Recovered && (!given.FlushedAt.After(before.RotatedAt) || given.FlushedAt.Before(given.Arrived)):
		t.Fatalf("given again, although a use until %s may not be known, but until %s", given.Arrived, given.FlushedAt)
	case opened != (v.Outcome == Stale) || opened && !after.isOpen(v.Strike):
		t.Fatalf("%s with strike %d, open %v", v.Outcome, v.Strike, after.StrikeOpen)
	case (after.Gen > before.Gen) != (v.Outcome == Rotated || v.Outcome == Adopted):
		t.Fatalf("%s from generation %d to %d", v.Outcome, before.Gen, after.Gen)
	case (after.RevokedAt != before.RevokedAt) != (v.Outcome == Reused):
		t.Fatalf("%s, revoked from %v to %v", v.Outcome, before.RevokedAt, after.RevokedAt)
	case m.rule.Grace == 0 && (v.Row == 10 || v.Row >= 12):
		t.Fatalf("row %d in FOLIO-exact", v.Row)
	case m.rule.Strict && v.Row >= 12:
		t.Fatalf("row %d under the strict policy", v.Row)
	}
}

// recovered is that the budget holds in every day that ends now.
func (m *familyMachine) recovered(t *rapid.T) {
	m.recoveries = append(m.recoveries, m.now)
	n := 0
	for _, at := range m.recoveries {
		if d := m.now.Sub(at); d > -lateWindow && d < lateWindow {
			n++
		}
	}
	if n > m.rule.LateBudget {
		t.Fatalf("%d late recoveries within a day, the budget is %d", n, m.rule.LateBudget)
	}
}

// A thief's rotation and the owner's replay that ends the session meet in one
// row: whatever happens in whatever order, a family that has ended gives
// nothing and stays as it is.
func TestT52FamilyNeverComesBackNorForgets(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		for budget := range 4 {
			for _, strict := range []bool{false, true} {
				policy := DefaultPolicy()
				policy.Grace, policy.LateBudget, policy.Strict = grace, budget, strict
				t.Run(fmt.Sprintf("grace %v, budget %d, strict %v", grace, budget, strict), func(t *testing.T) {
					rapid.Check(t, func(t *rapid.T) { playFamily(t, policy.Rule()) })
				})
			}
		}
	}
}

func playFamily(t *rapid.T, rule Rule) {
	m := &familyMachine{
		family: Family{Gen: 1, RotatedAt: rotationTime},
		rule:   rule, now: rotationTime,
	}
	t.Repeat(map[string]func(*rapid.T){
		"present":       m.present,
		"present again": m.present,
		"wait":          func(t *rapid.T) { m.now = m.now.Add(m.some(t)) },
		"turn the clock back": func(t *rapid.T) {
			if rapid.IntRange(0, 4).Draw(t, "seldom") == 4 {
				m.now = m.now.Add(-m.some(t))
			}
		},
		"look at the strikes": func(t *rapid.T) {
			after, v := m.family.StrikesDue(m.rule, m.now)
			m.check(t, m.family, after, v.Changed, false)
			if v.Granted() || v.Changed != (after.RevokedAt != m.family.RevokedAt) {
				t.Fatalf("verdict %+v", v)
			}
			m.family = after
		},
	})
}
