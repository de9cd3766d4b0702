package token

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fixed is a store whose keys are known, so that tokens can be compared with
// what another implementation made of the same keys.
func fixed(t *testing.T) bundle {
	w, err := NewMasterWrapper(master)
	if err != nil {
		t.Fatal(err)
	}
	b := bundle{clock: &clock{now: start}, store: &memory{}}
	for _, k := range []struct {
		purpose, id string
		fill        byte
	}{{PurposeRefresh, "5", 0x22}, {PurposeDerive, "D1", 0x33}, {PurposeModule, "M1", 0x44}} {
		row := StoredKey{ID: k.id, Purpose: k.purpose, State: StateActive, Algorithm: algorithms[k.purpose][0], CreatedAt: start, ActivatedAt: start}
		row.Wrapped = seal(w, row, []byte(strings.Repeat(string(rune(k.fill)), 32)))
		if err := b.store.SaveKeys(t.Context(), []StoredKey{row}); err != nil {
			t.Fatal(err)
		}
	}
	b.Ring = b.restart(t)
	return b
}

// The expected values were made with Python's hmac and hashlib from the
// description of the formats. If this fails, every session of an installation
// ends with the upgrade.
func TestFormatsStayAsTheyAre(t *testing.T) {
	b := fixed(t)
	derived := b.Derive("device cookie")
	for _, test := range []struct{ name, got, want string }{
		{"refresh token", b.MintRefresh(binding(), 7), "cfrt_AQUNX0teXwtPDIpQG308P5wRAAAAAAAAAAfE_oBT-tkgUNoHk2j34o2vMy5U_6Czj8FlYUu46pXrCQ"},
		{"heal nonce", b.HealNonce(binding(), 3), "AAAAAwCI3t2H00BDH2Na29iwsFg"},
		{"derived key", hex.EncodeToString(derived[:]), "fa6c5cce2cb1c5479efe2a1e0936e64764388660408d2019e3a8c12f6cabaf0f"},
		{"dummy token", b.mint(t, claims(KindDummy)), "eyJhbGciOiJIUzI1NiIsImtpZCI6Ik0xIiwidHlwIjoiZm9saW8tZHVtbXkrand0In0.eyJ0eXBlIjoiZHVtbXktZXhwaXJpbmciLCJpYXQiOjE3MDQwNjcyMDAsInRlbmFudCI6ImRpa3UiLCJzdWIiOiJVTkRFRklORURfVVNFUl9fNWI5YyIsImR1bW15Ijp0cnVlLCJleHRyYV9wZXJtaXNzaW9ucyI6WyJ1c2Vycy1ibC5wYXNzd29yZC1yZXNldC1saW5rLnZhbGlkYXRlIl0sInRlIjoyLCJpc3MiOiJodHRwczovL2ZvbGlvLmV4YW1wbGUub3JnIiwiYXVkIjoiZm9saW8iLCJleHAiOjE3MDQwNjc4MDB9.MZ3-SBpcya-XwwmxoSJL9y5Z_EAr6eaLBXIOJoR9m2s"},
	} {
		if test.got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, test.got, test.want)
		}
	}
}

func drawBinding(t *rapid.T, label string) Binding {
	text := rapid.SampledFrom([]string{"", "a", "b", "aa", "ab", "diku", "a\x00", "ä"})
	return Binding{
		Session: SessionID(rapid.SliceOfN(rapid.ByteMax(1), 16, 16).Draw(t, label+" session")),
		Secret:  [32]byte(rapid.SliceOfN(rapid.ByteMax(1), 32, 32).Draw(t, label+" secret")),
		Tenant:  text.Draw(t, label+" tenant"), UserID: text.Draw(t, label+" user"),
		AbsoluteExpiry: time.Unix(rapid.Int64Range(1, 4).Draw(t, label+" expiry"), 0),
	}
}

func TestRefreshTokensMatchTheirOwnBindingOnly(t *testing.T) {
	b := setup(t)
	rapid.Check(t, func(t *rapid.T) {
		mine, other := drawBinding(t, "mine"), drawBinding(t, "other")
		gen := rapid.Uint64().Draw(t, "gen")
		s := b.MintRefresh(mine, gen)
		if s != b.MintRefresh(mine, gen) {
			t.Fatal("two tokens of one generation differ")
		}
		if s == b.MintRefresh(mine, gen+1) {
			t.Fatal("two generations have one token")
		}
		opened, err := b.OpenRefresh(s)
		if err != nil || opened.Gen != gen || opened.Session != mine.Session || !b.RefreshMatches(mine, opened) {
			t.Fatalf("opened %v, error %v", opened, err)
		}
		if mine != other && b.RefreshMatches(other, opened) {
			t.Fatalf("token of %+v matches %+v", mine, other)
		}
	})
}

