package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/directory"
)

// registry is what the store knows of modules, arranged for requests. It is
// never changed once requests can see it.
type registry struct {
	modules   map[string]*module
	tenants   map[string]*tenantModules
	upstreams map[string]*upstream
	// timers are those that tenants have changed, by tenant and id.
	timers map[[2]string]directory.Timer
}

// module is a registered module.
type module struct {
	*ModuleDescriptor
	stored []byte // as it is in the store
}

// tenantModules is what one tenant uses.
type tenantModules struct {
	enabled []*ModuleDescriptor // by id
	table   *Table
}

// upstream is where a module answers.
type upstream struct {
	metrics   *productMetrics
	instances []*instance // by id
}

type instance struct {
	directory.Instance
	base *url.URL
}

// Reload reads modules, their instances and what tenants use from the store.
// On error everything stays as it was. It belongs into a listener for the
// changes of modules and tenants, so that a change is in effect before it is
// acknowledged.
func (g *Gateway) Reload(ctx context.Context) error {
	g.start()
	g.reloading.Lock() // what was read first must not be set last
	defer g.reloading.Unlock()
	modules, err := g.Store.Modules(ctx)
	if err != nil {
		return fmt.Errorf("read modules: %w", err)
	}
	enabled, err := g.Store.Enabled(ctx)
	if err != nil {
		return fmt.Errorf("read enabled modules: %w", err)
	}
	instances, err := g.Store.Instances(ctx)
	if err != nil {
		return fmt.Errorf("read instances of modules: %w", err)
	}
	timers, err := g.Store.Timers(ctx)
	if err != nil {
		return fmt.Errorf("read timers: %w", err)
	}
	before := g.registry.Load()
	if before == nil {
		before = &registry{}
	}
	after := &registry{upstreams: upstreams(instances, g.metrics)}
	after.timers = make(map[[2]string]directory.Timer, len(timers))
	for _, t := range timers {
		after.timers[[2]string{t.Tenant, t.ID}] = t
	}
	var faults []error
	if after.modules, err = parseModules(modules, before.modules); err != nil {
		faults = append(faults, err)
	}
	if after.tenants, err = after.arrange(enabled, before.tenants); err != nil {
		faults = append(faults, err)
	}
	// One module that cannot be used must not take the others with it.
	if err := errors.Join(faults...); err != nil {
		g.Log.ErrorContext(ctx, "modules left out, register them anew", "error", err)
	}
	g.registry.Store(after)
	select {
	case g.modulesChanged <- struct{}{}:
	default: // whoever looks will see this change, too
	}
	return nil
}

// parseModules parses what has changed.
func parseModules(stored []directory.Module, before map[string]*module) (map[string]*module, error) {
	var faults []error
	modules := make(map[string]*module, len(stored))
	for _, m := range stored {
		if old := before[m.ID]; old != nil && bytes.Equal(old.stored, m.Descriptor) {
			modules[m.ID] = old
			continue
		}
		d, err := ParseDescriptor(m.Descriptor)
		if err != nil {
			faults = append(faults, fmt.Errorf("module %s: %w", m.ID, err))
			continue
		}
		modules[m.ID] = &module{d, m.Descriptor}
	}
	return modules, errors.Join(faults...)
}

// arrange builds the tables of tenants whose modules have changed.
func (k *registry) arrange(enabled []directory.Enabled, before map[string]*tenantModules) (map[string]*tenantModules, error) {
	var faults []error
	uses := make(map[string][]*ModuleDescriptor)
	for _, e := range enabled {
		if m := k.modules[e.Module]; m != nil {
			uses[e.Tenant] = append(uses[e.Tenant], m.ModuleDescriptor)
		} else {
			faults = append(faults, fmt.Errorf("tenant %s uses module %s, which is not registered", e.Tenant, e.Module))
		}
	}
	tenants := make(map[string]*tenantModules, len(uses))
	for tenant, list := range uses {
		slices.SortFunc(list, func(a, b *ModuleDescriptor) int { return strings.Compare(a.ID, b.ID) })
		if old := before[tenant]; old != nil && slices.Equal(old.enabled, list) {
			tenants[tenant] = old
			continue
		}
		table, err := NewTable(tenant, list)
		if err != nil {
			faults = append(faults, fmt.Errorf("tenant %s: %w", tenant, err))
			continue
		}
		tenants[tenant] = &tenantModules{list, table}
	}
	return tenants, errors.Join(faults...)
}

func upstreams(instances []directory.Instance, m *metrics) map[string]*upstream {
	slices.SortFunc(instances, func(a, b directory.Instance) int { return strings.Compare(a.ID, b.ID) })
	all := make(map[string]*upstream)
	for _, i := range instances {
		base, err := instanceURL(i.URL)
		if err != nil {
			continue // refused when it was registered
		}
		up := all[i.Module]
		if up == nil {
			product, _ := splitModuleID(i.Module)
			up = &upstream{metrics: m.of(product)}
			all[i.Module] = up
		}
		up.instances = append(up.instances, &instance{i, base})
	}
	return all
}

// instanceURL reads the base URL of an instance. Requests bring path and query
// of their own, so it has neither.
func instanceURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, badRequest(fmt.Sprintf("Invalid url %q of a module, it must be like http://10.0.0.5:8081", cut(s)))
	}
	return u, nil
}

// route finds who serves a request. An unknown path is refused before any
// token is looked at.
func (k *registry) route(tenant, method, path, moduleID string) (*Route, error) {
	result := NoRoute
	if uses := k.tenants[tenant]; uses != nil {
		var route *Route
		if route, result = uses.table.Match(method, path, moduleID); result == Matched {
			return route, nil
		}
	}
	if result == MethodRefused || methodOf(method) == 0 {
		return nil, &Refusal{http.StatusMethodNotAllowed, "Method not allowed"}
	}
	return nil, noRoute
}

// noRoute is the same for everybody: it is said before any token is looked at.
var noRoute = notFound("No suitable module found for path and tenant")

// allow is what Allow tells of allowedMethods.
var allow = strings.Join(allowedMethods[:], ", ")

// instance draws one of the instances of a module.
func (k *registry) instance(moduleID string) (*upstream, *url.URL, error) {
	up := k.upstreams[moduleID]
	if up == nil {
		return nil, nil, &Refusal{http.StatusNotFound, "No running module instance found for " + moduleID}
	}
	return up, up.instances[rand.IntN(len(up.instances))].base, nil
}

// uses is the modules of a tenant, by id.
func (k *registry) uses(tenant string) []*ModuleDescriptor {
	if t := k.tenants[tenant]; t != nil {
		return t.enabled
	}
	return nil
}

// Routes are the routes to the modules that a tenant uses, with the id of each
// module: by module, as their descriptors list them.
func (g *Gateway) Routes(tenant string) iter.Seq2[string, *RoutingEntry] {
	return func(yield func(string, *RoutingEntry) bool) {
		for _, m := range g.registry.Load().uses(tenant) {
			for i := range m.Provides {
				if m.Provides[i].isSystem() {
					continue
				}
				for n := range m.Provides[i].Handlers {
					if !yield(m.ID, &m.Provides[i].Handlers[n]) {
						return
					}
				}
			}
		}
	}
}
