package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tick lets time go by.
func (b bundle) tick(t *testing.T, d time.Duration) {
	t.Helper()
	b.clock.advance(d)
	if err := b.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func expectStates(t *testing.T, b bundle, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, states(b.Ring, PurposeAccess)); diff != "" {
		t.Fatal(diff)
	}
}

// Whoever caches the key set must know a key before it signs.
func TestT14AnAccessKeyIsPublishedBeforeItSigns(t *testing.T) {
	b := setup(t)
	first := b.activeID(PurposeAccess)
	b.clock.advance(time.Second)
	second := rotate(t, b.Ring, PurposeAccess, false)
	expectStates(t, b, StateActive, StatePending)
	if !second.DueAt.Equal(b.clock.Now().Add(65 * time.Minute)) {
		t.Errorf("due at %v", second.DueAt)
	}
	if again := rotate(t, b.Ring, PurposeAccess, false); again.ID != second.ID {
		t.Error("a second rotation piled up a second pending key")
	}
	if n := bytes.Count(b.JWKS(), []byte(`"kid"`)); n != 2 || !bytes.Contains(b.JWKS(), []byte(second.ID)) {
		t.Errorf("pending key is not published: %s", b.JWKS())
	}

	b.tick(t, 65*time.Minute-time.Millisecond)
	expectStates(t, b, StateActive, StatePending)
	if b.activeID(PurposeAccess) != first {
		t.Error("the pending key signs")
	}
	b.tick(t, time.Millisecond)
	expectStates(t, b, StateRetired, StateActive)
	if b.activeID(PurposeAccess) != second.ID {
		t.Error("the pending key does not sign although it is due")
	}
	if !bytes.HasPrefix(b.JWKS(), []byte(`{"keys":[{"use":"sig","alg":"EdDSA","kid":"`+second.ID)) {
		t.Errorf("the active key is not the first: %s", b.JWKS())
	}
}

// A token must live as long as it says although its key is rotated away, and
// the key must not live on after that.
func TestT14ARetiredKeyVerifiesUntilItsTokensAreOver(t *testing.T) {
	b := setup(t)
	first := b.activeID(PurposeAccess)
	c := claims(KindAccess)
	c.Expires = start.Add(time.Hour)
	s := b.mint(t, c)
	b.clock.advance(time.Millisecond)
	rotate(t, b.Ring, PurposeAccess, true)
	version := b.Version()

	b.tick(t, time.Hour-time.Second)
	if _, err := b.Verify(s, b.clock.Now(), KindAccess); err != nil {
		t.Errorf("token of the retired key: %v", err)
	}
	b.tick(t, time.Minute+time.Second-time.Millisecond)
	expectStates(t, b, StateRetired, StateActive)
	if b.Version() != version {
		t.Error("version changed although no key was removed")
	}
	b.tick(t, time.Millisecond)
	expectStates(t, b, StateRemoved, StateActive)
	if b.Version() == version {
		t.Error("version did not change although a key was removed")
	}
	if _, err := b.Verify(s, start, KindAccess); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("token of the removed key: %v, want ErrUnknownKey", err)
	}
	if bytes.Contains(b.JWKS(), []byte(first)) {
		t.Error("the removed key is still published")
	}
	row := b.store.rows[[2]string{PurposeAccess, first}]
	if len(row.Wrapped) != 0 || row.RemovedAt.IsZero() || row.RetiredAt.IsZero() {
		t.Errorf("removed row %+v", row)
	}
}

func TestRotatingNowTakesThePendingKey(t *testing.T) {
	b := setup(t)
	pending := rotate(t, b.Ring, PurposeAccess, false)
	if got := rotate(t, b.Ring, PurposeAccess, true); got.ID != pending.ID || got.State != StateActive {
		t.Errorf("got %+v, want %s active", got, pending.ID)
	}
	if got := rotate(t, b.Ring, PurposeAccess, true); got.ID == pending.ID || got.State != StateActive {
		t.Errorf("got %+v, want a new active key", got)
	}
}

