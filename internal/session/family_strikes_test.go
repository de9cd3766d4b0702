package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnlyItsOwnNonceWithTheNewestTokenClosesAStrike(t *testing.T) {
	// Strikes 5 and 7 are open; 6 was closed, and 1, 2 and 3 had their slots.
	open := [MaxStrikes]uint32{1: 5, 3: 7}
	cases := []struct {
		name    string
		gen     uint64
		nonces  []uint32
		healed  int
		outcome Outcome
		open    [MaxStrikes]uint32
	}{
		{"no nonce", 7, nil, 0, Floored, open},
		{"one of two", 7, []uint32{7}, 1, Floored, [MaxStrikes]uint32{1: 5}},
		{"both", 7, []uint32{7, 5}, 2, Rotated, [MaxStrikes]uint32{}},
		{"the same twice", 7, []uint32{5, 5}, 1, Floored, [MaxStrikes]uint32{3: 7}},
		{"one that was closed", 7, []uint32{6}, 0, Floored, open},
		{"earlier ones of the same slots", 7, []uint32{1, 3}, 0, Floored, open},
		{"later ones of the same slots", 7, []uint32{9, 11}, 0, Floored, open},
		{"zero, which is a free slot", 7, []uint32{0, 4, 8}, 0, Floored, open},
		{"with the previous token", 6, []uint32{5, 7}, 0, StaleAgain, open},
		{"with an older token", 5, []uint32{5, 7}, 0, StaleAgain, open},
		{"with a token that was never issued", 8, []uint32{5, 7}, 0, Ahead, open},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			family := usualFamily()
			family.StrikeNo, family.StrikeOpen, family.StrikeAt = 7, open, rotationTime.Add(graceW)
			given := Presented{Gen: c.gen, Heals: c.nonces, Genuine: true, Allowed: true, Expiry: rotationTime.Add(time.Hour)}
			got, verdict := family.Present(given, DefaultPolicy().Rule(), rotationTime.Add(floorF))
			if verdict.Outcome != c.outcome || verdict.Healed != c.healed {
				t.Errorf("got %s, healed %d; want %s, healed %d", verdict.Outcome, verdict.Healed, c.outcome, c.healed)
			}
			if got.StrikeOpen != c.open {
				t.Errorf("open %v, want %v", got.StrikeOpen, c.open)
			}
			if got.StrikeAt != family.StrikeAt {
				t.Error("the clock of the strikes that are still open moved")
			}
		})
	}
}

