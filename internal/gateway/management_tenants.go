package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

func (g *Gateway) postTenant(r *http.Request) (reply, error) {
	var t TenantDescriptor
	if err := decode(r, maxBody, &t); err != nil {
		return reply{}, err
	}
	if t.ID == "" {
		t.ID = ("t" + strings.ReplaceAll(uuid.NewString(), "-", ""))[:31]
	}
	if err := g.createTenant(r.Context(), t); err != nil {
		return reply{}, err
	}
	return created(t, "proxy", "tenants", t.ID), nil
}

func (g *Gateway) createTenant(ctx context.Context, t TenantDescriptor) error {
	if err := CheckTenantID(t.ID); err != nil {
		return err
	}
	err := g.Store.CreateTenant(ctx, t.tenant(), event(ctx, audit.TenantCreated, t.ID, "", ""))
	if errors.Is(err, directory.ErrExists) {
		return badRequest("Duplicate tenant id " + t.ID)
	}
	return err
}

func (t TenantDescriptor) tenant() directory.Tenant {
	return directory.Tenant{ID: t.ID, Name: t.Name, Description: t.Description}
}

func describe(t directory.Tenant) TenantDescriptor {
	return TenantDescriptor{ID: t.ID, Name: t.Name, Description: t.Description}
}

func (g *Gateway) listTenants(r *http.Request) (reply, error) {
	tenants, err := g.Directory.Source.Tenants(r.Context())
	if err != nil {
		return reply{}, err
	}
	list := make([]TenantDescriptor, len(tenants))
	for i, t := range tenants {
		list[i] = describe(t)
	}
	slices.SortFunc(list, func(a, b TenantDescriptor) int { return strings.Compare(a.ID, b.ID) })
	return reply{body: list}, nil
}

// tenant is the tenant in the path of a request.
func (g *Gateway) tenant(r *http.Request) (directory.Tenant, error) {
	id := r.PathValue("tenant")
	t, ok := g.Directory.Tenant(id)
	if !ok {
		return t, notFound(cut(id))
	}
	return t, nil
}

func (g *Gateway) getTenant(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	return reply{body: describe(t)}, err
}

// putTenant also creates, as Okapi's does.
func (g *Gateway) putTenant(r *http.Request) (reply, error) {
	var t TenantDescriptor
	if err := decode(r, maxBody, &t); err != nil {
		return reply{}, err
	}
	if id := r.PathValue("tenant"); t.ID != id {
		return reply{}, badRequest(fmt.Sprintf("The tenant id must not be changed, old='%s', new='%s'", cut(id), cut(t.ID)))
	}
	err := g.Store.UpdateTenant(r.Context(), t.tenant(), event(r.Context(), audit.TenantChanged, t.ID, "", ""))
	if errors.Is(err, directory.ErrNotFound) {
		err = g.createTenant(r.Context(), t)
	}
	return reply{body: t}, err
}

func (g *Gateway) deleteTenant(r *http.Request) (reply, error) {
	unlock, err := g.exclusive(r.Context())
	if err != nil {
		return reply{}, err
	}
	defer unlock()
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	if t.ID == directory.SuperTenant {
		return reply{}, badRequest("Can not delete the superTenant " + t.ID)
	}
	return reply{}, g.Store.DeleteTenant(r.Context(), t.ID, event(r.Context(), audit.TenantDeleted, t.ID, "", ""))
}

func (g *Gateway) listEnabled(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	list, full, err := selectModules(slices.Clone(g.registry.Load().uses(t.ID)), r.URL.Query())
	if err != nil || full {
		return reply{body: list}, err
	}
	return reply{body: idsOf(list)}, nil
}

func idsOf(list []*ModuleDescriptor) []TenantModule {
	ids := make([]TenantModule, len(list))
	for i, d := range list {
		ids[i].ID = d.ID
	}
	return ids
}

func (g *Gateway) getEnabled(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	d, err := g.registry.Load().used(t.ID, r.PathValue("module"))
	if err != nil {
		return reply{}, err
	}
	return reply{body: TenantModule{d.ID}}, nil
}

// used is a module that a tenant uses.
func (k *registry) used(tenant, module string) (*ModuleDescriptor, error) {
	for _, d := range k.uses(tenant) {
		if d.ID == module {
			return d, nil
		}
	}
	return nil, notFound(cut(module))
}

func (g *Gateway) listInterfaces(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	q := r.URL.Query()
	full, err := flag(q, "full", false)
	if err != nil {
		return reply{}, err
	}
	list := []InterfaceDescriptor{}
	for _, d := range g.registry.Load().uses(t.ID) {
		for _, i := range d.Provides {
			seen := slices.ContainsFunc(list, func(other InterfaceDescriptor) bool { return other.ID == i.ID })
			switch {
			case !i.is(q.Get("type")):
			case full:
				list = append(list, i)
			case !seen:
				list = append(list, InterfaceDescriptor{ID: i.ID, Version: i.Version})
			}
		}
	}
	return reply{body: list}, nil
}

// getInterface tells which modules of a tenant provide an interface. It is how
// a caller finds the values of X-Okapi-Module-Id.
func (g *Gateway) getInterface(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	id, kind := r.PathValue("interface"), r.URL.Query().Get("type")
	providers := slices.DeleteFunc(slices.Clone(g.registry.Load().uses(t.ID)), func(d *ModuleDescriptor) bool {
		return !slices.ContainsFunc(d.Provides, func(i InterfaceDescriptor) bool { return i.ID == id && i.is(kind) })
	})
	return reply{body: idsOf(providers)}, nil
}

// is compares an interface's type, of which proxy is the default; "" is any.
func (i *InterfaceDescriptor) is(kind string) bool {
	return kind == "" || kind == cmp.Or(i.InterfaceType, InterfaceProxy)
}