func TestSymmetricKeysAreActiveAtOnceAndOldTokensLiveOn(t *testing.T) {
	b := setup(t)
	module, refresh := b.mint(t, claims(KindModule)), b.MintRefresh(binding(), 7)
	derived := b.Derive("x")
	b.clock.advance(time.Second)
	for _, purpose := range []string{PurposeModule, PurposeRefresh, PurposeDerive} {
		old := b.activeID(purpose)
		if k := rotate(t, b.Ring, purpose, false); k.State != StateActive || k.ID == old {
			t.Errorf("%s: %+v", purpose, k)
		}
	}
	if _, err := b.Verify(module, start, KindModule); err != nil {
		t.Error(err)
	}
	opened, err := b.OpenRefresh(refresh)
	if err != nil || !b.RefreshMatches(binding(), opened) {
		t.Error(err)
	}
	if next := b.MintRefresh(binding(), 7); next == refresh {
		t.Error("the new refresh key is not used")
	} else if again, err := b.OpenRefresh(next); err != nil || again.Gen != 7 || again.KeyID != 2 {
		t.Errorf("%+v, %v", again, err)
	} else {
		crossed := again
		crossed.KeyID = opened.KeyID
		if !b.RefreshMatches(binding(), again) || b.RefreshMatches(binding(), crossed) {
			t.Error("a token must match under the key that made it, and no other")
		}
	}
	if b.Derive("x") == derived {
		t.Error("derived keys did not change")
	}
	if diff := cmp.Diff([]string{StateRemoved, StateActive}, states(b.Ring, PurposeDerive)); diff != "" {
		t.Error(diff)
	}
}

func TestDerivedKeysDifferByLabel(t *testing.T) {
	b := setup(t)
	first, again := b.Derive("a"), b.Derive("a")
	if first == b.Derive("b") || first != again || b.Derive("") == [32]byte{} {
		t.Error("derived keys are not a function of the label")
	}
}

// A key that was stolen must stop working at once, and nothing else may.
func TestT14RemovingTheActiveKeyReplacesItInOneWrite(t *testing.T) {
	for _, purpose := range purposes {
		b := setup(t)
		tokens := specimens(t, b)
		version, saves, old := b.Version(), b.store.saves, b.activeID(purpose)
		if err := b.Remove(t.Context(), purpose, old); err != nil {
			t.Fatal(err)
		}
		if b.store.saves != saves+1 || b.Version() == version || b.activeID(purpose) == old {
			t.Errorf("%s: %d writes, active %s", purpose, b.store.saves-saves, b.activeID(purpose))
		}
		if row := b.store.rows[[2]string{purpose, old}]; row.State != StateRemoved || len(row.Wrapped) != 0 {
			t.Errorf("%s: the store keeps %+v", purpose, row)
		}
		made := map[string]string{"access": "access", "elevated": "access", "id": "access", "module": "module", "dummy-expiring": "module", "refresh": "refresh"}
		for kind, open := range slots(b) {
			if err := open(tokens[kind]); (made[kind] == purpose) != errors.Is(err, ErrUnknownKey) {
				t.Errorf("%s key removed, %s token: %v", purpose, kind, err)
			}
		}
		fresh := specimens(t, b)
		for kind, open := range slots(bundle{b.restart(t), b.clock, b.store}) {
			if err := open(fresh[kind]); err != nil {
				t.Errorf("%s key replaced, new %s token: %v", purpose, kind, err)
			}
		}
		if err := b.Remove(t.Context(), purpose, old); err != nil || b.store.saves != saves+1 {
			t.Errorf("removing again: %v, %d writes", err, b.store.saves-saves)
		}
		if err := b.Retire(t.Context(), purpose, old); !errors.Is(err, ErrNoKey) {
			t.Errorf("a removed key came back as retired: %v", err)
		}
	}
}

func TestRetiringTheActiveKeyReplacesIt(t *testing.T) {
	b := setup(t)
	s, old := b.mint(t, claims(KindAccess)), b.activeID(PurposeAccess)
	for range 2 { // the second time nothing happens
		if err := b.Retire(t.Context(), PurposeAccess, old); err != nil {
			t.Fatal(err)
		}
		if got := len(states(b.Ring, PurposeAccess)); got != 2 || b.activeID(PurposeAccess) == old {
			t.Errorf("%d keys, active %s", got, b.activeID(PurposeAccess))
		}
	}
	if _, err := b.Verify(s, start, KindAccess); err != nil {
		t.Error(err)
	}
}

func TestAPendingKeyCanBeRemoved(t *testing.T) {
	b := setup(t)
	active := b.activeID(PurposeAccess)
	pending := rotate(t, b.Ring, PurposeAccess, false)
	if err := b.Remove(t.Context(), PurposeAccess, pending.ID); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(24 * time.Hour)
	if err := b.Tick(t.Context()); err != nil || b.activeID(PurposeAccess) != active {
		t.Errorf("active %s, want %s; %v", b.activeID(PurposeAccess), active, err)
	}
}

