package gateway

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"regexp"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// olderTenantIDs are ids that an Okapi may have given before its rule became
// stricter.
var olderTenantIDs = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$`)

// Tenants serves the interface _tenant 2.0, by which an Okapi tells that a
// tenant uses us. Enabling makes the tenant known, and purging deletes it with
// all that is its own and ends its sessions. Disabling alone changes nothing,
// so that a change of versions logs nobody out.
//
// Okapi asks for the job of the first call until it is complete, and each time
// it may ask another node. So the work is done when the call is answered, and
// a job is nothing but its id, which tells the tenant that it was for.
func (f *Filter) Tenants(mux *http.ServeMux) {
	l := f.listener()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request, string) error{
		"POST " + tenantPath:          l.tellTenant,
		"GET " + tenantPath + "/{id}": getTenantJob,
		"DELETE " + tenantPath + "/{id}": func(w http.ResponseWriter, r *http.Request, tenant string) error {
			if err := checkJob(r, tenant); err != nil {
				return err
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			claim, _, err := l.read(r, r.URL.EscapedPath())
			if err == nil {
				err = serve(w, r, claim.Tenant)
			}
			if err != nil {
				l.gateway.refuse(w, r, err)
			}
		})
	}
}

// tellTenant is POST /_/tenant.
func (l *listener) tellTenant(w http.ResponseWriter, r *http.Request, tenant string) error {
	g := l.gateway
	if !olderTenantIDs.MatchString(tenant) {
		return badRequest("Invalid tenant id")
	}
	text, err := readBody(r, maxBody)
	if err != nil {
		return err
	}
	var told tenantAttributes
	// Members that a newer Okapi may add are not looked at.
	if err := json.Unmarshal(text, &told); err != nil {
		return badRequest("Invalid JSON: a tenant operation is an object with module_to, module_from, purge, parameters")
	}
	ctx := r.Context()
	switch {
	case told.Purge != nil && *told.Purge:
		if tenant == directory.SuperTenant {
			return badRequest("The supertenant cannot be purged. End its sessions with: counterfoil tenant end-sessions supertenant")
		}
		err := g.Store.DeleteTenant(ctx, tenant, event(ctx, audit.TenantDeleted, tenant, "purged by Okapi", told.ModuleFrom))
		if err != nil && !errors.Is(err, directory.ErrNotFound) {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case told.ModuleTo == "":
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if _, known := g.Directory.Tenant(tenant); !known {
		err := g.Store.CreateTenant(ctx, directory.Tenant{ID: tenant}, event(ctx, audit.TenantCreated, tenant, "enabled by Okapi", told.ModuleTo))
		if err != nil && !errors.Is(err, directory.ErrExists) {
			return err
		}
	}
	id := newJob(tenant)
	w.Header().Set("Location", tenantPath+"/"+id)
	return writeJob(w, http.StatusCreated, id, tenant)
}

func getTenantJob(w http.ResponseWriter, r *http.Request, tenant string) error {
	if err := checkJob(r, tenant); err != nil {
		return err
	}
	return writeJob(w, http.StatusOK, r.PathValue("id"), tenant)
}

func writeJob(w http.ResponseWriter, status int, id, tenant string) error {
	body, err := json.Marshal(struct {
		ID       string `json:"id"`
		Tenant   string `json:"tenant"`
		Complete bool   `json:"complete"`
	}{id, tenant, true})
	if err == nil {
		writeJSON(w, status, body)
	}
	return err
}

// newJob draws the id of a job. Its second half follows from the first and the
// tenant. That proves nothing and need not: a job says only that it is done.
func newJob(tenant string) string {
	var id uuid.UUID
	_, _ = rand.Read(id[:8])
	copy(id[8:], jobCheck(id, tenant))
	return id.String()
}

func jobCheck(id uuid.UUID, tenant string) []byte {
	sum := sha256.Sum256(append(id[:8:8], tenant...))
	return sum[:8]
}

func checkJob(r *http.Request, tenant string) error {
	text := r.PathValue("id")
	id, err := uuid.Parse(text)
	if err != nil || subtle.ConstantTimeCompare(id[8:], jobCheck(id, tenant)) != 1 {
		return &Refusal{http.StatusNotFound, "Not found: " + cut(text)}
	}
	return nil
}
