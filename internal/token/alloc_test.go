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
