package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

const permissionsInterface = "_tenantPermissions"

// announcement is the body of a call to the _tenantPermissions interface.
type announcement struct {
	ModuleID string          `json:"moduleId"`
	Perms    []PermissionSet `json:"perms"`
	Replaces []string        `json:"replaces,omitzero"`
}

// permissionsModule is the module that a tenant keeps its permissions in beside
// the gateway's own directory, nil for none.
func permissionsModule(uses []*ModuleDescriptor) *ModuleDescriptor {
	n := slices.IndexFunc(uses, func(d *ModuleDescriptor) bool { return d.provided(permissionsInterface) != nil })
	if n < 0 {
		return nil
	}
	return uses[n]
}

// provided is one of the interfaces that a module provides, nil if it does not.
func (d *ModuleDescriptor) provided(id string) *InterfaceDescriptor {
	if d == nil {
		return nil
	}
	n := slices.IndexFunc(d.Provides, func(i InterfaceDescriptor) bool { return i.ID == id })
	if n < 0 {
		return nil
	}
	return &d.Provides[n]
}

// announceBefore tells the tenant's permissions module what a change brings, or
// takes away, before the module itself hears of it: its first calls may need
// the permissions already.
func (g *Gateway) announceBefore(ctx context.Context, tenant string, from, to *ModuleDescriptor) error {
	keeper := permissionsModule(g.registry.Load().uses(tenant))
	if keeper == nil || keeper == from || to.provided(permissionsInterface) != nil {
		return nil
	}
	if to == nil {
		return g.announce(ctx, tenant, keeper, from, true)
	}
	return g.announce(ctx, tenant, keeper, to, false)
}

// announceAfter tells a permissions module that was just prepared its own
// permissions and, if the tenant had none before, those of all other modules.
func (g *Gateway) announceAfter(ctx context.Context, tenant string, from, to *ModuleDescriptor) error {
	if to.provided(permissionsInterface) == nil {
		return nil
	}
	if err := g.announce(ctx, tenant, to, to, false); err != nil {
		return err
	}
	uses := g.registry.Load().uses(tenant)
	if from.provided(permissionsInterface) != nil || permissionsModule(uses) != nil {
		return nil
	}
	for _, m := range uses {
		if m == to || m == from {
			continue
		}
		if err := g.announce(ctx, tenant, to, m, false); err != nil {
			return err
		}
	}
	return nil
}

// announce tells keeper the permissions of m, or that there are none any more.
func (g *Gateway) announce(ctx context.Context, tenant string, keeper, m *ModuleDescriptor, gone bool) error {
	i := keeper.provided(permissionsInterface)
	body := announcement{ModuleID: m.ID, Perms: []PermissionSet{}}
	switch i.Version {
	case "1.0", "1.1":
		if gone {
			return nil
		}
		for _, set := range m.PermissionSets {
			set.Replaces = nil
			body.Perms = append(body.Perms, set)
		}
		if i.Version == "1.1" {
			body.Perms = append(body.Perms, m.systemSets()...)
		}
	case "2.0", "2.1":
		if !gone {
			body.Perms = append(append(body.Perms, m.PermissionSets...), m.systemSets()...)
		}
		if i.Version == "2.1" && !gone {
			body.Replaces = m.Replaces
		}
	default:
		return badRequest("Unsupported interface " + permissionsInterface + ": " + i.Version)
	}
	for h := range i.Handlers {
		if e := &i.Handlers[h]; methodsOf(e.Methods)&methodOf(http.MethodPost) != 0 {
			call := systemCall{gateway: g, tenant: tenant, module: keeper}
			_, err := call.do(ctx, e, http.MethodPost, e.path(), body)
			return err
		}
	}
	return badRequest("No POST method for interface " + permissionsInterface + " of module " + keeper.ID)
}

// systemSets are the sets by whose names Okapi lends permissions to modules.
// The gateway lends the permissions themselves; a permissions module keeps the
// sets for the day on which an Okapi stands here again.
func (d *ModuleDescriptor) systemSets() []PermissionSet {
	var sets []PermissionSet
	hidden := false
	add := func(entries []RoutingEntry) {
		for _, e := range entries {
			if len(e.ModulePermissions) == 0 {
				continue
			}
			name := "SYS#" + d.ID + "#" + e.path() + "#[" + strings.Join(e.Methods, ", ") + "]"
			sets = append(sets, PermissionSet{
				PermissionName: name, DisplayName: "System generated: " + name, Description: "System generated permission set",
				SubPermissions: e.ModulePermissions, Visible: &hidden,
			})
		}
	}
	for _, i := range d.Provides {
		add(i.Handlers)
	}
	add(d.Filters)
	return sets
}
