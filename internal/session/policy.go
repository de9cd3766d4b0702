package session

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// Policy is how long things live and how strict the rule is, for one session.
// It is composed of the defaults and of overrides for the tenant, the client
// and the user, in this order, the last one wins.
type Policy struct {
	// AccessTTL is the lifetime of an access token before jitter.
	AccessTTL time.Duration
	// Jitter is the largest part of AccessTTL by which a token's lifetime is
	// cut at random, 0 to 0.5. It keeps a thief from falling into step.
	Jitter float64
	// Idle ends a session that nobody refreshed for so long.
	Idle time.Duration
	// Absolute ends a session however busy it is. It is fixed at login.
	// Browsers' timers overflow at 24.8 days.
	Absolute time.Duration
	// Grace is W, how long the previous token may be presented again. The
	// floor F is 2 W, the time to heal H is 2 F − W. 0 is FOLIO-exact.
	Grace time.Duration
	// LateBudget is B, late recoveries per rolling 24 hours.
	LateBudget int
	// Strict ends the session when any older token is presented.
	Strict bool
	// EndUser makes reuse end every session of the user, as FOLIO does.
	EndUser bool
	// Binding is what a refresh must have in common with the login.
	Binding Binding
	// SessionsPerUser is how many sessions a user may have; at one more the
	// longest idle leaves.
	SessionsPerUser int
	// ElevatedTTL is the lifetime of raised scope, 5 minutes at most.
	ElevatedTTL time.Duration
	// ModuleTTL is the lifetime of the token that a module gets for a request.
	ModuleTTL time.Duration
	// ProofNonce is whether DPoP proofs must carry a nonce of ours.
	ProofNonce bool
	// BoundGrace and BoundLateBudget are Grace and LateBudget of sessions that are
	// bound to a key, if they are more: a thief has no use for a token without its
	// key. BoundKeep is whether such a session keeps its refresh token for good
	// (RFC 9700 section 4.14.2).
	BoundGrace      time.Duration
	BoundLateBudget int
	BoundKeep       bool
	// Signing is the algorithm of access tokens, as in token.AccessAlgorithms.
	Signing string
	// StepUp are the permissions that need more than an access token. It is
	// shared and never changed.
	StepUp StepUps
}

// Binding is what a refresh must have in common with the login.
type Binding string

// The bindings. A mismatch refuses the refresh, it does not end the session.
const (
	BindingOff    Binding = "off"
	BindingSubnet Binding = "subnet" // the same /24 (IPv4) or /64 (IPv6)
	BindingDevice Binding = "device" // the same counterfoilDevice cookie
)

// The longest lifetimes that the linter takes. Retired keys verify for so long.
const (
	LongestAccess   = 24 * time.Hour
	LongestModule   = 24 * time.Hour
	LongestAbsolute = 400 * 24 * time.Hour // browsers drop cookies after that
	longestElevated = 5 * time.Minute
	longestGrace    = time.Minute
	// Nobody shares the window of a session that is bound to a key.
	longestBoundGrace = 5 * time.Minute
	boundToSome       = token.Confirmation("jkt:some")
)

// DefaultPolicy is what applies where nobody said otherwise.
func DefaultPolicy() Policy {
	return Policy{
		AccessTTL:       10 * time.Minute,
		Jitter:          0.1,
		Idle:            7 * 24 * time.Hour,
		Absolute:        24 * 24 * time.Hour,
		Grace:           10 * time.Second,
		LateBudget:      1,
		Binding:         BindingOff,
		SessionsPerUser: 100,
		ElevatedTTL:     5 * time.Minute,
		ModuleTTL:       20 * time.Minute,
		Signing:         token.EdDSA,
	}
}

// FOLIOExact returns p with the refresh rule of mod-authtoken: a token works
// once, and a second use ends every session of the user.
func (p Policy) FOLIOExact() Policy {
	p.Grace, p.LateBudget, p.Strict, p.EndUser = 0, 0, true, true
	return p
}

// boundBy is the policy of a session that is bound to a key, if it is.
func (p Policy) boundBy(c token.Confirmation) Policy {
	if c == "" {
		p.BoundKeep = false
		return p
	}
	if p.Grace == 0 {
		p.BoundKeep = false // FOLIO-exact
		return p
	}
	p.Grace, p.LateBudget = max(p.Grace, p.BoundGrace), max(p.LateBudget, p.BoundLateBudget)
	return p
}

// of is the policy of a session.
func (p *Policies) of(row *Session) Policy {
	return p.For(row.Tenant, row.Client, row.UserID).boundBy(row.Confirm)
}

// Rule returns what Present needs of a policy. What is for bound sessions is in it
// only after boundBy.
func (p Policy) Rule() Rule {
	r := Rule{
		Grace:      p.Grace,
		Floor:      2 * p.Grace,
		Heal:       3 * p.Grace, // 2 F − W
		LateBudget: p.LateBudget,
		Strict:     p.Strict,
		Idle:       p.Idle,
		Keep:       p.BoundKeep,
	}
	if p.Grace == 0 {
		r.LateBudget, r.Strict = 0, true
	}
	return r
}

// Finding is one thing that the linter has to say about a policy.
type Finding struct {
	// Field is the policy's key as written in configuration.
	Field string `json:"field"`
	// Reason says what would happen, and what to set instead.
	Reason string `json:"reason"`
	// Refuse is true where the policy would be unsafe or cannot work; false is
	// advice.
	Refuse bool `json:"refuse"`
}

