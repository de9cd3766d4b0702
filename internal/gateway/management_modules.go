package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

func (g *Gateway) postModule(r *http.Request) (reply, error) {
	body, err := readBody(r, maxBody)
	if err != nil {
		return reply{}, err
	}
	d, err := ParseDescriptor(body)
	if err != nil {
		return reply{}, err
	}
	check, err := flag(r.URL.Query(), "check", true)
	if err != nil {
		return reply{}, err
	}
	if err := g.Register(r.Context(), check, d); err != nil {
		return reply{}, err
	}
	return created(d, "proxy", "modules", d.ID), nil
}

func (g *Gateway) importModules(r *http.Request) (reply, error) {
	var list []jsontext.Value
	if err := decode(r, maxImport, &list); err != nil {
		return reply{}, err
	}
	check, err := flag(r.URL.Query(), "check", true)
	if err != nil {
		return reply{}, err
	}
	descriptors := make([]*ModuleDescriptor, len(list))
	for i, text := range list {
		if descriptors[i], err = ParseDescriptor(text); err != nil {
			return reply{}, err
		}
	}
	return reply{}, g.Register(r.Context(), check, descriptors...)
}

// Register makes modules known. One that is known already with the same
// content is left alone, with other content it is refused, because tenants may
// use it. With check, what the modules require must be there or among them.
func (g *Gateway) Register(ctx context.Context, check bool, descriptors ...*ModuleDescriptor) error {
	unlock, err := g.exclusive(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	known := g.registry.Load()
	var added []*ModuleDescriptor
	for _, d := range descriptors {
		old := known.modules[d.ID]
		switch {
		case old == nil:
			added = append(added, d)
		case !sameDescriptor(old.ModuleDescriptor, d):
			return badRequest(fmt.Sprintf("create: module %s already exists", d.ID))
		}
	}
	if check {
		if err := known.checkAdded(added); err != nil {
			return err
		}
	}
	return g.saveModules(ctx, added)
}

func (g *Gateway) saveModules(ctx context.Context, descriptors []*ModuleDescriptor) error {
	if len(descriptors) == 0 {
		return nil
	}
	modules := make([]directory.Module, len(descriptors))
	for i, d := range descriptors {
		text, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("module %s: %w", d.ID, err)
		}
		for _, set := range permissionSets(d) {
			if err := directory.ValidPermission(set.Name); err != nil {
				return fmt.Errorf("module %s: %w", d.ID, err)
			}
		}
		modules[i] = directory.Module{ID: d.ID, Descriptor: text}
	}
	return g.Store.SaveModules(ctx, event(ctx, audit.ModuleChanged, "", "modules registered", modules[0].ID), modules...)
}

// checkAdded tells what added modules lack. Faults that were there before are
// none of theirs.
func (k *registry) checkAdded(added []*ModuleDescriptor) error {
	before := CheckAvailable(k.descriptors())
	faults := slices.DeleteFunc(CheckAvailable(append(k.descriptors(), added...)), func(fault string) bool {
		return slices.Contains(before, fault)
	})
	if len(faults) > 0 {
		return badRequest(strings.Join(faults, ". "))
	}
	return nil
}

// descriptors lists all modules by product and version.
func (k *registry) descriptors() []*ModuleDescriptor {
	list := make([]*ModuleDescriptor, 0, len(k.modules))
	for _, m := range k.modules {
		list = append(list, m.ModuleDescriptor)
	}
	slices.SortFunc(list, byModuleID)
	return list
}

func byModuleID(a, b *ModuleDescriptor) int { return CompareModuleIDs(a.ID, b.ID) }

