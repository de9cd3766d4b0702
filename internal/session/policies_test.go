package session

import (
	"context"
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func TestParseDuration(t *testing.T) {
	cases := []struct {
		text string
		want time.Duration
	}{
		{"90s", 90 * time.Second},
		{"1h30m", 90 * time.Minute},
		{"1.5h", 90 * time.Minute},
		{"7d", 7 * policyDay},
		{"1d12h", 36 * time.Hour},
		{"007d", 7 * policyDay},
		{"0d", 0},
		{"0", 0},
		{"0d1s", time.Second},
		{"99999d", 99999 * policyDay},
		{"-10m", -10 * time.Minute}, // the linter says why not
		{"99999d162047h16m", 99999*policyDay + 162047*time.Hour + 16*time.Minute},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			got, err := ParseDuration(c.text)
			if err != nil || got != c.want {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
			var d Duration
			text, err := Duration(c.want).MarshalText()
			if err == nil {
				err = d.UnmarshalText(text)
			}
			if err != nil || d.Std() != c.want {
				t.Errorf("written %q, read back as %v, %v", text, d.Std(), err)
			}
		})
	}
}

func TestParseDurationRefuses(t *testing.T) {
	cases := map[string]string{
		"nothing":                       "",
		"a number without unit":         "10",
		"days without a number":         "d",
		"an unknown unit":               "2w",
		"days after hours":              "12h7d",
		"days twice":                    "1d1d",
		"parts of a day":                "1.5d",
		"negative days":                 "-7d",
		"a minus after the days":        "7d-12h",
		"a plus after the days":         "7d+12h",
		"spaces":                        " 7d",
		"spaces within":                 "7d 12h",
		"other digits":                  "٧d",
		"more days than there are":      "106752d",
		"days that overflow":            "999999999999d",
		"days and hours that overflow":  "99999d2562047h",
		"hours that overflow a day":     "106751d24h",
		"hours that overflow":           "9999999999h",
		"capitals":                      "7D",
		"a zero byte":                   "7d\x00",
		"a word":                        "never",
		"infinity, as in other formats": "inf",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDuration(text)
			if !errors.Is(err, ErrInvalid) || got != 0 {
				t.Fatalf("%q: got %v, %v", text, got, err)
			}
			if !strings.Contains(err.Error(), "7d") {
				t.Errorf("%q does not say how it is written", err)
			}
		})
	}
}

// leadingDays is what ParseDuration adds to Go's durations.
var leadingDays = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// FuzzParseDuration compares with a reading in numbers that do not overflow.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"7d", "1d12h", "90s", "-10m", "99999d2562047h", "106751d23h47m16.854775807s", "106751d24h", "7d-12h", "0d", "1.5d", "", "d", "12h7d", "٧d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, ok := new(big.Int), true
		rest := text
		if m := leadingDays.FindStringSubmatch(text); m != nil {
			want.SetString(m[1], 10)
			want.Mul(want, big.NewInt(int64(policyDay)))
			rest = m[2]
			ok = !strings.HasPrefix(rest, "-") && !strings.HasPrefix(rest, "+")
		}
		if rest != "" || rest == text {
			d, err := time.ParseDuration(rest)
			ok = ok && err == nil
			want.Add(want, big.NewInt(int64(d)))
		}
		ok = ok && want.IsInt64()
		got, err := ParseDuration(text)
		switch {
		case ok && (err != nil || int64(got) != want.Int64()):
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		case !ok && (!errors.Is(err, ErrInvalid) || got != 0):
			t.Errorf("%q: got %v, %v; want a refusal", text, got, err)
		}
	})
}

func ptr[T any](v T) *T { return &v }

