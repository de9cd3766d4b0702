package directory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sets makes definitions of lines such as "a b c": a stands for b and c.
func sets(lines ...string) map[string]PermissionSet {
	defs := make(map[string]PermissionSet)
	for _, line := range lines {
		names := strings.Fields(line)
		defs[names[0]] = PermissionSet{Name: names[0], Sub: names[1:]}
	}
	return defs
}

func TestExpandReachesEveryDepthOnce(t *testing.T) {
	defs := sets(
		"orders.all orders.read orders.write undefined.sub",
		"orders.read orders.item.get orders.collection.get",
		"orders.write orders.item.post orders.read",
		"round.a round.b", "round.b round.c", "round.c round.a",
		"self self",
		"unrelated",
	)
	for _, c := range []struct {
		names string
		want  string
	}{
		{"", ""},
		{"unrelated", "unrelated"},
		{"nowhere", "nowhere"},
		{"nowhere nowhere", "nowhere"},
		{"orders.read", "orders.collection.get orders.item.get orders.read"},
		{"orders.all", "orders.all orders.collection.get orders.item.get orders.item.post orders.read orders.write undefined.sub"},
		{"round.b", "round.a round.b round.c"},
		{"self zz aa", "aa self zz"},
	} {
		s := Expand(defs, strings.Fields(c.names))
		if diff := cmp.Diff(c.want, strings.Join(s.Names(), " ")); diff != "" {
			t.Errorf("Expand(%q): %s", c.names, diff)
		}
		for _, name := range append(strings.Fields(c.want), "unrelated", "orders", "", "*") {
			if want := slices.Contains(strings.Fields(c.want), name); s.Has(name) != want {
				t.Errorf("Expand(%q).Has(%q) = %v", c.names, name, !want)
			}
		}
	}
}

func TestSetTellsTheFirstMissing(t *testing.T) {
	s := Expand(sets("a b"), []string{"a", "x"})
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"a", "b", "x"}, ""},
		{[]string{"b", "c", "d"}, "c"},
	} {
		if got := s.All(c.names); got != c.want {
			t.Errorf("All(%v) = %q, want %q", c.names, got, c.want)
		}
	}
	if got := (Set{}).All([]string{"a"}); got != "a" {
		t.Errorf("the empty set lacks %q", got)
	}
}

func TestSetIsAskedWithoutAllocation(t *testing.T) {
	s := Expand(sets("a b c"), []string{"a", "x", "y"})
	names := []string{"a", "b", "c", "x", "y"}
	if n := testing.AllocsPerRun(100, func() {
		if s.All(names) != "" || s.Has("zzz") {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// graph draws definitions over few names, so that cycles and diamonds come up.
func graph(t *rapid.T, label string) map[string]PermissionSet {
	name := rapid.SampledFrom(strings.Fields("a b c d e f g h"))
	defs := make(map[string]PermissionSet)
	for i, n := range rapid.SliceOfDistinct(name, rapid.ID).Draw(t, label) {
		defs[n] = PermissionSet{Name: n, Sub: rapid.SliceOfN(name, 0, 3).Draw(t, fmt.Sprint(label, i))}
	}
	return defs
}

// naive is the closure as one would explain it: add what is reached until
// nothing is new.
func naive(defs map[string]PermissionSet, names []string) []string {
	reached := slices.Clone(names)
	for grown := true; grown; {
		grown = false
		for _, name := range reached {
			for _, sub := range defs[name].Sub {
				if !slices.Contains(reached, sub) {
					reached, grown = append(reached, sub), true
				}
			}
		}
	}
	slices.Sort(reached)
	return slices.Compact(reached)
}

func TestExpandIsTheTransitiveClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defs := graph(t, "defs")
		names := rapid.SliceOf(rapid.SampledFrom(strings.Fields("a c e g x y"))).Draw(t, "names")
		s, want := Expand(defs, names), naive(defs, names)
		if diff := cmp.Diff(append([]string{}, want...), append([]string{}, s.Names()...)); diff != "" {
			t.Fatal(diff)
		}
		for _, name := range strings.Fields("a b c d e f g h x y z") {
			if s.Has(name) != slices.Contains(want, name) {
				t.Fatalf("Has(%q) = %v", name, s.Has(name))
			}
		}
	})
}

func TestUnionHasWhatEitherHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(strings.Fields("a b c d x y"))
		d := define([]PermissionSet{{Name: "a", Sub: []string{"b"}}, {Name: "c"}, {Name: "d"}})
		other := define([]PermissionSet{{Name: "b", Sub: []string{"y"}}, {Name: "x", Sub: []string{"c"}}})
		s := d.expand(rapid.SliceOf(name).Draw(t, "s"))
		u := rapid.SampledFrom([]*definitions{d, other, define(nil)}).Draw(t, "of").expand(rapid.SliceOf(name).Draw(t, "t"))
		before := s.Names()
		both := s.Union(u)
		want := slices.Sorted(slices.Values(slices.Concat(s.Names(), u.Names())))
		if diff := cmp.Diff(append([]string{}, slices.Compact(want)...), append([]string{}, both.Names()...)); diff != "" {
			t.Fatal(diff)
		}
		if missing := both.All(want); missing != "" {
			t.Fatalf("the union lacks %q", missing)
		}
		if !slices.Equal(before, s.Names()) {
			t.Fatal("the union changed its part")
		}
	})
}

