package admin

import (
	"context"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

func (h *Handler) listTenants(w http.ResponseWriter, r *http.Request) error {
	list, err := h.Store.Tenants(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"tenants": list})
}

func (h *Handler) createTenant(w http.ResponseWriter, r *http.Request) error {
	var t directory.Tenant
	if err := read(r, &t); err != nil {
		return err
	}
	if err := directory.ValidTenantID(t.ID); err != nil {
		return err
	}
	if err := h.Store.CreateTenant(r.Context(), t, event(r, audit.TenantCreated, t.ID, "")); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, t)
}

func (h *Handler) deleteTenant(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("tenant")
	if id == directory.SuperTenant {
		return &problem{http.StatusUnprocessableEntity, "invalid", "the supertenant owns the gateway itself and stays"}
	}
	if err := h.Store.DeleteTenant(r.Context(), id, event(r, audit.TenantDeleted, id, "")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// endTenant ends every session of a tenant by moving its epoch: one write,
// however many sessions there are.
func (h *Handler) endTenant(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	return h.ending(w, r, func(ctx context.Context) (int, error) {
		return h.Sessions.EndUser(ctx, session.Scope{Tenant: tenant}, session.TenantEnded, audit.TenantEnded)
	})
}

func (h *Handler) knownTenant(id string) error {
	if _, known := h.Directory.Tenant(id); !known {
		return &problem{http.StatusNotFound, "not_found", "there is no such tenant"}
	}
	return nil
}

func (h *Handler) listPermissions(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	list, err := h.Store.PermissionSets(r.Context(), tenant)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"permissions": list})
}

func (h *Handler) savePermission(w http.ResponseWriter, r *http.Request) error {
	tenant, set := r.PathValue("tenant"), directory.PermissionSet{}
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	if err := read(r, &set); err != nil {
		return err
	}
	set.Name, set.Module = r.PathValue("name"), ""
	for _, name := range append([]string{set.Name}, set.Sub...) {
		if err := directory.ValidPermission(name); err != nil {
			return err
		}
	}
	existing, err := h.Store.PermissionSets(r.Context(), tenant)
	if err != nil {
		return err
	}
	definitions := make(map[string]directory.PermissionSet, len(existing))
	for _, one := range existing {
		definitions[one.Name] = one
	}
	if old, known := definitions[set.Name]; known && old.Module != "" {
		return &problem{http.StatusConflict, "exists", "this permission belongs to module " + old.Module}
	}
	if err := directory.CheckCycles(definitions, set); err != nil {
		return err
	}
	if err := h.Store.SavePermissionSet(r.Context(), tenant, set, event(r, audit.PermissionChanged, tenant, "")); err != nil {
		return err
	}
	return answer(w, http.StatusOK, set)
}

func (h *Handler) deletePermission(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	if err := h.Store.DeletePermissionSet(r.Context(), tenant, r.PathValue("name"), event(r, audit.PermissionChanged, tenant, "")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
