package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// PolicyOverride changes some fields of the policy for a tenant, or for one
// client or user of it.
type PolicyOverride struct {
	Tenant string `json:"tenant"`
	// Scope is "tenant", "client" or "user".
	Scope string `json:"scope"`
	// Name is the client id or user id; empty for scope "tenant".
	Name  string      `json:"name,omitempty"`
	Patch PolicyPatch `json:"policy"`
}

// PolicyPatch holds the fields that an override sets; nil leaves a field as it
// was. Durations are written as Go durations ("10m") in JSON and YAML.
type PolicyPatch struct {
	AccessTTL       *Duration `json:"access_ttl,omitempty" yaml:"access_ttl"`
	Jitter          *float64  `json:"jitter,omitempty" yaml:"jitter"`
	Idle            *Duration `json:"idle,omitempty" yaml:"idle"`
	Absolute        *Duration `json:"absolute,omitempty" yaml:"absolute"`
	Grace           *Duration `json:"grace,omitempty" yaml:"grace"`
	LateBudget      *int      `json:"late_budget,omitempty" yaml:"late_budget"`
	Strict          *bool     `json:"strict,omitempty" yaml:"strict"`
	EndUser         *bool     `json:"end_user,omitempty" yaml:"end_user"`
	Binding         *Binding  `json:"binding,omitempty" yaml:"binding"`
	SessionsPerUser *int      `json:"sessions_per_user,omitempty" yaml:"sessions_per_user"`
	ElevatedTTL     *Duration `json:"elevated_ttl,omitempty" yaml:"elevated_ttl"`
	ModuleTTL       *Duration `json:"module_ttl,omitempty" yaml:"module_ttl"`
	ProofNonce      *bool     `json:"proof_nonce,omitempty" yaml:"proof_nonce"`
	BoundGrace      *Duration `json:"bound_grace,omitempty" yaml:"bound_grace"`
	BoundLateBudget *int      `json:"bound_late_budget,omitempty" yaml:"bound_late_budget"`
	BoundKeep       *bool     `json:"bound_keep,omitempty" yaml:"bound_keep"`
	Signing         *string   `json:"signing,omitempty" yaml:"signing"`
	StepUp          *StepUps  `json:"step_up,omitzero" yaml:"step_up"`
}

// Patch is a policy with every field, in the words of an override.
func (p Policy) Patch() PolicyPatch {
	access, idle, absolute := Duration(p.AccessTTL), Duration(p.Idle), Duration(p.Absolute)
	grace, elevated, module, bound := Duration(p.Grace), Duration(p.ElevatedTTL), Duration(p.ModuleTTL), Duration(p.BoundGrace)
	return PolicyPatch{
		AccessTTL: &access, Jitter: &p.Jitter, Idle: &idle, Absolute: &absolute, Grace: &grace,
		LateBudget: &p.LateBudget, Strict: &p.Strict, EndUser: &p.EndUser, Binding: &p.Binding,
		SessionsPerUser: &p.SessionsPerUser, ElevatedTTL: &elevated, ModuleTTL: &module, Signing: &p.Signing, StepUp: &p.StepUp,
		ProofNonce: &p.ProofNonce, BoundGrace: &bound, BoundLateBudget: &p.BoundLateBudget, BoundKeep: &p.BoundKeep,
	}
}

// Duration is a time.Duration that is written as text.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// MarshalText writes "10m0s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "10m", "1h30m", "7d" or "1d12h".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// ParseDuration reads a Go duration that may begin with whole days: "7d12h".
func ParseDuration(s string) (time.Duration, error) {
	var days, v time.Duration
	number, rest, found := strings.Cut(s, "d")
	n, err := strconv.ParseUint(number, 10, 64)
	switch {
	case !found:
		v, err = time.ParseDuration(s)
	case err != nil || len(number) > 5 || strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-"):
		err = ErrInvalid
	default:
		days = time.Duration(n) * 24 * time.Hour
		if rest != "" {
			v, err = time.ParseDuration(rest)
		}
	}
	if err != nil || v > math.MaxInt64-days {
		return 0, fmt.Errorf("%w: %q is not a duration such as 90s, 10m, 12h or 7d", ErrInvalid, s)
	}
	return days + v, nil
}

// Empty is whether the patch sets nothing.
func (p PolicyPatch) Empty() bool { return p == PolicyPatch{} }

