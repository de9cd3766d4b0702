package token

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestASecondNodeVerifiesBeforeItHasSeenThePromotion(t *testing.T) {
	b := setup(t)
	rotate(t, b.Ring, PurposeAccess, false)
	late := b.restart(t)
	b.clock.advance(2 * time.Hour)
	if err := b.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Verify(b.mint(t, claims(KindAccess)), start, KindAccess); err != nil {
		t.Error(err)
	}
}

func TestReloadFollowsAnotherNode(t *testing.T) {
	b := setup(t)
	other := b.restart(t)
	s, version := b.mint(t, claims(KindAccess)), other.Version()
	rotate(t, b.Ring, PurposeAccess, true)
	fresh := b.mint(t, claims(KindAccess))
	if _, err := other.Verify(fresh, start, KindAccess); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("before Reload: %v", err)
	}
	if err := other.Reload(t.Context()); err != nil || other.Version() != version {
		t.Errorf("%v; version changed without a removal", err)
	}
	if _, err := other.Verify(fresh, start, KindAccess); err != nil {
		t.Error(err)
	}
	for _, k := range b.Keys() {
		if k.State == StateRetired {
			if err := b.Remove(t.Context(), k.Purpose, k.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := other.Reload(t.Context()); err != nil || other.Version() == version {
		t.Errorf("%v; version did not change with a removal", err)
	}
	if _, err := other.Verify(s, start, KindAccess); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("token of a key that the other node removed: %v", err)
	}
}

// A node that did not hear of a removal must not write the key back.
func TestT14AStaleNodeDoesNotRestoreARemovedKey(t *testing.T) {
	b := setup(t)
	stale := b.restart(t)
	old := b.activeID(PurposeModule)
	s := b.mint(t, claims(KindModule))
	if err := b.Remove(t.Context(), PurposeModule, old); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(time.Minute)
	rotate(t, stale, PurposeModule, true)
	if row := b.store.rows[[2]string{PurposeModule, old}]; row.State != StateRemoved || len(row.Wrapped) != 0 {
		t.Errorf("restored: %+v", row)
	}
	if _, err := stale.Verify(s, start, KindModule); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("%v, want ErrUnknownKey", err)
	}
}

// activeKey is a module key that another node made active at a time.
func activeKey(t *testing.T, b bundle, created, activated time.Time) string {
	w, err := NewMasterWrapper(master)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKey(PurposeModule, "HS256", nil, vault{wrapper: w})
	if err != nil {
		t.Fatal(err)
	}
	k.State, k.CreatedAt, k.ActivatedAt = StateActive, created, activated
	if err := b.store.SaveKeys(t.Context(), []StoredKey{k}); err != nil {
		t.Fatal(err)
	}
	return k.ID
}

// Two nodes that rotate at the same moment leave two active keys. All nodes
// must sign with the same one, in whatever order the store gives the rows.
func TestNodesThatRotateAtTheSameTimeAgree(t *testing.T) {
	for range 5 {
		b := setup(t)
		first := b.activeID(PurposeModule)
		early := activeKey(t, b, start.Add(time.Minute), start.Add(-time.Second))
		late := activeKey(t, b, start.Add(-time.Minute), start.Add(time.Second))
		twin := activeKey(t, b, start, start.Add(time.Second))
		want := max(late, twin)
		if err := b.Reload(t.Context()); err != nil || b.activeID(PurposeModule) != want {
			t.Fatalf("active %s, want %s; %v", b.activeID(PurposeModule), want, err)
		}
		if err := b.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, k := range b.Keys() {
			if k.Purpose == PurposeModule {
				got[k.ID] = k.State
			}
		}
		states := map[string]string{first: StateRetired, early: StateRetired, late: StateRetired, twin: StateRetired}
		states[want] = StateActive
		if diff := cmp.Diff(states, got); diff != "" {
			t.Fatal(diff)
		}
	}
}