func TestUnknownKeysAndPurposesAreTold(t *testing.T) {
	b := setup(t)
	_, rotated := b.Rotate(t.Context(), "other", "", true)
	for _, err := range []error{
		rotated, b.Retire(t.Context(), PurposeAccess, "nobody"), b.Remove(t.Context(), PurposeModule, b.activeID(PurposeAccess)),
	} {
		if !errors.Is(err, ErrNoKey) {
			t.Errorf("%v, want ErrNoKey", err)
		}
	}
}

func TestAFailingStoreChangesNothing(t *testing.T) {
	b := setup(t)
	before, jwks := b.Keys(), b.JWKS()
	b.store.fail = errors.New("disk full")
	_, rotated := b.Rotate(t.Context(), PurposeAccess, "", true)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{rotated, b.Remove(t.Context(), PurposeModule, b.activeID(PurposeModule)), b.Tick(cancelled), b.Reload(cancelled)} {
		if !errors.Is(err, b.store.fail) && !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
	if diff := cmp.Diff(before, b.Keys()); diff != "" || !bytes.Equal(jwks, b.JWKS()) {
		t.Errorf("keys changed although nothing was saved:\n%s", diff)
	}
}

func TestRefreshKeyNumbersComeBackLate(t *testing.T) {
	b := setup(t)
	old := b.MintRefresh(binding(), 7)
	for want := 2; want <= 255; want++ {
		b.clock.advance(time.Millisecond)
		if k := rotate(t, b.Ring, PurposeRefresh, true); k.ID != fmt.Sprint(want) {
			t.Fatalf("number %s, want %d", k.ID, want)
		}
	}
	if _, err := b.Rotate(t.Context(), PurposeRefresh, "", true); err == nil || !strings.Contains(err.Error(), "remove some") {
		t.Fatalf("256 living keys: %v", err)
	}
	if _, err := b.OpenRefresh(old); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "9"} {
		if err := b.Remove(t.Context(), PurposeRefresh, id); err != nil {
			t.Fatal(err)
		}
	}
	if k := rotate(t, b.Ring, PurposeRefresh, true); k.ID != "1" {
		t.Errorf("number %s, want 1 again", k.ID)
	}
	if _, err := b.OpenRefresh(old); !errors.Is(err, ErrForged) {
		t.Errorf("token of the removed key with the same number: %v, want ErrForged", err)
	}
}

func TestT14RotationUnderLoadFailsNoRequest(t *testing.T) {
	b := setup(t)
	done := make(chan struct{})
	var workers sync.WaitGroup
	for worker := range 4 {
		bound := binding()
		bound.Session[0] = byte(worker)
		kind := allKinds[worker]
		workers.Go(func() {
			for gen := uint64(0); ; gen++ {
				s, err := b.Mint(claims(kind))
				if err != nil {
					t.Error(err)
				}
				refresh := b.MintRefresh(bound, gen)
				select {
				case <-done:
					return
				default:
				}
				if _, err := b.Verify(s, start, kind); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
				if opened, err := b.OpenRefresh(refresh); err != nil || !b.RefreshMatches(bound, opened) {
					t.Errorf("refresh: %v", err)
				}
				b.Version()
				b.JWKS()
			}
		})
	}
	for i := range 30 {
		b.clock.advance(time.Second)
		for _, purpose := range purposes {
			rotate(t, b.Ring, purpose, i%2 == 0)
		}
		if err := errors.Join(b.Tick(t.Context()), b.Reload(t.Context())); err != nil {
			t.Error(err)
		}
	}
	close(done)
	workers.Wait()
}

func TestConfiguredTimesAreKept(t *testing.T) {
	b := setup(t)
	config := b.config()
	config.PublishFor = time.Minute
	config.RetireFor = RetireFor{Access: time.Hour, Module: 2 * time.Hour, Refresh: 3 * time.Hour}
	r, err := OpenRing(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if k := rotate(t, r, PurposeAccess, false); !k.DueAt.Equal(start.Add(time.Minute)) {
		t.Errorf("published until %v", k.DueAt)
	}
	for _, purpose := range []string{PurposeAccess, PurposeModule, PurposeRefresh} {
		rotate(t, r, purpose, true)
	}
	want := map[string]time.Time{
		PurposeAccess: start.Add(time.Hour), PurposeModule: start.Add(2 * time.Hour), PurposeRefresh: start.Add(3 * time.Hour),
	}
	got := map[string]time.Time{}
	for _, k := range r.Keys() {
		if k.State == StateRetired {
			got[k.Purpose] = k.DueAt
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
