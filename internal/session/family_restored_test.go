package session

import "testing"

// restored presents a token of a generation to a row of a restored database
// whose sessions may catch up.
func restored(gen uint64) func(*Presented) {
	return func(p *Presented) { p.Gen, p.Restored = gen, true }
}

func adoptedAs(gen uint64) func(*Family) {
	return func(f *Family) {
		f.Gen, f.SeenGen = gen, gen-1
		f.RotatedAt, f.WindowAt = rotationTime.Add(floorF), rotationTime.Add(floorF)
	}
}

func TestT50RestoredSessionCatchesUp(t *testing.T) {
	runCases(t, []presentCase{
		{
			name: "row 7: a newer token moves the row on", given: restored(8), after: floorF,
			want: Verdict{Row: 7, Outcome: Adopted}, saved: adoptedAs(9),
		},
		{
			name: "row 7: a much newer one, too", given: restored(700), after: floorF,
			want: Verdict{Row: 7, Outcome: Adopted}, saved: adoptedAs(701),
		},
		{
			name: "row 7: under the strict policy, too", given: restored(8), after: floorF,
			rule: func(r *Rule) { r.Strict = true },
			want: Verdict{Row: 7, Outcome: Adopted}, saved: adoptedAs(9),
		},
		{
			name: "row 7: not while a strike is open", given: restored(8), after: floorF, family: withStrikes(1, graceW),
			want: Verdict{Row: 7, Outcome: Ahead},
		},
		{
			name: "row 7: not without the operator", given: func(p *Presented) { p.Gen = 8 }, after: floorF,
			want: Verdict{Row: 7, Outcome: Ahead},
		},
		{
			name: "row 4: not with a wrong inner tag", after: floorF,
			given: func(p *Presented) { p.Gen, p.Restored, p.Genuine = 8, true, false },
			want:  Verdict{Row: 4, Outcome: Altered},
		},
		{
			name: "row 5: not if the session had ended", given: restored(8), after: floorF, family: revokedAt(0),
			want: Verdict{Row: 5, Outcome: Ended},
		},
		{
			name: "row 6: not for a user who is kept out", after: floorF,
			given: func(p *Presented) { p.Gen, p.Restored, p.Allowed = 8, true, false },
			want:  Verdict{Row: 6, Outcome: NotAllowed},
		},
		{
			name: "row 9: the generation of the backup rotates as ever", given: restored(7), after: floorF,
			want: Verdict{Row: 9, Outcome: Rotated}, saved: rotatedAt(floorF),
		},
		{
			name: "row 12 gives nothing: the successor may be used", given: restored(6), after: 0,
			want:  Verdict{Row: 16, Outcome: Stale, Strike: 1},
			saved: withStrikes(1, 0),
		},
		{
			name: "row 13 gives nothing: who saw what is lost", after: floorF,
			given: func(p *Presented) { p.Restored = true; feedComplete(p) },
			want:  Verdict{Row: 16, Outcome: Stale, Strike: 1},
			saved: withStrikes(1, floorF),
		},
	})
}