// A field that a patch forgets to apply would be an override without effect.
func TestPatchAppliesEveryField(t *testing.T) {
	text := `{"access_ttl":"1s","jitter":0.25,"idle":"2s","absolute":"3s","grace":"4s","late_budget":5,` +
		`"strict":true,"end_user":true,"binding":"device","sessions_per_user":6,"elevated_ttl":"7s","module_ttl":"8s",` +
		`"proof_nonce":true,"bound_grace":"10s","bound_late_budget":11,"bound_keep":true,` +
		`"signing":"ES256","step_up":{"orders.item.delete":{"acr":"urn:counterfoil:acr:elevated","max_age":"9s"}}}`
	var patch PolicyPatch
	if err := json.Unmarshal([]byte(text), &patch); err != nil {
		t.Fatal(err)
	}
	want := Policy{
		AccessTTL: time.Second, Jitter: 0.25, Idle: 2 * time.Second, Absolute: 3 * time.Second, Grace: 4 * time.Second,
		LateBudget: 5, Strict: true, EndUser: true, Binding: BindingDevice, SessionsPerUser: 6,
		ElevatedTTL: 7 * time.Second, ModuleTTL: 8 * time.Second,
		ProofNonce: true, BoundGrace: 10 * time.Second, BoundLateBudget: 11, BoundKeep: true,
		Signing: "ES256", StepUp: StepUps{"orders.item.delete": {ACR: ACRElevated, MaxAge: Duration(9 * time.Second)}},
	}
	if diff := cmp.Diff(want, patch.Apply(DefaultPolicy())); diff != "" {
		t.Errorf("all set (-want +got):\n%s", diff)
	}
	if patch.Empty() || !(PolicyPatch{}).Empty() {
		t.Error("which patch is empty?")
	}
	if diff := cmp.Diff(want, PolicyPatch{}.Apply(want)); diff != "" {
		t.Errorf("none set (-want +got):\n%s", diff)
	}
	exempt, err := json.Marshal(PolicyPatch{StepUp: &StepUps{}})
	if err != nil || string(exempt) != `{"step_up":{}}` {
		t.Errorf("that nothing is asked of somebody is stored as %s, %v", exempt, err)
	}
	zero := PolicyPatch{Grace: ptr(Duration(0)), Strict: ptr(false), LateBudget: ptr(0)}
	got := zero.Apply(want)
	if zero.Empty() || got.Grace != 0 || got.Strict || got.LateBudget != 0 {
		t.Errorf("a zero that was set does not count: %+v", got)
	}
	if err := json.Unmarshal([]byte(`{"idle":"7x"}`), &patch); !errors.Is(err, ErrInvalid) {
		t.Errorf("a wrong duration: %v", err)
	}
}

// storedPolicies is as much of a store as Load needs.
type storedPolicies struct {
	PolicyStore
	list []PolicyOverride
	err  error
}

func (s storedPolicies) Policies(context.Context) ([]PolicyOverride, error) { return s.list, s.err }

func loaded(t *testing.T, p *Policies, list ...PolicyOverride) *Policies {
	t.Helper()
	if err := p.Load(t.Context(), storedPolicies{list: list}); err != nil {
		t.Fatal(err)
	}
	return p
}

func idleFor(d time.Duration) PolicyPatch { return PolicyPatch{Idle: ptr(Duration(d))} }

func accessFor(d time.Duration) PolicyPatch { return PolicyPatch{AccessTTL: ptr(Duration(d))} }

// From left to right: default, configuration of the tenant, the store's
// overrides for tenant, client and user.
func TestPoliciesComposeAndTheLastOneWins(t *testing.T) {
	const mark = time.Hour
	layers := []PolicyOverride{
		{"diku", "tenant", "", PolicyPatch{Absolute: ptr(Duration(2 * mark)), Idle: ptr(Duration(2 * mark)), Grace: ptr(Duration(2 * mark))}},
		{"diku", "client", "folio-web", PolicyPatch{Idle: ptr(Duration(3 * mark)), Grace: ptr(Duration(3 * mark))}},
		{"diku", "user", "u1", PolicyPatch{Grace: ptr(Duration(4 * mark))}},
	}
	configured := PolicyPatch{
		AccessTTL: ptr(Duration(mark)), Absolute: ptr(Duration(mark)),
		Idle: ptr(Duration(mark)), Grace: ptr(Duration(mark)),
	}
	p := loaded(t, &Policies{Default: DefaultPolicy(), Tenants: map[string]PolicyPatch{"diku": configured}}, layers...)
	// Hours of access, absolute, idle and grace; 0 is the default.
	cases := []struct {
		tenant, client, user string
		want                 [4]int
	}{
		{"diku", "folio-web", "u1", [4]int{1, 2, 3, 4}},
		{"diku", "folio-web", "u2", [4]int{1, 2, 3, 3}},
		{"diku", "folio-api", "u1", [4]int{1, 2, 2, 4}},
		{"diku", "folio-api", "u2", [4]int{1, 2, 2, 2}},
		{"diku", "u1", "folio-web", [4]int{1, 2, 2, 2}}, // names do not cross scopes
		{"other", "folio-web", "u1", [4]int{}},          // nor tenants
		{"", "", "", [4]int{}},
	}
	for _, c := range cases {
		want := DefaultPolicy()
		for i, field := range []*time.Duration{&want.AccessTTL, &want.Absolute, &want.Idle, &want.Grace} {
			if c.want[i] > 0 {
				*field = time.Duration(c.want[i]) * mark
			}
		}
		if diff := cmp.Diff(want, p.For(c.tenant, c.client, c.user)); diff != "" {
			t.Errorf("%s/%s/%s (-want +got):\n%s", c.tenant, c.client, c.user, diff)
		}
	}
}

