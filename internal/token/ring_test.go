package token

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheFirstStartMakesOneKeyForEachPurpose(t *testing.T) {
	b := setup(t)
	seen := map[string]string{}
	for _, k := range b.Keys() {
		if k.State != StateActive || !k.CreatedAt.Equal(start) || !k.ActivatedAt.Equal(start) || !k.DueAt.IsZero() {
			t.Errorf("%+v", k)
		}
		seen[k.Purpose] = k.Algorithm
	}
	want := map[string]string{"access": "EdDSA", "module": "HS256", "refresh": "HMAC-SHA-256", "derive": "HKDF-SHA-256", "audit": "EdDSA"}
	if diff := cmp.Diff(want, seen); diff != "" || len(b.Keys()) != 5 {
		t.Errorf("%d keys\n%s", len(b.Keys()), diff)
	}
}

func TestARestartKeepsTheKeysAndWritesNothing(t *testing.T) {
	b := setup(t)
	tokens := specimens(t, b)
	saves := b.store.saves
	again := bundle{b.restart(t), b.clock, b.store}
	open := slots(again)
	for kind, s := range tokens {
		if err := open[kind](s); err != nil {
			t.Errorf("%s after a restart: %v", kind, err)
		}
	}
	if b.store.saves != saves {
		t.Error("a restart wrote keys")
	}
	if b.Derive("x") != again.Derive("x") {
		t.Error("derived keys changed")
	}
	if diff := cmp.Diff(string(b.JWKS()), string(again.JWKS())); diff != "" {
		t.Error(diff)
	}
}

func TestAMasterKeyThatDoesNotFitIsTold(t *testing.T) {
	b := setup(t)
	before, _ := b.store.Keys(t.Context())
	config := b.config()
	config.Master = []byte(strings.Repeat("x", 31) + "y")
	_, err := OpenRing(t.Context(), config)
	if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "start with the master key that this store was made with") {
		t.Errorf("wrong master key: %v", err)
	}
	after, _ := b.store.Keys(t.Context())
	if len(before) != len(after) || b.store.saves != 1 {
		t.Error("a start with the wrong master key wrote to the store")
	}
	for _, bad := range [][]byte{nil, master[:31], append(master[:32:32], 0)} {
		config.Master = bad
		if _, err := OpenRing(t.Context(), config); !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "openssl rand -hex 32") {
			t.Errorf("master key of %d bytes: %v", len(bad), err)
		}
	}
}

func TestOpenRingNeedsItsConfiguration(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"store":    func(c *Config) { c.Store = nil },
		"clock":    func(c *Config) { c.Now = nil },
		"issuer":   func(c *Config) { c.Issuer = "" },
		"audience": func(c *Config) { c.Audience = "" },
		"publish":  func(c *Config) { c.PublishFor = -1 },
		"retire":   func(c *Config) { c.RetireFor.Refresh = -1 },
	} {
		config := bundle{clock: &clock{now: start}, store: &memory{}}.config()
		edit(&config)
		if _, err := OpenRing(t.Context(), config); err == nil {
			t.Errorf("%s wrong and the ring opened", name)
		}
	}
}

func TestNoSecretRestsInTheClear(t *testing.T) {
	b := setup(t)
	rotate(t, b.Ring, PurposeAccess, false)
	rows, _ := b.store.Keys(t.Context())
	stored := fmt.Appendf(nil, "%s %v %x", rows, rows, rows)
	for _, row := range rows {
		stored = append(append(stored, row.Public...), row.Wrapped...)
	}
	for _, k := range b.state.Load().keys {
		if len(k.secret) != 32 {
			t.Fatalf("%s key has a secret of %d bytes", k.Purpose, len(k.secret))
		}
		for _, form := range [][]byte{
			k.secret, []byte(hex.EncodeToString(k.secret)), []byte(base64.RawStdEncoding.EncodeToString(k.secret)),
			[]byte(strings.Trim(fmt.Sprint(k.secret), "[]")),
		} {
			if bytes.Contains(stored, form) {
				t.Errorf("secret of the %s key is in the store", k.Purpose)
			}
		}
	}
	told := fmt.Sprintf("%+v %s", b.Keys(), b.JWKS())
	for _, row := range rows {
		if strings.Contains(told, fmt.Sprint(row.Wrapped)) {
			t.Error("Keys tells a wrapped secret")
		}
	}
}