// A row that somebody altered in the store stops matching its tokens.
func TestAnAlteredRowStopsMatching(t *testing.T) {
	b := setup(t)
	opened, err := b.OpenRefresh(b.MintRefresh(binding(), 7))
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Binding){
		"session":               func(b *Binding) { b.Session[0]++ },
		"secret":                func(b *Binding) { b.Secret[0]++ },
		"tenant":                func(b *Binding) { b.Tenant = "other" },
		"user":                  func(b *Binding) { b.UserID = "other" },
		"absolute expiry":       func(b *Binding) { b.AbsoluteExpiry = b.AbsoluteExpiry.Add(time.Second) },
		"border of the fields":  func(b *Binding) { b.Tenant, b.UserID = b.Tenant+b.UserID[:1], b.UserID[1:] },
		"swapped fields":        func(b *Binding) { b.Tenant, b.UserID = b.UserID, b.Tenant },
		"everything in one":     func(b *Binding) { b.Tenant, b.UserID = b.Tenant+b.UserID, "" },
		"nothing but a session": func(b *Binding) { *b = Binding{Session: b.Session} },
	} {
		altered := binding()
		edit(&altered)
		if b.RefreshMatches(altered, opened) {
			t.Errorf("%s altered and the token still matches", name)
		}
	}
	within := binding()
	within.AbsoluteExpiry = within.AbsoluteExpiry.Add(999 * time.Millisecond)
	if !b.RefreshMatches(within, opened) {
		t.Error("expiry does not count in whole seconds")
	}
}

// The two tags of two sessions cannot be put together.
func TestTheInnerTagOfAnotherSessionDoesNotHelp(t *testing.T) {
	b := setup(t)
	mine, other := binding(), binding()
	other.Session[0]++
	opened, err := b.OpenRefresh(b.MintRefresh(mine, 7))
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := b.OpenRefresh(b.MintRefresh(other, 7))
	if err != nil {
		t.Fatal(err)
	}
	opened.inner = stolen.inner
	if b.RefreshMatches(mine, opened) || b.RefreshMatches(other, opened) {
		t.Error("a token put together from two matches")
	}
}

func TestOpenRefreshTellsWhatIsWrong(t *testing.T) {
	b := setup(t)
	s := b.MintRefresh(binding(), 7)
	raw, err := base64.RawURLEncoding.DecodeString(s[5:])
	if err != nil {
		t.Fatal(err)
	}
	with := func(i int, c byte) string {
		changed := append([]byte(nil), raw...)
		changed[i] = c
		return "cfrt_" + base64.RawURLEncoding.EncodeToString(changed)
	}
	for _, test := range []struct {
		name, token string
		want        error
	}{
		{"empty", "", ErrMalformed},
		{"another prefix", "cfrx_" + s[5:], ErrMalformed},
		{"prefix in capitals", "CFRT_" + s[5:], ErrMalformed},
		{"no prefix", s[5:], ErrMalformed},
		{"T19 8 kB", s + strings.Repeat("A", 8<<10), ErrMalformed},
		{"version 0", with(0, 0), ErrMalformed},
		{"version 2", with(0, 2), ErrMalformed},
		{"key 0", with(1, 0), ErrUnknownKey},
		{"key that does not exist", with(1, 77), ErrUnknownKey},
		{"other session", with(2, raw[2]^1), ErrForged},
		{"next generation", with(25, raw[25]+1), ErrForged},
		{"inner tag", with(26, raw[26]^1), ErrForged},
		{"end of the inner tag", with(41, raw[41]^1), ErrForged},
		{"outer tag", with(42, raw[42]^1), ErrForged},
		{"end of the outer tag", with(57, raw[57]^1), ErrForged},
		{"line breaks", s[:40] + "\r\n" + s[42:], ErrMalformed},
		{"standard alphabet", s[:40] + "+/" + s[42:], ErrMalformed},
	} {
		if _, err := b.OpenRefresh(test.token); !errors.Is(err, test.want) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

func TestARefreshTokenOfAnotherInstallationIsForged(t *testing.T) {
	b, other := setup(t), setup(t)
	if _, err := b.OpenRefresh(other.MintRefresh(binding(), 7)); !errors.Is(err, ErrForged) {
		t.Errorf("%v, want ErrForged", err)
	}
}

func TestHealNoncesOpenForTheirSessionOnly(t *testing.T) {
	b := setup(t)
	rapid.Check(t, func(t *rapid.T) {
		mine, other := drawBinding(t, "mine"), drawBinding(t, "other")
		n := rapid.Uint32().Draw(t, "n")
		nonce := b.HealNonce(mine, n)
		if got, ok := b.OpenHeal(mine, nonce); !ok || got != n {
			t.Fatalf("got %d, %v; want %d", got, ok, n)
		}
		if _, ok := b.OpenHeal(other, nonce); ok && (mine.Session != other.Session || mine.Secret != other.Secret) {
			t.Fatal("opens for another session")
		}
	})
}

func TestHealNoncesOutliveTheServersKeys(t *testing.T) {
	b := setup(t)
	nonce := b.HealNonce(binding(), 3)
	for _, purpose := range purposes {
		if err := b.Remove(t.Context(), purpose, b.activeID(purpose)); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := b.OpenHeal(binding(), nonce); !ok || n != 3 {
		t.Errorf("got %d, %v", n, ok)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	b := setup(t)
	bound := binding()
	copy(bound.Secret[:], "the session's own secret, 32 by.")
	opened, err := b.OpenRefresh(b.MintRefresh(bound, 7))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{bound, opened})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %s %v %+v %s %s", bound, bound, bound, opened, opened, opened, text)
	for _, secret := range [][]byte{bound.Secret[:], opened.inner[:]} {
		for _, form := range []string{
			string(secret), fmt.Sprint(secret), hex.EncodeToString(secret),
			base64.StdEncoding.EncodeToString(secret), strings.Trim(fmt.Sprint(secret[:4]), "[]"),
		} {
			if strings.Contains(printed, form) {
				t.Errorf("%q is in %s", form, printed)
			}
		}
	}
}
