package gateway

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func mustVersion(t testing.TB, s string) Version {
	t.Helper()
	v, err := ParseVersion(s)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return v
}

func TestVersionsAreOrderedAsOkapiOrdersThem(t *testing.T) {
	oldestFirst := []string{
		"1", "1.0.0-SNAPSHOT", "1.0.0-SNAPSHOT.9", "1.0.0-SNAPSHOT.12", "1.0.0-alpha", "1.0.0",
		"1.0.0+a", "1.0.0+b", "1.0.0.1", "1.2", "1.2.3-1", "1.2.3-2", "1.2.3-a-b", "1.2.3", "1.10.0", "2.0.0-rc.1", "10",
	}
	for i, a := range oldestFirst {
		for j, b := range oldestFirst {
			want := min(max(i-j, -1), 1)
			if got := mustVersion(t, a).Compare(mustVersion(t, b)); got != want {
				t.Errorf("%s against %s: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestVersionComparisonIsAnOrder(t *testing.T) {
	version := rapid.StringMatching(`(0|1|12)(\.(0|1|12)){0,2}(-(SNAPSHOT|a|7)(\.(1|10|b)){0,2})?(\+x)?`)
	rapid.Check(t, func(t *rapid.T) {
		a, err1 := ParseVersion(version.Draw(t, "a"))
		b, err2 := ParseVersion(version.Draw(t, "b"))
		c, err3 := ParseVersion(version.Draw(t, "c"))
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatal(err1, err2, err3)
		}
		if a.Compare(b) != -b.Compare(a) {
			t.Fatal("not antisymmetric")
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatal("not transitive")
		}
	})
}

func TestParseVersionRefuses(t *testing.T) {
	for _, s := range []string{"", "a", "1.", ".1", "1..2", "1-", "1-a.", "-1", "+1", "1.2x", "1234567890123456789", " 1"} {
		if _, err := ParseVersion(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestModuleIDsSortByProductThenVersion(t *testing.T) {
	ids := []string{"mod-b-1.0.0", "mod-a-10.0.0", "mod-a-9.0.0", "mod-a-9.0.0-SNAPSHOT.3", "mod-a", "folio_users-2.0.0"}
	slices.SortFunc(ids, CompareModuleIDs)
	want := []string{"folio_users-2.0.0", "mod-a", "mod-a-9.0.0-SNAPSHOT.3", "mod-a-9.0.0", "mod-a-10.0.0", "mod-b-1.0.0"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}

func TestInterfaceVersionsAreCompatible(t *testing.T) {
	for _, test := range []struct {
		have, need string
		want       bool
	}{
		{"1.0", "1.0", true},
		{"1.1", "1.0", true},
		{"1.0", "1.1", false},
		{"2.0", "1.0", false},
		{"1.0", "2.0", false},
		{"1.2.3", "1.2.3", true},
		{"1.2.4", "1.2.3", true},
		{"1.2.2", "1.2.3", false},
		{"1.2.3", "1.2", true},
		{"1.2", "1.2.0", false},
		{"1.3", "1.2.9", true},
		{"15.3", "15.0 16.0", true},
		{"16.0", "15.0 16.0", true},
		{"17.0", "15.0 16.0", false},
		{"1.10", "1.9", true},
	} {
		have := &InterfaceDescriptor{ID: "users", Version: test.have}
		if got := have.Satisfies(&InterfaceDescriptor{ID: "users", Version: test.need}); got != test.want {
			t.Errorf("%s serves %s: %v, want %v", test.have, test.need, got, test.want)
		}
		if have.Satisfies(&InterfaceDescriptor{ID: "other", Version: test.have}) {
			t.Errorf("%s serves another interface", test.have)
		}
	}
}
