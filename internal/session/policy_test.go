package session

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDefaultPolicyHasNoFinding(t *testing.T) {
	if found := DefaultPolicy().Lint(); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

const policyDay = 24 * time.Hour

// Each case is the default policy with one change, at the edge of what the
// linter takes and beyond it.
func TestLint(t *testing.T) {
	// Every reason says what would happen or what to set instead: these are
	// words of it.
	refuse := func(field, words string) Finding { return Finding{field, words, true} }
	advise := func(field, words string) Finding { return Finding{field, words, false} }
	exact := advise("grace", "FOLIO-exact")
	cases := []struct {
		name   string
		change func(*Policy)
		want   []Finding
	}{
		{"access for less than a second", func(p *Policy) { p.AccessTTL, p.Grace = time.Second-1, 0 }, []Finding{refuse("access_ttl", "a second at least"), exact}},
		{"access for a day", func(p *Policy) { p.AccessTTL = policyDay }, nil},
		{"access for more than a day", func(p *Policy) { p.AccessTTL = policyDay + 1 }, []Finding{refuse("access_ttl", "what refresh tokens are for")}},
		{"access for a minute", func(p *Policy) { p.AccessTTL, p.Grace = time.Minute, 2*time.Second }, []Finding{advise("access_ttl", "log in before every call")}},
		{"access for more than a minute", func(p *Policy) { p.AccessTTL, p.Grace = time.Minute+1, 2*time.Second }, nil},
		{"jitter below nothing", func(p *Policy) { p.Jitter, p.Grace = -0.01, 0 }, []Finding{refuse("jitter", "between 0 and 0.5"), exact}},
		{"jitter of one half", func(p *Policy) { p.Jitter = 0.5 }, nil},
		{"jitter above one half", func(p *Policy) { p.Jitter = 0.51 }, []Finding{refuse("jitter", "between 0 and 0.5")}},
		{"jitter that is no number", func(p *Policy) { p.Jitter, p.Grace = math.NaN(), 0 }, []Finding{refuse("jitter", "between 0 and 0.5"), exact}},
		{"idle as long as access", func(p *Policy) { p.Idle = p.AccessTTL }, []Finding{refuse("idle", "the refresh token dies first")}},
		{"idle longer than access", func(p *Policy) { p.Idle = p.AccessTTL + 1 }, nil},
		{"absolute as long as idle", func(p *Policy) { p.Absolute = p.Idle }, nil},
		{"absolute shorter than idle", func(p *Policy) { p.Absolute = p.Idle - 1 }, []Finding{refuse("absolute", "not be shorter than idle")}},
		{"absolute longer than browsers' timers", func(p *Policy) { p.Absolute = 24*policyDay + 1 }, []Finding{advise("absolute", "overflow at 24.8 days")}},
		{"absolute longer than browsers keep cookies", func(p *Policy) { p.Absolute = 400*policyDay + 1 }, []Finding{refuse("absolute", "400 days"), advise("absolute", "overflow at 24.8 days")}},
		{"a negative grace time", func(p *Policy) { p.Grace = -1 }, []Finding{refuse("grace", "not be negative")}},
		{"no grace time", func(p *Policy) { p.Grace = 0 }, []Finding{advise("grace", "FOLIO-exact")}},
		{"a grace time of a minute", func(p *Policy) { p.Grace, p.AccessTTL = time.Minute, time.Hour }, nil},
		{"a longer grace time", func(p *Policy) { p.Grace, p.AccessTTL = time.Minute+1, time.Hour }, []Finding{refuse("grace", "a thief shares the window")}},
		{"a floor of half of access", func(p *Policy) { p.Grace, p.AccessTTL, p.Jitter = 30*time.Second, 2*time.Minute, 0.5 }, []Finding{refuse("grace", "under half of access_ttl"), refuse("grace", "keep step")}},
		{"a grace time of half of the spread", func(p *Policy) { p.Grace = 30 * time.Second }, []Finding{refuse("grace", "keep step")}},
		{"a grace time just below it", func(p *Policy) { p.Grace = 30*time.Second - 1 }, nil},
		{"a grace time without jitter", func(p *Policy) { p.Jitter = 0 }, []Finding{refuse("grace", "keep step")}},
		{"a negative budget", func(p *Policy) { p.LateBudget = -1 }, []Finding{refuse("late_budget", "between 0 and 3")}},
		{"no budget", func(p *Policy) { p.LateBudget = 0 }, nil},
		{"a budget of three", func(p *Policy) { p.LateBudget = 3 }, nil},
		{"a longer grace time with a key", func(p *Policy) { p.BoundGrace = 2 * time.Minute }, nil},
		{"one that is too long for access", func(p *Policy) { p.BoundGrace = 150 * time.Second }, []Finding{refuse("bound_grace", "under half of access_ttl")}},
		{"one that is too long", func(p *Policy) { p.BoundGrace, p.AccessTTL = 5*time.Minute+1, time.Hour }, []Finding{refuse("bound_grace", "between 0s and 5m")}},
		{"a negative one", func(p *Policy) { p.BoundGrace = -1 }, []Finding{refuse("bound_grace", "between 0s and 5m")}},
		{"a budget of a hundred with a key", func(p *Policy) { p.BoundLateBudget = 100 }, nil},
		{"more than that", func(p *Policy) { p.BoundLateBudget = 101 }, []Finding{refuse("bound_late_budget", "between 0 and 100")}},
		{"kept tokens, FOLIO-exact", func(p *Policy) { p.BoundKeep, p.Grace = true, 0 }, []Finding{exact, advise("bound_grace", "FOLIO-exact is for all")}},
		{"a budget of four", func(p *Policy) { p.LateBudget = 4 }, []Finding{refuse("late_budget", "between 0 and 3")}},
		{"strict with a grace time", func(p *Policy) { p.Strict = true }, []Finding{advise("strict", "a delayed tab ends the session")}},
		{"reuse ends all sessions of the user", func(p *Policy) { p.EndUser = true }, nil},
		{"no session", func(p *Policy) { p.SessionsPerUser = 0 }, []Finding{refuse("sessions_per_user", "between 1 and 10000")}},
		{"one session", func(p *Policy) { p.SessionsPerUser = 1 }, nil},
		{"too many sessions", func(p *Policy) { p.SessionsPerUser = 10001 }, []Finding{refuse("sessions_per_user", "between 1 and 10000")}},
		{"elevated for less than a second", func(p *Policy) { p.ElevatedTTL = time.Second - 1 }, []Finding{refuse("elevated_ttl", "between 1s and 5m")}},
		{"elevated for more than five minutes", func(p *Policy) { p.ElevatedTTL = 5*time.Minute + 1 }, []Finding{refuse("elevated_ttl", "between 1s and 5m")}},
		{"modules for less than a second", func(p *Policy) { p.ModuleTTL = time.Second - 1 }, []Finding{refuse("module_ttl", "between 1s and 24h")}},
		{"modules for a day", func(p *Policy) { p.ModuleTTL = policyDay }, nil},
		{"modules for more than a day", func(p *Policy) { p.ModuleTTL = policyDay + 1 }, []Finding{refuse("module_ttl", "between 1s and 24h")}},
		{"bound to the subnet", func(p *Policy) { p.Binding = BindingSubnet }, nil},
		{"bound to the device", func(p *Policy) { p.Binding = BindingDevice }, nil},
		{"bound to nothing known", func(p *Policy) { p.Binding = "ip" }, []Finding{refuse("binding", "off, subnet or device")}},
		{"bound to the empty word", func(p *Policy) { p.Binding = "" }, []Finding{refuse("binding", "off, subnet or device")}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			policy := DefaultPolicy()
			c.change(&policy)
			found := policy.Lint()
			if len(found) != len(c.want) {
				t.Fatalf("got %+v, want %+v", found, c.want)
			}
			for i, want := range c.want {
				got := found[i]
				if got.Field != want.Field || got.Refuse != want.Refuse || !strings.Contains(got.Reason, want.Reason) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
		})
	}
}

// Whatever the linter lets pass keeps what the refresh rule rests on.
func TestPolicyWithoutRefusalMakesARuleThatHolds(t *testing.T) {
	span := func(t *rapid.T, name string, around time.Duration) time.Duration {
		return time.Duration(rapid.Int64Range(-int64(time.Minute), 2*int64(around)).Draw(t, name))
	}
	rapid.Check(t, func(t *rapid.T) {
		policy := DefaultPolicy()
		policy.AccessTTL = span(t, "access", 20*time.Minute)
		policy.Idle = span(t, "idle", 8*policyDay)
		policy.Absolute = span(t, "absolute", 24*policyDay)
		policy.Grace = span(t, "grace", 30*time.Second)
		policy.Jitter = rapid.Float64Range(-0.1, 0.6).Draw(t, "jitter")
		for _, one := range policy.Lint() {
			if one.Refuse {
				return
			}
		}
		rule := policy.Rule()
		spread := time.Duration(policy.Jitter * float64(policy.AccessTTL))
		switch {
		case rule.Grace < 0 || rule.Floor < rule.Grace || rule.Heal < 2*rule.Floor-rule.Grace:
			t.Fatalf("not W ≤ F and H ≥ 2 F − W: %+v", rule)
		case rule.Grace > 0 && (2*rule.Floor >= policy.AccessTTL || 2*rule.Grace >= spread):
			t.Fatalf("a thief can keep step: %+v of %v, spread %v", rule, policy.AccessTTL, spread)
		case policy.AccessTTL <= 0 || policy.Idle <= policy.AccessTTL || policy.Absolute < policy.Idle:
			t.Fatalf("lifetimes out of order: %+v", policy)
		}
	})
}

func TestRule(t *testing.T) {
	policy := DefaultPolicy()
	want := Rule{
		Grace: 10 * time.Second, Floor: 20 * time.Second, Heal: 30 * time.Second,
		LateBudget: 1, Idle: 7 * policyDay,
	}
	if diff := cmp.Diff(want, policy.Rule()); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
	policy.Strict = true
	want.Strict = true
	if diff := cmp.Diff(want, policy.Rule()); diff != "" {
		t.Errorf("strict (-want +got):\n%s", diff)
	}
	policy.Grace, policy.Strict = 0, false
	want = Rule{Strict: true, Idle: 7 * policyDay}
	if diff := cmp.Diff(want, policy.Rule()); diff != "" {
		t.Errorf("without grace time (-want +got):\n%s", diff)
	}
}

func TestFOLIOExactIsAdvisedAgainstAndNotRefused(t *testing.T) {
	policy := DefaultPolicy().FOLIOExact()
	want := DefaultPolicy()
	want.Grace, want.LateBudget, want.Strict, want.EndUser = 0, 0, true, true
	if diff := cmp.Diff(want, policy); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	found := policy.Lint()
	if len(found) != 1 || found[0].Field != "grace" || found[0].Refuse || !strings.Contains(found[0].Reason, "FOLIO-exact") {
		t.Errorf("%+v", found)
	}
}