func sameDescriptor(a, b *ModuleDescriptor) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func (g *Gateway) listModules(r *http.Request) (reply, error) {
	list, full, err := selectModules(g.registry.Load().descriptors(), r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	if !full {
		for i, d := range list {
			list[i] = &ModuleDescriptor{ID: d.ID, Name: d.Name}
		}
	}
	return reply{body: list}, nil
}

func (g *Gateway) getModule(r *http.Request) (reply, error) {
	m := g.registry.Load().modules[r.PathValue("module")]
	if m == nil {
		return reply{}, notFound(r.PathValue("module"))
	}
	return reply{body: m.ModuleDescriptor}, nil
}

func (g *Gateway) deleteModule(r *http.Request) (reply, error) {
	unlock, err := g.exclusive(r.Context())
	if err != nil {
		return reply{}, err
	}
	defer unlock()
	id, known := r.PathValue("module"), g.registry.Load()
	if known.modules[id] == nil {
		return reply{}, notFound(fmt.Sprintf("delete: module %s does not exist", id))
	}
	for tenant, uses := range known.tenants {
		if slices.ContainsFunc(uses.enabled, func(d *ModuleDescriptor) bool { return d.ID == id }) {
			return reply{}, badRequest(fmt.Sprintf("delete: module %s is used by tenant %s", id, tenant))
		}
	}
	return reply{}, g.Store.DeleteModule(r.Context(), id, event(r.Context(), audit.ModuleChanged, "", "module deleted", id))
}

// selectModules applies Okapi's query parameters to a list of modules; full
// says that all of each is wanted.
func selectModules(list []*ModuleDescriptor, q url.Values) (selected []*ModuleDescriptor, full bool, err error) {
	for _, name := range []string{"dot", "scope"} {
		if q.Has(name) {
			return nil, false, badRequest("Parameter " + name + " is not supported")
		}
	}
	if full, err = flag(q, "full", false); err != nil {
		return nil, false, err
	}
	released, err := releases(q)
	if err != nil {
		return nil, false, err
	}
	selected = slices.DeleteFunc(list, func(d *ModuleDescriptor) bool {
		return !hasPrefixID(d.ID, q.Get("filter")) || !released(d.Version()) ||
			!names(q.Get("provide"), d.Provides) ||
			!names(q.Get("require"), d.Requires) && !names(q.Get("require"), d.Optional)
	})
	if q.Has("latest") {
		n, err := strconv.Atoi(q.Get("latest"))
		if err != nil || n < 1 {
			return nil, false, badRequest("Bad format for parameter latest. Want a number of 1 or more")
		}
		selected = latest(selected, n)
	}
	return selected, full, orderModules(selected, q)
}

func orderModules(list []*ModuleDescriptor, q url.Values) error {
	slices.SortFunc(list, byModuleID)
	if by := q.Get("orderBy"); by != "" && by != "id" {
		return badRequest("unknown orderBy field: " + cut(by))
	}
	switch order := q.Get("order"); {
	case q.Get("orderBy") == "":
	case order == "" || order == "desc":
		slices.Reverse(list)
	case order != "asc":
		return badRequest("invalid order value: " + cut(order))
	}
	return nil
}

// latest keeps the n newest of each product.
func latest(list []*ModuleDescriptor, n int) []*ModuleDescriptor {
	slices.SortFunc(list, byModuleID)
	slices.Reverse(list)
	seen := make(map[string]int)
	return slices.DeleteFunc(list, func(d *ModuleDescriptor) bool {
		seen[d.Product()]++
		return seen[d.Product()] > n
	})
}

// hasPrefixID is whether an id is of the product, or begins with the product
// and version, that filter names.
func hasPrefixID(id, filter string) bool {
	rest, ok := strings.CutPrefix(id, filter)
	if !ok || filter == "" {
		return ok
	}
	if _, version := splitModuleID(filter); version == "" {
		product, _ := splitModuleID(id)
		return product == filter
	}
	return rest == "" || rest[0] == '.' || rest[0] == '-' || rest[0] == '+'
}

// names is whether one of the interfaces is in a list such as "users=15.0,login".
func names(list string, interfaces []InterfaceDescriptor) bool {
	if list == "" {
		return true
	}
	for want := range strings.SplitSeq(list, ",") {
		id, version, exact := strings.Cut(want, "=")
		if slices.ContainsFunc(interfaces, func(i InterfaceDescriptor) bool {
			return i.ID == id && (!exact || i.Version == version)
		}) {
			return true
		}
	}
	return false
}

// releases reads preRelease and npmSnapshot, each true (the default), false or
// only.
func releases(q url.Values) (func(Version) bool, error) {
	pre, npm := cmp.Or(q.Get("preRelease"), "true"), cmp.Or(q.Get("npmSnapshot"), "true")
	for _, value := range []string{pre, npm} {
		if value != "true" && value != "false" && value != "only" {
			return nil, badRequest("preRelease and npmSnapshot must be true, false or only, not " + cut(value))
		}
	}
	return func(v Version) bool {
		switch {
		case len(v.pre) > 0:
			return pre != "false"
		case len(v.numbers) == 3 && v.numbers[2] >= 10_000: // how FOLIO numbers snapshots of its user interface
			return npm != "false"
		}
		return pre != "only" && npm != "only"
	}, nil
}

// event is what the store writes beside a change of modules.
func event(ctx context.Context, kind audit.Kind, tenant, reason, module string) audit.Event {
	e := audit.Event{Kind: kind, Tenant: tenant, Actor: *audit.ActorFrom(ctx), Reason: reason}
	if module != "" {
		e.Detail = map[string]string{"module": module}
	}
	return e
}

// exclusive waits until no other change of modules is under way. Between
// looking at what there is and changing it there may be minutes, while a
// module initialises a tenant.
func (g *Gateway) exclusive(ctx context.Context) (unlock func(), err error) {
	select {
	case g.managing <- struct{}{}:
		return func() { <-g.managing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
