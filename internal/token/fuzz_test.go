package token

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// spellings are starting points that differ from the genuine token a little.
func spellings(s string) []string {
	parts := strings.Split(s, ".")
	return []string{
		s, s + ".", "." + s, s + "=", s + "\n", " " + s, s[:len(s)-1], strings.ToUpper(s),
		strings.Join(parts[:1], "."), parts[0] + ".." + parts[len(parts)-1], strings.Replace(s, ".", "..", 1),
	}
}

// FuzzVerify: nothing is accepted that was not minted, byte for byte.
func FuzzVerify(f *testing.F) {
	b := setup(f)
	var genuine []string
	for _, kind := range allKinds {
		s := b.mint(f, claims(kind))
		genuine = append(genuine, s)
		for _, spelling := range spellings(s) {
			f.Add(spelling)
		}
	}
	f.Add("")
	f.Add("..")
	f.Add(b.MintRefresh(binding(), 7))
	f.Add(b.forge(KindModule, `{"type":"module"}`))
	f.Fuzz(func(t *testing.T, s string) {
		c, err := b.Verify(s, start, allKinds...)
		switch {
		case err == nil && !slices.Contains(genuine, s):
			t.Errorf("accepted %q as %+v", s, c)
		case err != nil && !errors.Is(err, ErrInvalid):
			t.Errorf("%q: %v is not ErrInvalid", s, err)
		}
	})
}

// FuzzPayload: a signed payload that is accepted is what Mint writes for the
// claims that came out of it.
func FuzzPayload(f *testing.F) {
	b := setup(f)
	for _, kind := range allKinds {
		c := claims(kind)
		payload, err := c.appendTo(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(payload))
		f.Add(strings.Replace(string(payload), "{", "{ ", 1))
		f.Add(strings.Replace(string(payload), "diku", `\u0064iku`, 1))
		f.Add(strings.Replace(string(payload), `"exp":17`, `"exp":-17`, 1))
	}
	f.Fuzz(func(t *testing.T, payload string) {
		for _, kind := range allKinds {
			s := b.forge(kind, payload)
			c, err := b.Verify(s, start, kind)
			if err != nil {
				continue
			}
			if again, err := b.Mint(c); err != nil || again != s {
				t.Errorf("%s: accepted %q, minted again as %q, %v", kind, payload, again, err)
			}
		}
	})
}

// FuzzOpenRefresh: nothing opens but what was minted, to the letter.
func FuzzOpenRefresh(f *testing.F) {
	b := setup(f)
	genuine := b.MintRefresh(binding(), 7)
	for _, s := range spellings(genuine) {
		f.Add(s)
	}
	f.Add("")
	f.Add("cfrt_")
	f.Add("cfrt_" + strings.Repeat("A", refreshEncoded))
	f.Add(genuine[:60] + strings.Repeat("A", 23))
	f.Add(b.mint(f, claims(KindAccess)))
	f.Fuzz(func(t *testing.T, s string) {
		opened, err := b.OpenRefresh(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v is not ErrInvalid", s, err)
			}
			return
		}
		if s != genuine || !b.RefreshMatches(binding(), opened) {
			t.Errorf("opened %q as %v, genuine is %q", s, opened, genuine)
		}
	})
}