// A browser keeps a nonce in the cookie of its slot. Were the slot of an open
// strike given out again, the browser would lose the nonce that closes it.
func TestStrikeSkipsNumbersWhoseSlotIsTaken(t *testing.T) {
	cases := []struct {
		number uint32
		open   [MaxStrikes]uint32
		want   uint32
	}{
		{0, [MaxStrikes]uint32{}, 1},
		{4, [MaxStrikes]uint32{}, 5},
		{4, [MaxStrikes]uint32{0: 4}, 5},
		{4, [MaxStrikes]uint32{1: 1}, 6},
		{4, [MaxStrikes]uint32{1: 1, 2: 2}, 7},
		{4, [MaxStrikes]uint32{1: 1, 2: 2, 3: 3}, 8},
		{4, [MaxStrikes]uint32{0: 4, 1: 1, 2: 2}, 7},
		{6, [MaxStrikes]uint32{0: 4, 2: 6, 3: 3}, 9},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("after %d with %v open", c.number, c.open), func(t *testing.T) {
			family := usualFamily()
			family.StrikeNo, family.StrikeOpen, family.StrikeAt = c.number, c.open, rotationTime
			want := family
			want.StrikeNo, want.StrikeOpen[c.want%MaxStrikes] = c.want, c.want
			given := Presented{Gen: 5, Genuine: true, Allowed: true, Expiry: rotationTime.Add(time.Hour)}
			got, verdict := family.Present(given, DefaultPolicy().Rule(), rotationTime)
			if verdict.Outcome != Stale || verdict.Strike != c.want {
				t.Errorf("got %s with strike %d, want strike %d", verdict.Outcome, verdict.Strike, c.want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("family (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStrikesDueEndsTheSessionThatNobodyHealed(t *testing.T) {
	cases := []struct {
		name   string
		family func(*Family)
		after  time.Duration
		ends   bool
	}{
		{"row T: at H", withStrikes(1, graceW), graceW + healH, true},
		{"row T: later, when the node was slow", withStrikes(4, graceW), time.Hour, true},
		{"row T: not an instant before H", withStrikes(1, graceW), graceW + healH - 1, false},
		{"row T: not when the clock went back", withStrikes(1, graceW), -time.Hour, false},
		{"row T: not when all strikes were closed", func(f *Family) { f.StrikeNo, f.StrikeAt = 1, rotationTime }, time.Hour, false},
		{"row T: not what has ended already", inTurn(withStrikes(1, graceW), revokedAt(graceW)), time.Hour, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			family := usualFamily()
			c.family(&family)
			want, wantVerdict := family, Verdict{}
			if c.ends {
				revokedAt(c.after)(&want)
				wantVerdict = Verdict{Outcome: strikesOver, Changed: true}
			}
			got, verdict := family.StrikesDue(DefaultPolicy().Rule(), rotationTime.Add(c.after))
			if diff := cmp.Diff(wantVerdict, verdict); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("family (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPresentSurvivesAClockThatWentBack(t *testing.T) {
	const second = time.Second
	runCases(t, []presentCase{
		{name: "row 10: by a second is no alarm, and is no time passed", given: newestToken, after: -second, want: Verdict{Row: 10, Outcome: Floored}},
		{name: "row 12: by a second the previous token is in time", after: -second, want: Verdict{Row: 12, Outcome: Retried}},
		{
			name: "row 9: by more the newest token rotates", given: newestToken, after: -second - 1,
			want: Verdict{Row: 9, Outcome: Rotated, ClockBackwards: true}, saved: rotatedAt(-second - 1),
		},
		{
			name: "row 12: by more the previous token is in time", given: feedComplete, after: -time.Hour,
			want: Verdict{Row: 12, Outcome: Retried, ClockBackwards: true},
		},
		{
			name: "row 10: a strike holds the generation all the same", given: newestToken, after: -time.Hour,
			family: withStrikes(1, graceW), want: Verdict{Row: 10, Outcome: Floored, ClockBackwards: true},
		},
		{
			name: "row 16: an older token is struck all the same", given: olderToken, after: -time.Hour,
			want:  Verdict{Row: 16, Outcome: Stale, Strike: 1, ClockBackwards: true},
			saved: withStrikes(1, -time.Hour),
		},
		{
			name: "row 5: revoked is for ever", given: newestToken, after: -time.Hour, family: revokedAt(0),
			want: Verdict{Row: 5, Outcome: Ended, ClockBackwards: true},
		},
		{
			name: "row 12: it is the recovery's time that counts", family: recoveredAt(time.Hour), after: floorF,
			want: Verdict{Row: 12, Outcome: Retried, ClockBackwards: true},
		},
	})
}

// FOLIO-exact is a token that works once: the newest always rotates, and
// whatever is older ends the session.
func TestFOLIOExactHasNoSecondChance(t *testing.T) {
	policy := DefaultPolicy()
	policy.Grace, policy.LateBudget, policy.Strict = 0, 3, false // W = 0 says it all
	for _, rule := range []Rule{policy.Rule(), DefaultPolicy().FOLIOExact().Rule()} {
		for _, after := range []time.Duration{-time.Hour, 0, 1, graceW, floorF, time.Hour, 48 * time.Hour} {
			for gen := uint64(1); gen <= 7; gen++ {
				family := usualFamily()
				now := rotationTime.Add(after)
				given := Presented{Gen: gen, Genuine: true, Allowed: true, FlushedAt: now, Expiry: now.Add(time.Hour)}
				got, verdict := family.Present(given, rule, now)
				switch {
				case gen == 7 && (verdict.Row != 9 || got.Gen != 8):
					t.Errorf("generation 7 of 7 after %v: row %d, generation %d", after, verdict.Row, got.Gen)
				case gen < 7 && (verdict.Row != 11 || got.RevokedAt.IsZero()):
					t.Errorf("generation %d of 7 after %v: row %d", gen, after, verdict.Row)
				}
			}
		}
	}
}

func TestExpires(t *testing.T) {
	const idle, far = time.Hour, 24 * time.Hour
	cases := []struct {
		name     string
		family   func(*Family)
		absolute time.Duration
		want     time.Duration
	}{
		{"idle since the rotation", nil, far, idle},
		{"idle since login", func(f *Family) { f.WindowAt = time.Time{} }, far, idle},
		{"idle since the late recovery", recoveredAt(time.Minute), far, time.Minute + idle},
		{"the absolute end comes first", nil, idle - 1, idle - 1},
		{"both at once", nil, idle, idle},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			family := usualFamily()
			if c.family != nil {
				c.family(&family)
			}
			absolute, want := rotationTime.Add(c.absolute), rotationTime.Add(c.want)
			if got := family.Expires(idle, absolute); !got.Equal(want) {
				t.Errorf("expires after %v, want %v", got.Sub(rotationTime), c.want)
			}
			rule := Rule{Idle: idle}
			if family.Over(rule, absolute, want.Add(-1)) {
				t.Error("over an instant before it expires")
			}
			if !family.Over(rule, absolute, want) {
				t.Error("not over when it expires")
			}
			family.RevokedAt = want
			if !family.Over(rule, absolute, rotationTime) {
				t.Error("revoked, and not over")
			}
		})
	}
}
