package admin

import (
	"net/http"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

func (h *Handler) listPolicies(w http.ResponseWriter, r *http.Request) error {
	list, err := h.Store.Policies(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"policies": list})
}

// savePolicy replaces an override; an empty policy removes it. What the linter
// would not want is told, and refused where it is unsafe.
func (h *Handler) savePolicy(w http.ResponseWriter, r *http.Request) error {
	var o session.PolicyOverride
	if err := read(r, &o); err != nil {
		return err
	}
	if err := h.knownTenant(o.Tenant); err != nil {
		return err
	}
	found, err := h.Sessions.Policies.Check(o)
	if err != nil {
		return err
	}
	if err := h.Store.SavePolicy(r.Context(), o, event(r, audit.PolicyChanged, o.Tenant, "")); err != nil {
		return err
	}
	policy := h.Sessions.Policies.For(o.Tenant, nameOf(o, "client"), nameOf(o, "user"))
	return answer(w, http.StatusOK, map[string]any{"policy": full(policy), "findings": found})
}

func nameOf(o session.PolicyOverride, scope string) string {
	if o.Scope == scope {
		return o.Name
	}
	return ""
}

func (h *Handler) showPolicy(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if err := h.knownTenant(q.Get("tenant")); err != nil {
		return err
	}
	policy := h.Sessions.Policies.For(q.Get("tenant"), q.Get("client"), q.Get("userId"))
	return answer(w, http.StatusOK, map[string]any{"policy": full(policy), "findings": policy.Lint()})
}

// full writes a policy with every field, in the words of an override.
func full(p session.Policy) session.PolicyPatch {
	access, idle, absolute := session.Duration(p.AccessTTL), session.Duration(p.Idle), session.Duration(p.Absolute)
	grace, elevated, module := session.Duration(p.Grace), session.Duration(p.ElevatedTTL), session.Duration(p.ModuleTTL)
	return session.PolicyPatch{
		AccessTTL: &access, Jitter: &p.Jitter, Idle: &idle, Absolute: &absolute, Grace: &grace,
		LateBudget: &p.LateBudget, Strict: &p.Strict, EndUser: &p.EndUser, Binding: &p.Binding,
		SessionsPerUser: &p.SessionsPerUser, ElevatedTTL: &elevated, ModuleTTL: &module, Signing: &p.Signing, StepUp: &p.StepUp,
	}
}