func TestIntersectionHasWhatBothHave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(strings.Fields("a b c d x y"))
		d := define([]PermissionSet{{Name: "a", Sub: []string{"b"}}, {Name: "c"}, {Name: "d"}})
		other := define([]PermissionSet{{Name: "b", Sub: []string{"y"}}, {Name: "x", Sub: []string{"c"}}})
		s := d.expand(rapid.SliceOf(name).Draw(t, "s"))
		u := rapid.SampledFrom([]*definitions{d, other, define(nil)}).Draw(t, "of").expand(rapid.SliceOf(name).Draw(t, "t"))
		before := s.Names()
		both := s.Intersect(u)
		for _, one := range strings.Fields("a b c d x y z") {
			if both.Has(one) != (s.Has(one) && u.Has(one)) || both.Has(one) != slices.Contains(both.Names(), one) {
				t.Fatalf("%s: %v of %v and %v", one, both.Names(), s.Names(), u.Names())
			}
		}
		if !slices.Equal(before, s.Names()) {
			t.Fatal("the intersection changed its part")
		}
	})
}

func TestCyclesAreRefusedWithTheWayRound(t *testing.T) {
	defs := sets("a b", "b c", "c", "loop.x loop.y", "loop.y loop.x")
	for _, c := range []struct {
		name  string
		added []PermissionSet
		want  string
	}{
		{"nothing added", nil, ""},
		{"new set", []PermissionSet{{Name: "d", Sub: []string{"a", "b", "c"}}}, ""},
		{"itself", []PermissionSet{{Name: "d", Sub: []string{"d"}}}, "d > d"},
		{"closes the round", []PermissionSet{{Name: "c", Sub: []string{"a"}}}, "c > a > b > c"},
		{"opens it elsewhere", []PermissionSet{{Name: "c", Sub: []string{"a"}}, {Name: "a"}}, ""},
		{"round among the added", []PermissionSet{{Name: "p", Sub: []string{"q"}}, {Name: "q", Sub: []string{"p"}}}, "p > q > p"},
		{"leads into an old round", []PermissionSet{{Name: "p", Sub: []string{"loop.y"}}}, "loop.y > loop.x > loop.y"},
		{"mends an old round", []PermissionSet{{Name: "loop.y"}}, ""},
		{"named twice", []PermissionSet{{Name: "c", Sub: []string{"a"}}, {Name: "c"}}, "c > a > b > c"},
	} {
		err := CheckCycles(defs, c.added...)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "("+c.want+")")):
			t.Errorf("%s: %v, want the way %s", c.name, err, c.want)
		}
	}
}