func TestPoliciesWithoutLoadAreThoseOfTheConfiguration(t *testing.T) {
	p := &Policies{Default: DefaultPolicy(), Tenants: map[string]PolicyPatch{"diku": idleFor(time.Hour)}}
	if got := p.For("diku", "folio-web", "u1").Idle; got != time.Hour {
		t.Errorf("idle %v", got)
	}
	if got := p.For("other", "folio-web", "u1").Idle; got != DefaultPolicy().Idle {
		t.Errorf("idle %v of another tenant", got)
	}
}

func TestLoadReplacesOverridesAndKeepsThemWhenTheStoreFails(t *testing.T) {
	p := loaded(t, &Policies{Default: DefaultPolicy()}, PolicyOverride{"diku", "tenant", "", idleFor(time.Hour)})
	down := errors.New("store is down")
	if err := p.Load(t.Context(), storedPolicies{err: down}); !errors.Is(err, down) {
		t.Errorf("got %v", err)
	}
	if got := p.For("diku", "", "").Idle; got != time.Hour {
		t.Errorf("idle %v after a failed load", got)
	}
	loaded(t, p, PolicyOverride{"diku", "user", "u1", idleFor(2 * time.Hour)})
	if got := p.For("diku", "", "").Idle; got != DefaultPolicy().Idle {
		t.Errorf("idle %v after the override was deleted", got)
	}
	if got := p.For("diku", "", "u1").Idle; got != 2*time.Hour {
		t.Errorf("idle %v of the new override", got)
	}
}

// Revocations are remembered for MaxAccessTTL: were it shorter than any
// token's life, a revoked token would come back.
func TestMaxAccessTTLIsThatOfTheLongestLivedToken(t *testing.T) {
	short := DefaultPolicy()
	short.AccessTTL, short.ElevatedTTL = time.Minute, 2*time.Minute
	elevated := PolicyPatch{ElevatedTTL: ptr(Duration(5 * time.Minute))}
	cases := []struct {
		name   string
		config map[string]PolicyPatch
		stored []PolicyOverride
		want   time.Duration
	}{
		{"the default", nil, nil, 2 * time.Minute},
		{"a tenant of the configuration", map[string]PolicyPatch{"diku": accessFor(time.Hour)}, nil, time.Hour},
		{"its elevated tokens", map[string]PolicyPatch{"diku": elevated}, nil, 5 * time.Minute},
		{"an override of a tenant", nil, []PolicyOverride{{"diku", "tenant", "", accessFor(time.Hour)}}, time.Hour},
		{"of a client", nil, []PolicyOverride{{"diku", "client", "folio-web", accessFor(time.Hour)}}, time.Hour},
		{"of a user", nil, []PolicyOverride{{"diku", "user", "u1", accessFor(time.Hour)}}, time.Hour},
		{"its elevated tokens", nil, []PolicyOverride{{"diku", "user", "u1", elevated}}, 5 * time.Minute},
		{
			"users keep a tenant's longer one",
			map[string]PolicyPatch{"diku": accessFor(time.Hour)},
			[]PolicyOverride{{"diku", "user", "u1", accessFor(time.Second)}},
			time.Hour,
		},
		{"other fields do not matter", nil, []PolicyOverride{{"diku", "user", "u1", idleFor(time.Hour)}}, 2 * time.Minute},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := &Policies{Default: short, Tenants: c.config}
			if len(c.stored) > 0 {
				loaded(t, p, c.stored...)
			}
			if got := p.MaxAccessTTL(); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			loaded(t, p, c.stored...)
			for _, who := range [][3]string{{"diku", "folio-web", "u1"}, {"diku", "", ""}, {"other", "", ""}} {
				policy := p.For(who[0], who[1], who[2])
				if longest := max(policy.AccessTTL, policy.ElevatedTTL); longest > p.MaxAccessTTL() {
					t.Errorf("%v has tokens of %v, longer than %v", who, longest, p.MaxAccessTTL())
				}
			}
		})
	}
}

