//go:build !race

package token

import "testing"

// The race detector makes sync.Pool forget at random, so this is built
// without it.
func TestOpenRefreshAllocatesNothing(t *testing.T) {
	b := setup(t)
	s := b.MintRefresh(binding(), 7)
	forged := s[:20] + "AAAA" + s[24:]
	if n := testing.AllocsPerRun(200, func() { b.OpenRefresh(s); b.OpenRefresh(forged) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Both derive a key of the session's. What is allocated is the text that leaves.
func TestRefreshTokensAllocateTheirTextAlone(t *testing.T) {
	b := setup(t)
	opened, err := b.OpenRefresh(b.MintRefresh(binding(), 7))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(200, func() { b.RefreshMatches(binding(), opened); b.MintRefresh(binding(), 8) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// A token is its signature and the text that leaves; no buffer more.
func TestMintAllocatesWhatLeaves(t *testing.T) {
	b := setup(t)
	for kind, most := range map[Kind]float64{KindAccess: 2, KindModule: 2} {
		c := claims(kind)
		if n := testing.AllocsPerRun(200, func() { b.mint(t, c) }); n > most {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}