func TestLongChainIsWalkedAndLongCycleToldShort(t *testing.T) {
	const depth = 50_000
	chain := make([]PermissionSet, depth)
	for i := range chain {
		chain[i] = PermissionSet{Name: fmt.Sprint("p", i), Sub: []string{fmt.Sprint("p", i+1)}}
	}
	if err := CheckCycles(nil, chain...); err != nil {
		t.Fatal(err)
	}
	chain[depth-1].Sub = []string{"p0"}
	err := CheckCycles(nil, chain...)
	if want := "(p0 > p1 > p2 > p3 > p4 > p5 > … > p0)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("%v, want %s", err, want)
	}
	if n := len(define(chain).expand([]string{"p7"}).Names()); n != depth {
		t.Fatalf("the round has %d permissions, want %d", n, depth)
	}
}

func TestCycleCheckAgreesWithTheClosure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		defs, added := graph(t, "defs"), graph(t, "added")
		all := make(map[string]PermissionSet)
		for _, m := range []map[string]PermissionSet{defs, added} {
			for name, set := range m {
				all[name] = set
			}
		}
		var list []PermissionSet
		inCycle := false
		for _, set := range added {
			list = append(list, set)
			for _, name := range naive(all, []string{set.Name}) {
				inCycle = inCycle || slices.Contains(naive(all, all[name].Sub), name)
			}
		}
		if err := CheckCycles(defs, list...); (err != nil) != inCycle {
			t.Fatalf("CheckCycles: %v, but a cycle is reachable: %v", err, inCycle)
		}
	})
}

func TestDesiredPermissionsMatchWholeNames(t *testing.T) {
	held := Expand(nil, strings.Fields("users.item.get users.item.put users.collection.get xusers.item.get usersXitem.get extra.foobar extra.bar.foo aXbXc"))
	for _, c := range []struct{ required, desired, want string }{
		{"", "", ""},
		{"users.item.get", "", "users.item.get"},
		{"users.item.delete", "users.item.get", "users.item.get"},
		{"users.item.get", "users.item.get users.item.*", "users.item.get users.item.put"},
		{"", "users.item.get", "users.item.get"},
		{"", "users.*.get", "users.collection.get users.item.get"},
		{"", "users.*", "users.collection.get users.item.get users.item.put"},
		{"", "*.put", "users.item.put"},
		{"", "extra.*bar", "extra.foobar"},
		{"", "extra*foo", "extra.bar.foo"},
		{"", "*users.item.get", "users.item.get xusers.item.get"},
		{"", "nothing.*", ""},
		{"", "users.item.get*", "users.item.get"},
		{"", "users.item.get.*", ""},
		{"", "a*b*c", "aXbXc"},
		{"", "a*b*b*c", ""},
		{"", "a**c", "aXbXc"},
		{"", "us*ers.item.*.get", ""},
		{"", "*", strings.Join(held.Names(), " ")},
		{"*", "", ""},
		{"", "users[.]item.*", ""},
		{"", "(a|u)*", ""},
	} {
		got := MatchDesired(held, strings.Fields(c.required), strings.Fields(c.desired))
		if got == nil {
			t.Errorf("required %q, desired %q: nil, want a list", c.required, c.desired)
		}
		if diff := cmp.Diff(strings.Fields(c.want), got); diff != "" {
			t.Errorf("required %q, desired %q: %s", c.required, c.desired, diff)
		}
	}
}

// TestPatternsMatchAsDefined compares with the definition: a star is nothing,
// or one character and a star.
func TestPatternsMatchAsDefined(t *testing.T) {
	var defined func(p, s string) bool
	defined = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return defined(p[1:], s) || s != "" && defined(p, s[1:])
		}
		return s != "" && p[0] == s[0] && defined(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "name")
		if got := matches(p, s); got != defined(p, s) {
			t.Fatalf("matches(%q, %q) = %v", p, s, got)
		}
	})
}