// Lint finds what is unsafe or unworkable in a policy.
func (p Policy) Lint() []Finding {
	var found []Finding
	refuse := func(bad bool, field, format string, args ...any) {
		if bad {
			found = append(found, Finding{Field: field, Reason: fmt.Sprintf(format, args...), Refuse: true})
		}
	}
	advise := func(bad bool, field, format string, args ...any) {
		if bad {
			found = append(found, Finding{Field: field, Reason: fmt.Sprintf(format, args...)})
		}
	}
	rule := p.Rule()
	spread := time.Duration(p.Jitter * float64(p.AccessTTL))
	refuse(p.AccessTTL < time.Second, "access_ttl", "%s: an access token must live for a second at least", p.AccessTTL)
	refuse(p.AccessTTL > LongestAccess, "access_ttl", "%s: longer than a day is what refresh tokens are for", p.AccessTTL)
	refuse(!(p.Jitter >= 0 && p.Jitter <= 0.5), "jitter", "%v: must be between 0 and 0.5", p.Jitter)
	refuse(p.Idle <= p.AccessTTL, "idle", "%s: must be longer than access_ttl, or the refresh token dies first", p.Idle)
	refuse(p.Absolute < p.Idle, "absolute", "%s: must not be shorter than idle (%s)", p.Absolute, p.Idle)
	refuse(p.Absolute > LongestAbsolute, "absolute", "%s: browsers drop cookies after 400 days", p.Absolute)
	refuse(p.Grace < 0, "grace", "%s: must not be negative", p.Grace)
	refuse(p.Grace > longestGrace, "grace", "%s: one minute at most, a thief shares the window", p.Grace)
	refuse(p.Grace > 0 && rule.Floor >= p.AccessTTL/2, "grace", "%s: the floor of 2 × grace must be under half of access_ttl (%s)", p.Grace, p.AccessTTL)
	refuse(p.Grace > 0 && 2*p.Grace >= spread, "grace", "%s: 2 × grace must be under the spread of access_ttl by jitter (%s), or a thief can keep step", p.Grace, spread)
	refuse(p.LateBudget < 0 || p.LateBudget > 3, "late_budget", "%d: must be between 0 and 3", p.LateBudget)
	bound := p.boundBy(boundToSome).Rule()
	refuse(p.BoundGrace < 0 || p.BoundGrace > longestBoundGrace, "bound_grace", "%s: must be between 0s and 5m", p.BoundGrace)
	refuse(p.BoundGrace > p.Grace && p.Grace > 0 && bound.Floor >= p.AccessTTL/2, "bound_grace", "%s: the floor of 2 × bound_grace must be under half of access_ttl (%s)", p.BoundGrace, p.AccessTTL)
	refuse(p.BoundLateBudget < 0 || p.BoundLateBudget > 100, "bound_late_budget", "%d: must be between 0 and 100", p.BoundLateBudget)
	refuse(p.SessionsPerUser < 1 || p.SessionsPerUser > 10000, "sessions_per_user", "%d: must be between 1 and 10000", p.SessionsPerUser)
	refuse(p.ElevatedTTL < time.Second || p.ElevatedTTL > longestElevated, "elevated_ttl", "%s: must be between 1s and 5m", p.ElevatedTTL)
	refuse(p.ModuleTTL < time.Second || p.ModuleTTL > LongestModule, "module_ttl", "%s: must be between 1s and 24h", p.ModuleTTL)
	refuse(p.Binding != BindingOff && p.Binding != BindingSubnet && p.Binding != BindingDevice, "binding", "%q: must be off, subnet or device", p.Binding)
	refuse(!slices.Contains(token.AccessAlgorithms(), p.Signing), "signing", "%q: must be one of %v", p.Signing, token.AccessAlgorithms())
	for _, permission := range slices.Sorted(maps.Keys(p.StepUp)) {
		wrong := p.StepUp[permission].lint()
		refuse(permission == "", "step_up", "name a permission")
		refuse(wrong != "", "step_up", "%s: %s", permission, wrong)
	}
	advise(p.AccessTTL >= time.Second && p.AccessTTL <= time.Minute, "access_ttl", "%s: FOLIO's script clients log in before every call at 60s and below", p.AccessTTL)
	advise(p.Absolute > 24*24*time.Hour, "absolute", "%s: browsers' timers overflow at 24.8 days and the session would seem over at once", p.Absolute)
	advise(p.Grace == 0, "grace", "0s: FOLIO-exact, a lost answer or a second tab ends sessions")
	advise(p.Grace == 0 && (p.BoundGrace > 0 || p.BoundLateBudget > 0 || p.BoundKeep), "bound_grace", "with grace 0s nothing of bound_grace, bound_late_budget and bound_keep holds: FOLIO-exact is for all")
	advise(p.Strict && p.Grace > 0, "strict", "true: a delayed tab ends the session")
	return found
}

// The console's bounds are those of NIST SP 800-63B for the highest assurance:
// whoever holds such a session can end everybody else's.
const (
	consoleTTL      = 5 * time.Minute
	consoleIdle     = 15 * time.Minute
	consoleAbsolute = 12 * time.Hour
)

// console shortens a policy to what the console may have.
func (p Policy) console() Policy {
	p.AccessTTL, p.Idle, p.Absolute = min(p.AccessTTL, consoleTTL), min(p.Idle, consoleIdle), min(p.Absolute, consoleAbsolute)
	p.Jitter = 0
	return p
}
