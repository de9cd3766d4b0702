package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// ACRElevated is what a policy names to ask for raised scope.
const ACRElevated = token.ACRElevated

// StepUp is what it takes to use a permission, beside having it.
type StepUp struct {
	// ACR is ACRElevated, or empty if a login will do.
	ACR string `json:"acr,omitzero" yaml:"acr"`
	// MaxAge is how long ago the password may have been given; 0 is no limit.
	MaxAge Duration `json:"max_age,omitzero" yaml:"max_age"`
}

// StepUps are the permissions that need a fresh or a stronger proof of who
// calls, by the names that routes require.
type StepUps map[string]StepUp

// String is for the list of settings.
func (s StepUps) String() string {
	if len(s) == 0 {
		return "{}"
	}
	return fmt.Sprint(map[string]StepUp(s))
}

// Met is whether a token is proof enough for a permission. named is whether it
// is raised scope that names this permission: what a password was given for is
// no proof for anything else, however fresh.
func (s StepUp) Met(c *token.Claims, named bool, now time.Time) bool {
	if c.AuthTime.IsZero() {
		return false
	}
	if c.Kind == token.KindElevated && !named || s.ACR != "" && c.Kind != token.KindElevated {
		return false
	}
	return s.MaxAge == 0 || !now.Truncate(time.Second).After(c.AuthTime.Add(s.MaxAge.Std()))
}

// EndOthers is what a policy names in step_up to have users prove anew who they
// are before they end others of their own sessions. It is no permission: all
// users may, and get raised scope for it.
const EndOthers = "counterfoil.own-sessions.delete"

// ToEndOthers is the proof that a caller must give before ending other sessions
// of his own; asked is false where the token is proof enough.
func (s *Service) ToEndOthers(c *token.Claims) (step StepUp, asked bool) {
	step, asked = s.Policies.StepUps(c.Tenant, c.ClientID, c.UserID)[EndOthers]
	return step, asked && !step.Met(c, slices.Contains(c.Permissions, EndOthers), s.Now())
}

// Prove is that a caller knows his password. It fails as Login does.
func (s *Service) Prove(ctx context.Context, c *Caller, password string) error {
	_, err := s.prove(ctx, c.Claims.Tenant, "", c.Claims.UserID, password)
	return err
}

// StepUps are those of one session. They are asked for on every request, and
// most installations have none.
func (p *Policies) StepUps(tenant, client, userID string) StepUps {
	if state := p.state.Load(); state != nil && !state.stepUps {
		return nil
	}
	return p.For(tenant, client, userID).StepUp
}

func (p *Policies) haveStepUps(overrides map[policyKey]PolicyPatch) bool {
	base := p.base()
	if len(base.standard.StepUp) > 0 {
		return true
	}
	for _, patch := range base.tenants {
		if patch.StepUp != nil {
			return true
		}
	}
	for _, patch := range overrides {
		if patch.StepUp != nil {
			return true
		}
	}
	return false
}

// lint says what is wrong with a requirement, or "".
func (s StepUp) lint() string {
	switch {
	case s.ACR != "" && s.ACR != ACRElevated:
		return "acr must be " + ACRElevated + " or absent"
	case s.MaxAge != 0 && s.MaxAge.Std() < time.Second:
		return "max_age must be a second at least"
	case s.ACR == "" && s.MaxAge == 0:
		return "set max_age, acr or both"
	}
	return ""
}
