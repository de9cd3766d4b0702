package session

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

func TestBoundSessionsHaveTheirOwnParameters(t *testing.T) {
	p := DefaultPolicy()
	p.BoundGrace, p.BoundLateBudget, p.BoundKeep = time.Minute, 20, true
	key := token.ConfirmKey("some")
	if got := p.boundBy("").Rule(); got != DefaultPolicy().Rule() {
		t.Errorf("without a key: %+v", got)
	}
	want := Rule{Grace: time.Minute, Floor: 2 * time.Minute, Heal: 3 * time.Minute, LateBudget: 20, Idle: p.Idle, Keep: true}
	if got := p.boundBy(key).Rule(); got != want {
		t.Errorf("with a key: %+v", got)
	}
	p.BoundGrace, p.BoundLateBudget, p.BoundKeep = 0, 0, false
	if got := p.boundBy(key).Rule(); got != DefaultPolicy().Rule() {
		t.Errorf("never less than without: %+v", got)
	}
	p = p.FOLIOExact()
	p.BoundGrace, p.BoundLateBudget, p.BoundKeep = time.Minute, 20, true
	if got := p.boundBy(key).Rule(); got.Grace != 0 || got.LateBudget != 0 || got.Keep || !got.Strict {
		t.Errorf("FOLIO-exact: %+v", got)
	}
}

func TestPresentKeepsTheNewestTokenWhereTheRuleSaysSo(t *testing.T) {
	keep := func(r *Rule) { r.Keep = true }
	newest := func(p *Presented) { p.Gen = 7 }
	for _, c := range []presentCase{
		{name: "after the floor", given: newest, rule: keep, after: floorF, want: Verdict{Outcome: Kept, Row: 9}, saved: func(f *Family) {
			f.SeenGen, f.RotatedAt = 7, rotationTime.Add(floorF)
		}},
		{name: "below it", given: newest, rule: keep, after: floorF - 1, want: Verdict{Outcome: Floored, Row: 10}},
		{
			name: "an older one is no better off", rule: keep, after: time.Hour, family: func(f *Family) { f.RotatedAt, f.SeenGen = rotationTime.Add(time.Hour), 7 },
			want: Verdict{Outcome: Stale, Row: 16, Strike: 1}, saved: func(f *Family) {
				f.StrikeNo, f.StrikeOpen[1], f.StrikeAt = 1, 1, rotationTime.Add(time.Hour)
			},
		},
	} {
		t.Run(c.name, c.run)
	}
}

func TestProofsAreRememberedAndForgotten(t *testing.T) {
	var p proofs
	now := rotationTime
	id := func(n uint64) (id [16]byte) {
		binary.BigEndian.PutUint64(id[:], n)
		return id
	}
	if !p.first(id(1), now) || p.first(id(1), now) || p.first(id(1), now.Add(2*proofAge)) {
		t.Error("a proof is good once")
	}
	// However many come, few are remembered; those of late are.
	for n := range uint64(2*maxProofs + 10) {
		p.first(id(n+100), now)
	}
	if len(p.now)+len(p.old) > 2*maxProofs || p.first(id(2*maxProofs+100), now) {
		t.Errorf("%d remembered", len(p.now)+len(p.old))
	}
	if !p.first(id(2*maxProofs+100), now.Add(3*proofsKept)) && !p.first(id(2*maxProofs+100), now.Add(6*proofsKept)) {
		t.Error("nothing is forgotten")
	}
}

func TestURLsOfProofsAreNormalised(t *testing.T) {
	for raw, want := range map[string]string{
		"https://folio.example.org": "https://folio.example.org/", "HTTPS://Folio.Example.org:443/a?b#c": "https://folio.example.org/a",
		"http://h:80/": "http://h/", "http://h:8080/x": "http://h:8080/x", "https://h:80/": "https://h:80/",
		"https://h/%7ea%2fb%2Fc": "https://h/~a%2Fb%2Fc", "https://h/a%": "", "/a": "", "ftp://h/": "", "https://u@h/": "", "https:///a": "", "": "",
	} {
		got, ok := normalURL(raw)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", raw, got, ok, want)
		}
	}
}
