package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// InstallOptions are Okapi's query parameters for installing, enabling and
// disabling. The zero value is the default of each.
type InstallOptions struct {
	// Simulate only says what would be done.
	Simulate bool
	// NoDependencies enables and disables without a look at dependencies.
	NoDependencies bool
	// Purge makes modules delete a tenant's data: when they are disabled, or
	// before they start afresh.
	Purge bool
	// IgnoreErrors goes on with the next module and tells errors in messages.
	IgnoreErrors bool
	// Reinstall initialises modules again that are enabled already.
	Reinstall bool
	// Invoke selects the modules whose _tenant interface is called; nil is all.
	Invoke func(moduleID string) bool
	// Parameters go to the _tenant interface.
	Parameters []tenantParameter

	released func(Version) bool // nil is any version
}

func installOptions(q url.Values) (*InstallOptions, error) {
	o := &InstallOptions{}
	check, async, deploy := true, false, false
	for _, p := range []struct {
		name     string
		value    *bool
		standard bool
	}{
		{"simulate", &o.Simulate, false},
		{"depCheck", &check, true},
		{"purge", &o.Purge, false},
		{"ignoreErrors", &o.IgnoreErrors, false},
		{"reinstall", &o.Reinstall, false},
		{"async", &async, false},
		{"deploy", &deploy, false},
	} {
		var err error
		if *p.value, err = flag(q, p.name, p.standard); err != nil {
			return nil, err
		}
	}
	o.NoDependencies = !check
	switch {
	case deploy:
		return nil, &Refusal{http.StatusNotImplemented, "deploy is not supported: the gateway starts no modules. Register instances at /_/discovery/modules"}
	case async:
		return nil, &Refusal{http.StatusNotImplemented, "async is not supported: the answer comes when all is done"}
	}
	if parallel := q.Get("parallel"); parallel != "" {
		n, err := strconv.Atoi(parallel)
		if err != nil {
			return nil, badRequest("Bad integer for parameter 'parallel'")
		}
		if n > 1 && o.NoDependencies {
			return nil, badRequest("Install Option parallel can not be greater than 1 when Install Option depCheck is false")
		}
	}
	if parameters := q.Get("tenantParameters"); parameters != "" {
		for pair := range strings.SplitSeq(parameters, ",") {
			key, value, _ := strings.Cut(pair, "=")
			o.Parameters = append(o.Parameters, tenantParameter{key, value})
		}
	}
	var err error
	if o.Invoke, err = invokes(q.Get("invoke")); err != nil {
		return nil, err
	}
	o.released, err = releases(q)
	return o, err
}

func invokes(value string) (func(string) bool, error) {
	switch value {
	case "", "true":
		return nil, nil
	case "false":
		return func(string) bool { return false }, nil
	}
	pattern, err := regexp.Compile("^(?:" + value + ")$")
	if err != nil || len(value) > 1000 {
		return nil, badRequest("invoke must be true, false or a regular expression of at most 1000 bytes")
	}
	return pattern.MatchString, nil
}