func TestCheckRefusesOverridesThatNameNothing(t *testing.T) {
	p := &Policies{Default: DefaultPolicy(), AllowUnsafe: true}
	for _, o := range []PolicyOverride{
		{"", "tenant", "", idleFor(time.Hour)},
		{"diku", "", "", idleFor(time.Hour)},
		{"diku", "group", "staff", idleFor(time.Hour)},
		{"diku", "tenant", "diku", idleFor(time.Hour)},
		{"diku", "client", "", idleFor(time.Hour)},
		{"diku", "user", "", idleFor(time.Hour)},
	} {
		if _, err := p.Check(o); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s/%s/%s: got %v", o.Tenant, o.Scope, o.Name, err)
		}
	}
}

func TestCheckLintsWhatTheOverrideMakesOfThePolicy(t *testing.T) {
	p := &Policies{Default: DefaultPolicy(), Tenants: map[string]PolicyPatch{"short": {AccessTTL: ptr(Duration(2 * time.Minute)), Grace: ptr(Duration(time.Second))}}}
	loaded(t, p, PolicyOverride{"stored", "tenant", "", PolicyPatch{Jitter: ptr(0.02), Grace: ptr(Duration(time.Second))}})
	grace := PolicyPatch{Grace: ptr(Duration(20 * time.Second))}
	cases := []struct {
		name     string
		override PolicyOverride
		refused  string // the field that it is refused for
		advised  string // the field that advice is about
	}{
		{"fits the default", PolicyOverride{"other", "user", "u1", grace}, "", ""},
		{"does not fit the configuration", PolicyOverride{"short", "user", "u1", grace}, "grace", ""},
		{"does not fit the tenant's override", PolicyOverride{"stored", "client", "folio-web", grace}, "grace", ""},
		{"replaces the tenant's override", PolicyOverride{"stored", "tenant", "", grace}, "", ""},
		{"gets advice", PolicyOverride{"other", "tenant", "", PolicyPatch{Grace: ptr(Duration(0))}}, "", "grace"},
		{"deletes", PolicyOverride{"stored", "tenant", "", PolicyPatch{}}, "", ""},
		{"is refused for one thing and advised about another", PolicyOverride{"other", "user", "u1", PolicyPatch{LateBudget: ptr(9), Strict: ptr(true)}}, "late_budget", "strict"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			found, err := p.Check(c.override)
			if (err != nil) != (c.refused != "") || err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.refused+": ")) {
				t.Errorf("got %v, want a refusal for %q", err, c.refused)
			}
			advised := ""
			for _, one := range found {
				if !one.Refuse {
					advised = one.Field
				}
			}
			if advised != c.advised {
				t.Errorf("advice about %q, want %q", advised, c.advised)
			}
		})
	}
	p.AllowUnsafe = true
	found, err := p.Check(PolicyOverride{"short", "user", "u1", grace})
	if err != nil || len(found) == 0 || !found[0].Refuse {
		t.Errorf("for demonstrations: got %+v, %v; want it said and taken", found, err)
	}
}

// Each of two overrides may be fine and both together not: the shorter access
// token of one leaves no room for the longer grace of the other.
func TestCheckLooksAtOverridesTogether(t *testing.T) {
	short, long, little := Duration(2*time.Minute), Duration(20*time.Second), Duration(2*time.Second)
	user := PolicyOverride{Tenant: "diku", Scope: "user", Name: "u", Patch: PolicyPatch{Grace: &long}}
	client := PolicyOverride{Tenant: "diku", Scope: "client", Name: ClientAPI, Patch: PolicyPatch{AccessTTL: &short, Grace: &little}}
	tenant := PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: PolicyPatch{AccessTTL: &short, Grace: &little}}
	for _, test := range []struct {
		name       string
		there, new PolicyOverride
	}{{"client, then user", client, user}, {"user, then client", user, client}, {"user, then tenant", user, tenant}} {
		p := Policies{Default: DefaultPolicy()}
		for _, one := range []PolicyOverride{test.there, test.new} {
			if _, err := p.Check(one); err != nil {
				t.Errorf("%s: alone it is refused: %v", test.name, err)
			}
		}
		p.state.Store(&policyState{overrides: map[policyKey]PolicyPatch{
			{test.there.Tenant, test.there.Scope, test.there.Name}: test.there.Patch,
		}})
		if _, err := p.Check(test.new); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: together they are taken: %v", test.name, err)
		}
	}
}
