package token

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// specimens are one genuine token of every kind that Counterfoil hands out.
func specimens(t testing.TB, b bundle) map[string]string {
	all := map[string]string{
		"refresh": b.MintRefresh(binding(), 7),
		"heal":    b.HealNonce(binding(), 3),
	}
	for _, kind := range allKinds {
		all[string(kind)] = b.mint(t, claims(kind))
	}
	var err error
	if all["id"], err = b.MintID("diku", IDToken{Subject: "x", Audience: "stripes", Expires: start.Add(time.Hour).Unix()}, "y"); err != nil {
		t.Fatal(err)
	}
	return all
}

// slots are the places in which a token can be shown, with the one kind that
// each of them takes.
func slots(b bundle) map[string]func(string) error {
	all := map[string]func(string) error{
		"refresh": func(s string) error {
			opened, err := b.OpenRefresh(s)
			if err == nil && !b.RefreshMatches(binding(), opened) {
				return ErrForged
			}
			return err
		},
		"id": func(s string) error { _, err := b.OpenID(s); return err },
		"heal": func(s string) error {
			if _, ok := b.OpenHeal(binding(), s); !ok {
				return ErrInvalid
			}
			return nil
		},
	}
	for _, kind := range allKinds {
		all[string(kind)] = func(s string) error { _, err := b.Verify(s, start, kind); return err }
	}
	return all
}

func TestT10EachKindPassesInItsOwnSlotOnly(t *testing.T) {
	b := setup(t)
	for kind, s := range specimens(t, b) {
		for slot, open := range slots(b) {
			err := open(s)
			if kind == slot && err != nil {
				t.Errorf("%s token in its own slot: %v", kind, err)
			}
			if kind != slot && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s token in the slot for %s: %v, want ErrInvalid", kind, slot, err)
			}
		}
	}
}

// It is for a client; nothing of ours takes it.
func TestT10ALogoutTokenPassesNowhere(t *testing.T) {
	b := setup(t)
	s, err := b.MintLogout("diku", "stripes", "x", claims(KindAccess).Session, start)
	if err != nil {
		t.Fatal(err)
	}
	for slot, open := range slots(b) {
		if err := open(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("in the slot for %s: %v", slot, err)
		}
	}
}

func TestVerifyTakesTheKindsThatItIsTold(t *testing.T) {
	b := setup(t)
	access, module := b.mint(t, claims(KindAccess)), b.mint(t, claims(KindModule))
	for _, s := range []string{access, module} {
		if _, err := b.Verify(s, start, KindAccess, KindModule); err != nil {
			t.Error(err)
		}
		if _, err := b.Verify(s, start); !errors.Is(err, ErrKind) {
			t.Errorf("no kind accepted: %v, want ErrKind", err)
		}
	}
}

func TestAChangedByteAnywhereIsRefused(t *testing.T) {
	b := setup(t)
	tokens, open := specimens(t, b), slots(b)
	for kind, s := range tokens {
		for i := range len(s) {
			for _, c := range []byte{s[i] ^ 1, s[i] ^ 0x20, s[i] ^ 0x80, 'A', '=', '\n', '.', 0} {
				if c == s[i] {
					continue
				}
				if err := open[kind](s[:i] + string([]byte{c}) + s[i+1:]); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s with byte %d %q changed to %q: %v", kind, i, s[i], c, err)
				}
			}
		}
	}
}

func TestTruncatedAndExtendedTokensAreRefused(t *testing.T) {
	b := setup(t)
	tokens, open := specimens(t, b), slots(b)
	for kind, s := range tokens {
		var bad []string
		for i := range len(s) {
			bad = append(bad, s[:i])
		}
		for _, c := range []string{"A", "=", "==", "\n", "\r\n", " ", ".", "\x00", ".A", "AAAA"} {
			bad = append(bad, s+c, c+s)
			for i := 1; i < len(s); i += 5 {
				bad = append(bad, s[:i]+c+s[i:])
			}
		}
		for _, s := range bad {
			if err := open[kind](s); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s as %q: %v", kind, s, err)
			}
		}
	}
}

// Each of the 2^n spellings that the unused bits of the last character allow
// decodes to the same bytes in a lax decoder: one token, many cache keys.
func TestUnusedBitsMustBeZero(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b := setup(t)
	tokens, open := specimens(t, b), slots(b)
	for kind, s := range tokens {
		last := strings.IndexByte(alphabet, s[len(s)-1])
		for bits := 1; bits < 4; bits++ {
			spelling := s[:len(s)-1] + string(alphabet[last|bits])
			if err := open[kind](spelling); spelling != s && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s with unused bits %b: %v", kind, bits, err)
			}
		}
	}
}