// Apply returns base with the patch's fields set.
func (p PolicyPatch) Apply(base Policy) Policy {
	setDuration(&base.AccessTTL, p.AccessTTL)
	setDuration(&base.Idle, p.Idle)
	setDuration(&base.Absolute, p.Absolute)
	setDuration(&base.Grace, p.Grace)
	setDuration(&base.ElevatedTTL, p.ElevatedTTL)
	setDuration(&base.ModuleTTL, p.ModuleTTL)
	set(&base.Jitter, p.Jitter)
	set(&base.LateBudget, p.LateBudget)
	set(&base.Strict, p.Strict)
	set(&base.EndUser, p.EndUser)
	set(&base.Binding, p.Binding)
	set(&base.SessionsPerUser, p.SessionsPerUser)
	set(&base.ProofNonce, p.ProofNonce)
	setDuration(&base.BoundGrace, p.BoundGrace)
	set(&base.BoundLateBudget, p.BoundLateBudget)
	set(&base.BoundKeep, p.BoundKeep)
	set(&base.Signing, p.Signing)
	set(&base.StepUp, p.StepUp)
	return base
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

func setDuration(field *time.Duration, value *Duration) {
	if value != nil {
		*field = time.Duration(*value)
	}
}

// Policies answers which policy holds for a session. Reading takes no lock.
type Policies struct {
	// Default is what holds where no override does.
	Default Policy
	// Tenants are overrides from the configuration; those of the store come
	// after them.
	Tenants map[string]PolicyPatch
	// AllowUnsafe takes overrides that the linter refuses, for demonstrations.
	AllowUnsafe bool

	// configured replaces Default and Tenants, after Configure.
	configured atomic.Pointer[configuredPolicies]
	changing   sync.Mutex // of state
	state      atomic.Pointer[policyState]
}

// configuredPolicies are what a configuration says. They are replaced, never
// changed.
type configuredPolicies struct {
	standard Policy
	tenants  map[string]PolicyPatch
}

// Configure replaces Default and Tenants while sessions go on. A shorter
// lifetime holds for tokens that are out already, as it does after a restart.
func (p *Policies) Configure(standard Policy, tenants map[string]PolicyPatch) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.configured.Store(&configuredPolicies{standard, tenants})
	if state := p.state.Load(); state != nil {
		p.state.Store(p.stateOf(state.overrides))
	}
}

func (p *Policies) base() configuredPolicies {
	if c := p.configured.Load(); c != nil {
		return *c
	}
	return configuredPolicies{p.Default, p.Tenants}
}

// policyState is what Load found. It is replaced, never changed.
type policyState struct {
	overrides map[policyKey]PolicyPatch
	longest   time.Duration
	// stepUps is whether any policy has some.
	stepUps bool
}

func (p *Policies) stateOf(overrides map[policyKey]PolicyPatch) *policyState {
	return &policyState{overrides: overrides, longest: p.longest(overrides), stepUps: p.haveStepUps(overrides)}
}

// overrides are those of the store, nil before the first Load.
func (p *Policies) overrides() map[policyKey]PolicyPatch {
	if state := p.state.Load(); state != nil {
		return state.overrides
	}
	return nil
}

type policyKey struct{ tenant, scope, name string }

func (p *Policies) tenant(tenant string) Policy {
	base := p.base()
	if patch, ok := base.tenants[tenant]; ok {
		return patch.Apply(base.standard)
	}
	return base.standard
}

// For composes the policy of one session.
func (p *Policies) For(tenant, client, userID string) Policy {
	policy := p.composed(tenant, client, userID)
	if client == ClientConsole {
		return policy.console()
	}
	return policy
}

func (p *Policies) composed(tenant, client, userID string) Policy {
	policy := p.tenant(tenant)
	overrides := p.overrides()
	if len(overrides) == 0 {
		return policy
	}
	kind, _, _ := strings.Cut(client, "/") // all API keys, then one of them
	for _, key := range [...]policyKey{{tenant, "tenant", ""}, {tenant, "client", kind}, {tenant, "client", client}, {tenant, "user", userID}} {
		if patch, ok := overrides[key]; ok {
			policy = patch.Apply(policy)
		}
	}
	return policy
}

// Algorithms are those in which any policy has access tokens signed.
func (p *Policies) Algorithms() []string {
	base := p.base()
	found := []string{base.standard.Signing}
	for _, patch := range base.tenants {
		if patch.Signing != nil {
			found = append(found, *patch.Signing)
		}
	}
	for _, patch := range p.overrides() {
		if patch.Signing != nil {
			found = append(found, *patch.Signing)
		}
	}
	return found
}

