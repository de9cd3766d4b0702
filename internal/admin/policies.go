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
	return answer(w, http.StatusOK, map[string]any{"policy": policy.Patch(), "findings": found})
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
	return answer(w, http.StatusOK, map[string]any{"policy": policy.Patch(), "findings": policy.Lint()})
}