func (g *Gateway) postInstall(r *http.Request) (reply, error) {
	o, err := installOptions(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	var asked []InstallEntry
	if err := decode(r, maxBody, &asked); err != nil {
		return reply{}, err
	}
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	steps, err := g.Install(r.Context(), t.ID, asked, o)
	return reply{body: steps}, err
}

// Install enables and disables modules for a tenant, with what that takes
// besides, and returns all steps in the order in which they were done. At the
// first error it stops; the steps before stand.
func (g *Gateway) Install(ctx context.Context, tenant string, asked []InstallEntry, o *InstallOptions) ([]InstallEntry, error) {
	unlock, err := g.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	known := g.registry.Load()
	available := known.descriptors()
	if o.released != nil {
		available = slices.DeleteFunc(available, func(d *ModuleDescriptor) bool { return !o.released(d.Version()) })
	}
	steps, err := installPlan(available, known.uses(tenant), asked, o.Reinstall, !o.NoDependencies)
	if err != nil || o.Simulate {
		return steps, err
	}
	for i := range steps {
		step := &steps[i]
		var from, to *ModuleDescriptor
		switch step.Action {
		case "enable":
			to = known.modules[step.ID].ModuleDescriptor
			if m := known.modules[step.From]; m != nil {
				from = m.ModuleDescriptor
			}
		case "disable":
			from = known.modules[step.ID].ModuleDescriptor
		default:
			continue
		}
		if err := g.change(ctx, tenant, from, to, o); err != nil {
			if !o.IgnoreErrors {
				return nil, err
			}
			step.Message = okapiError(err).Error()
		}
	}
	return steps, nil
}

// change makes a tenant use one module instead of another, nil for none.
func (g *Gateway) change(ctx context.Context, tenant string, from, to *ModuleDescriptor, o *InstallOptions) error {
	m, replaced := to, ""
	if m == nil {
		m = from
	} else if from != nil {
		replaced = from.ID
	}
	if o.Invoke == nil || o.Invoke(m.ID) {
		if err := g.announceBefore(ctx, tenant, from, to); err != nil {
			return err
		}
		if err := g.tellModule(ctx, tenant, from, to, o); err != nil {
			return err
		}
		if err := g.announceAfter(ctx, tenant, from, to); err != nil {
			return err
		}
	}
	if to == nil {
		return g.Store.Disable(ctx, tenant, from.ID, event(ctx, audit.ModuleChanged, tenant, "module disabled", from.ID))
	}
	return g.Store.Enable(ctx, tenant, to.ID, replaced, permissionSets(to), event(ctx, audit.ModuleChanged, tenant, "module enabled", to.ID))
}

// permissionSets are the permissions that a module brings, for the directory.
func permissionSets(d *ModuleDescriptor) []directory.PermissionSet {
	sets := make([]directory.PermissionSet, len(d.PermissionSets))
	for i, p := range d.PermissionSets {
		sets[i] = directory.PermissionSet{
			Name: p.PermissionName, DisplayName: p.DisplayName, Description: p.Description, Sub: p.SubPermissions, Module: d.ID,
		}
	}
	return sets
}

func (g *Gateway) postEnabled(r *http.Request) (reply, error) {
	return g.enableOne(r, "")
}

func (g *Gateway) postUpgrade(r *http.Request) (reply, error) {
	return g.enableOne(r, r.PathValue("module"))
}

// enableOne enables the module in the body, in place of another if from names
// one. Nothing is added: dependencies that lack are an error.
func (g *Gateway) enableOne(r *http.Request, from string) (reply, error) {
	var body TenantModule
	if err := decode(r, maxBody, &body); err != nil {
		return reply{}, err
	}
	known, to, err := g.registry.Load(), (*ModuleDescriptor)(nil), error(nil)
	if to = find(byID(known.descriptors()), body.ID); to == nil {
		return reply{}, notFound(fmt.Sprintf("Module %s not found", cut(body.ID)))
	}
	if err = g.changeOne(r, from, to); err != nil {
		return reply{}, err
	}
	return created(TenantModule{to.ID}, "proxy", "tenants", r.PathValue("tenant"), "modules", to.ID), nil
}

func (g *Gateway) deleteEnabled(r *http.Request) (reply, error) {
	return reply{}, g.changeOne(r, r.PathValue("module"), nil)
}

func (g *Gateway) changeOne(r *http.Request, from string, to *ModuleDescriptor) error {
	o, err := installOptions(r.URL.Query())
	if err != nil {
		return err
	}
	unlock, err := g.exclusive(r.Context())
	if err != nil {
		return err
	}
	defer unlock()
	t, err := g.tenant(r)
	if err != nil {
		return err
	}
	known, old := g.registry.Load(), (*ModuleDescriptor)(nil)
	if from != "" {
		if old, err = known.used(t.ID, from); err != nil {
			return err
		}
	}
	if !o.NoDependencies {
		if err := checkChange(known.uses(t.ID), old, to); err != nil {
			return err
		}
	}
	return g.change(r.Context(), t.ID, old, to, o)
}

// checkChange tells what would not fit together after a change. What did not
// fit before does not keep anybody from disabling.
func checkChange(uses []*ModuleDescriptor, from, to *ModuleDescriptor) error {
	if to == nil && len(CheckEnabled(uses)) > 0 {
		return nil
	}
	after := slices.DeleteFunc(slices.Clone(uses), func(d *ModuleDescriptor) bool { return d == from })
	if to != nil {
		if slices.Contains(after, to) {
			return badRequest(fmt.Sprintf("Module %s already provided", to.ID))
		}
		after = append(after, to)
	}
	if faults := CheckEnabled(after); len(faults) > 0 {
		return badRequest(strings.Join(faults, ". "))
	}
	return nil
}

// deleteAllEnabled disables all modules of a tenant, the newest dependencies
// last, without a look at what needs what.
func (g *Gateway) deleteAllEnabled(r *http.Request) (reply, error) {
	o, err := installOptions(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	unlock, err := g.exclusive(r.Context())
	if err != nil {
		return reply{}, err
	}
	defer unlock()
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	var faults []error
	for _, d := range slices.Clone(g.registry.Load().uses(t.ID)) {
		err := g.change(r.Context(), t.ID, d, nil, o)
		if err != nil && !o.IgnoreErrors {
			return reply{}, err
		}
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		g.Log.WarnContext(r.Context(), "modules not disabled", "tenant", t.ID, "error", err)
	}
	return reply{}, nil
}