// Somebody who can write to the store, and does not know the master key,
// cannot exchange keys or give them another use.
func TestAlteredRowsAreRefused(t *testing.T) {
	for name, edit := range map[string]func(access, module *StoredKey){
		"secrets swapped":   func(a, m *StoredKey) { a.Wrapped, m.Wrapped = m.Wrapped, a.Wrapped },
		"secret flipped":    func(a, m *StoredKey) { a.Wrapped[20] ^= 1 },
		"secret cut":        func(a, m *StoredKey) { a.Wrapped = a.Wrapped[:8] },
		"secret gone":       func(a, m *StoredKey) { a.Wrapped = nil },
		"public exchanged":  func(a, m *StoredKey) { a.Public, _, _ = ed25519.GenerateKey(nil) },
		"public gone":       func(a, m *StoredKey) { a.Public = nil },
		"id exchanged":      func(a, m *StoredKey) { a.ID = "another" },
		"id not an id":      func(a, m *StoredKey) { m.ID = `x","alg":"none` },
		"algorithm":         func(a, m *StoredKey) { m.Algorithm = "none" },
		"another algorithm": func(a, m *StoredKey) { m.Algorithm = "EdDSA" },
		"purpose":           func(a, m *StoredKey) { m.Purpose, m.Algorithm = PurposeDerive, "HKDF-SHA-256" },
		"unknown purpose":   func(a, m *StoredKey) { m.Purpose = "other" },
		"state":             func(a, m *StoredKey) { m.State = "ACTIVE" },
		"refresh by a name": func(a, m *StoredKey) { m.Purpose, m.Algorithm = PurposeRefresh, "HMAC-SHA-256" },
	} {
		b := setup(t)
		access := b.store.rows[[2]string{PurposeAccess, b.activeID(PurposeAccess)}]
		module := b.store.rows[[2]string{PurposeModule, b.activeID(PurposeModule)}]
		delete(b.store.rows, [2]string{PurposeAccess, access.ID})
		delete(b.store.rows, [2]string{PurposeModule, module.ID})
		edit(&access, &module)
		if err := b.store.SaveKeys(t.Context(), []StoredKey{access, module}); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenRing(t.Context(), b.config()); err == nil {
			t.Errorf("%s and the ring opened", name)
		}
		if err := b.Reload(t.Context()); err == nil {
			t.Errorf("%s and the ring reloaded", name)
		}
		if _, err := b.Verify(b.mint(t, claims(KindAccess)), start, KindAccess); err != nil {
			t.Errorf("%s: the ring did not go on with the keys it had: %v", name, err)
		}
	}
}

// A key id goes into headers and the JWKS without escaping, and a key has one
// algorithm; the seal alone does not make either right.
func TestSealedKeysOutsideTheRulesAreRefused(t *testing.T) {
	w, err := NewMasterWrapper(master)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", `x","alg":"none`, "a b", strings.Repeat("x", 65), "ä", "x\n"} {
		k := StoredKey{ID: id, Purpose: PurposeModule, State: StateRetired, Algorithm: "HS256", RetiredAt: start}
		k.Wrapped = seal(w, k, make([]byte, 32))
		if _, err := openKey(k, vault{wrapper: w}); err == nil {
			t.Errorf("id %q was taken", id)
		}
	}
	for _, id := range []string{"0", "256", "-1", "x"} {
		k := StoredKey{ID: id, Purpose: PurposeRefresh, State: StateRetired, Algorithm: "HMAC-SHA-256", RetiredAt: start}
		k.Wrapped = seal(w, k, make([]byte, 32))
		if _, err := openKey(k, vault{wrapper: w}); err == nil {
			t.Errorf("refresh id %q was taken", id)
		}
	}
	k := StoredKey{ID: "x", Purpose: PurposeModule, State: StateRetired, Algorithm: "HS512", RetiredAt: start}
	k.Wrapped = seal(w, k, make([]byte, 32))
	if _, err := openKey(k, vault{wrapper: w}); err == nil {
		t.Error("another algorithm was taken")
	}
	k.Algorithm = "HS256"
	k.Wrapped = seal(w, k, make([]byte, 31))
	if _, err := openKey(k, vault{wrapper: w}); err == nil {
		t.Error("a secret of 31 bytes was taken")
	}
}

func TestAStoreThatCannotBeOpenedIsLeftAsItIs(t *testing.T) {
	b := setup(t)
	due := StoredKey{ID: "x", Purpose: PurposeModule, State: StateRetired, Algorithm: "HS256", Wrapped: []byte("of another master key"), RetiredAt: start.Add(-24 * time.Hour)}
	if err := b.store.SaveKeys(t.Context(), []StoredKey{due}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRing(t.Context(), b.config()); !errors.Is(err, ErrMaster) {
		t.Errorf("%v, want ErrMaster", err)
	}
	if diff := cmp.Diff(due, b.store.rows[[2]string{PurposeModule, "x"}]); diff != "" {
		t.Error(diff)
	}
}

// RFC 8037 appendix A.3.
func TestThumbprintIsThatOfRFC8037(t *testing.T) {
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	_, jwk, err := publicKey(EdDSA, ed25519.PublicKey(public))
	if err != nil {
		t.Fatal(err)
	}
	if got := thumbprint(jwk); got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(got)
	}
}

func TestAccessKeyIDsAreThumbprintsAndNoFlags(t *testing.T) {
	w, err := NewMasterWrapper(master)
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		k, err := newKey(PurposeAccess, EdDSA, nil, vault{wrapper: w})
		_, jwk, _ := publicKey(EdDSA, ed25519.PublicKey(k.Public))
		if err != nil || !strings.HasPrefix(thumbprint(jwk), k.ID) || len(k.ID) != 16 || k.ID[0] == '-' {
			t.Fatalf("id %q, error %v", k.ID, err)
		}
	}
}