// MaxAccessTTL is the longest lifetime of any access token that the present
// policies allow. Revocations are remembered for so long. It is asked on every
// request, so Load works it out.
func (p *Policies) MaxAccessTTL() time.Duration {
	if state := p.state.Load(); state != nil {
		return state.longest
	}
	return p.longest(nil)
}

func (p *Policies) longest(overrides map[policyKey]PolicyPatch) time.Duration {
	base := p.base()
	longest := max(base.standard.AccessTTL, base.standard.ElevatedTTL)
	for tenant := range base.tenants {
		applied := p.tenant(tenant)
		longest = max(longest, applied.AccessTTL, applied.ElevatedTTL)
	}
	for key, patch := range overrides {
		applied := patch.Apply(p.tenant(key.tenant))
		longest = max(longest, applied.AccessTTL, applied.ElevatedTTL)
	}
	return longest
}

// Load reads all overrides.
func (p *Policies) Load(ctx context.Context, store PolicyStore) error {
	list, err := store.Policies(ctx)
	if err != nil {
		return fmt.Errorf("load policies: %w", err)
	}
	overrides := make(map[policyKey]PolicyPatch, len(list))
	for _, o := range list {
		overrides[policyKey{o.Tenant, o.Scope, o.Name}] = o.Patch
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	p.state.Store(p.stateOf(overrides))
	return nil
}

// Check refuses an override that names nothing, or with which any client and
// user of the tenant would have a policy that the linter refuses: two overrides
// may each be fine and not go together. Findings that are advice come back
// with a nil error.
func (p *Policies) Check(o PolicyOverride) ([]Finding, error) {
	_, found, err := p.With(o)
	return found, err
}

// With is Check, and the policy that whomever the override names would have.
func (p *Policies) With(o PolicyOverride) (Policy, []Finding, error) {
	if !slices.Contains([]string{"tenant", "client", "user"}, o.Scope) || o.Tenant == "" || (o.Scope == "tenant") != (o.Name == "") {
		return Policy{}, nil, fmt.Errorf("%w: scope must be tenant (without name), client or user (with one), and the tenant named", ErrInvalid)
	}
	base := p.base()
	with := &Policies{Default: base.standard, Tenants: base.tenants}
	overrides := maps.Clone(p.overrides())
	if overrides == nil {
		overrides = make(map[policyKey]PolicyPatch)
	}
	overrides[policyKey{o.Tenant, o.Scope, o.Name}] = o.Patch
	with.state.Store(&policyState{overrides: overrides})
	clients, users := []string{""}, []string{""}
	switch o.Scope {
	case "client":
		clients = []string{o.Name}
	case "user":
		users = []string{o.Name}
	}
	for key := range overrides {
		switch {
		case key.tenant != o.Tenant:
		case key.scope == "client" && o.Scope != "client":
			clients = append(clients, key.name)
		case key.scope == "user" && o.Scope != "user":
			users = append(users, key.name)
		}
	}
	found, err := with.lintAll(o.Tenant, clients, users, p.AllowUnsafe)
	return with.For(o.Tenant, clients[0], users[0]), found, err
}

// lintAll lints the policy of each client with each user. It returns the
// findings of the first, which is the override by itself, and refuses on any.
func (p *Policies) lintAll(tenant string, clients, users []string, allowUnsafe bool) ([]Finding, error) {
	own := p.For(tenant, clients[0], users[0]).Lint()
	var refused []error
	told := make(map[Finding]bool)
	for _, client := range clients {
		for _, user := range users {
			whose := together(client, user)
			if client == clients[0] && user == users[0] {
				whose = ""
			}
			for _, f := range p.For(tenant, client, user).Lint() {
				if f.Refuse && !told[f] {
					told[f] = true
					refused = append(refused, fmt.Errorf("%w: %s%s: %s", ErrInvalid, f.Field, whose, f.Reason))
				}
			}
		}
	}
	if allowUnsafe {
		return own, nil
	}
	return own, errors.Join(refused...)
}

// together names the overrides that a finding is about beside the new one.
func together(client, user string) string {
	switch {
	case client != "" && user != "":
		return " (client " + client + ", user " + user + ")"
	case client != "":
		return " (client " + client + ")"
	case user != "":
		return " (user " + user + ")"
	}
	return ""
}
