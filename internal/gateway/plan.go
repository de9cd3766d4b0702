package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// plan works out what must be enabled, replaced and disabled so that a tenant
// gets what was asked for and everything fits together, by Okapi's rules: what
// is missing is added if there is one product that has it, what does not fit
// is replaced by a version that does, and what then still stands in the way is
// disabled. Modules that were asked for by name are never touched.
type plan struct {
	available map[string]*ModuleDescriptor
	enabled   map[string]*ModuleDescriptor
	asked     map[string]bool
	steps     []InstallEntry
}

// installPlan lists the steps, in an order in which each finds what it needs.
// before is what the tenant uses, available what may be enabled. Without check
// nothing is added and the order is that of the request.
func installPlan(available, before []*ModuleDescriptor, asked []InstallEntry, reinstall, check bool) ([]InstallEntry, error) {
	p := &plan{available: byID(available), enabled: byID(before), asked: make(map[string]bool)}
	var faults []string
	for _, step := range asked {
		if fault := p.ask(step, reinstall); fault != "" {
			faults = append(faults, fault)
		}
	}
	if len(faults) > 0 {
		return nil, badRequest(strings.Join(faults, ". "))
	}
	if !check {
		return p.steps, nil
	}
	if err := p.settle(); err != nil {
		return nil, err
	}
	return p.order(before)
}

func byID(list []*ModuleDescriptor) map[string]*ModuleDescriptor {
	m := make(map[string]*ModuleDescriptor, len(list))
	for _, d := range list {
		m[d.ID] = d
	}
	return m
}

// ask takes one step that was asked for and returns what is wrong with it.
func (p *plan) ask(step InstallEntry, reinstall bool) (fault string) {
	from := p.available
	if step.Action == "disable" {
		from = p.enabled
	}
	m := find(from, step.ID)
	switch {
	case step.Action != "enable" && step.Action != "disable":
		return "Not implemented: action = " + cut(step.Action)
	case m == nil:
		return fmt.Sprintf("Module %s not found", cut(step.ID))
	case step.Action == "disable":
		p.disable(m.ID)
		return ""
	}
	p.asked[m.ID] = true
	if p.enabled[m.ID] != nil && !reinstall {
		p.steps = append(p.steps, InstallEntry{ID: m.ID, Action: "uptodate"})
		return ""
	}
	old := find(p.enabled, m.Product())
	switch {
	case old == nil:
		p.enable(m, "")
	case old != m && p.asked[old.ID]:
		return fmt.Sprintf("Cannot remove module %s which is explicitly given", old.ID)
	default:
		p.enable(m, old.ID)
	}
	return ""
}

// find looks a module up by its id, or the newest of a product.
func find(in map[string]*ModuleDescriptor, id string) *ModuleDescriptor {
	if m := in[id]; m != nil {
		return m
	}
	var newest *ModuleDescriptor
	for _, m := range in {
		if m.Product() == id && (newest == nil || byModuleID(m, newest) > 0) {
			newest = m
		}
	}
	return newest
}

func (p *plan) enable(m *ModuleDescriptor, from string) {
	if from != "" {
		delete(p.enabled, from)
		if product, _ := splitModuleID(from); product != m.Product() {
			p.steps = append(p.steps, InstallEntry{ID: from, Action: "disable"})
			from = ""
		}
	}
	p.enabled[m.ID] = m
	p.steps = append(p.steps, InstallEntry{ID: m.ID, From: from, Action: "enable"})
}

func (p *plan) disable(id string) {
	delete(p.enabled, id)
	p.steps = append(p.steps, InstallEntry{ID: id, Action: "disable"})
}

// settle changes the plan until nothing can be improved, and fails with what
// is then still wrong.
func (p *plan) settle() error {
	for range 100 + 10*len(p.available) {
		mods := slices.SortedFunc(maps.Values(p.enabled), byModuleID)
		provided := providedInterfaces(mods, regular)
		changed := p.dropDuplicate(provided)
		for _, improve := range []func([]*ModuleDescriptor, map[string][]provider) (bool, error){p.supply, p.match} {
			if changed {
				break
			}
			var err error
			if changed, err = improve(mods, provided); err != nil {
				return err
			}
		}
		if changed {
			continue
		}
		if faults := CheckEnabled(mods); len(faults) > 0 {
			return badRequest(strings.Join(faults, ". "))
		}
		return nil
	}
	return &Refusal{http.StatusInternalServerError, "Dependency resolution does not come to an end"}
}

// regular interfaces can be required; at most one module may provide each.
func regular(i *InterfaceDescriptor) bool {
	return !i.isSystem() && i.InterfaceType != InterfaceMultiple
}

func (p *plan) dropDuplicate(provided map[string][]provider) bool {
	for _, id := range sortedKeys(provided) {
		if len(provided[id]) < 2 {
			continue
		}
		for _, by := range provided[id] {
			if !p.asked[by.module] {
				p.disable(by.module)
				return true
			}
		}
	}
	return false
}

// supply adds a provider of a missing interface for a module that was asked
// for; a module that was not is disabled.
func (p *plan) supply(mods []*ModuleDescriptor, provided map[string][]provider) (changed bool, err error) {
	for _, m := range mods {
		for i := range m.Requires {
			need := &m.Requires[i]
			if len(provided[need.ID]) > 0 {
				continue
			}
			found, err := p.providerFor(m, need)
			if err != nil {
				return false, err
			}
			switch {
			case found == nil:
				continue
			case p.asked[m.ID]:
				p.asked[found.ID] = true
				p.enable(found, "")
			default:
				p.disable(m.ID)
			}
			return true, nil
		}
	}
	return false, nil
}

// match replaces a provider, or else a module that needs it, where the
// versions of an interface do not fit.
func (p *plan) match(mods []*ModuleDescriptor, provided map[string][]provider) (changed bool, err error) {
	for _, m := range mods {
		for _, need := range slices.Concat(m.Requires, m.Optional) {
			by := provided[need.ID]
			if len(by) == 0 || by[0].iface.Satisfies(&need) {
				continue
			}
			if !p.asked[by[0].module] {
				found, err := p.providerFor(m, &need)
				if err != nil {
					return false, err
				}
				if found != nil {
					p.asked[found.ID] = true
					p.enable(found, by[0].module)
					return true, nil
				}
			}
			if p.asked[m.ID] {
				continue
			}
			if newer := p.versionFor(m.Product(), by[0].iface); newer != nil {
				p.asked[newer.ID] = true
				p.enable(newer, m.ID)
			} else {
				p.disable(m.ID)
			}
			return true, nil
		}
	}
	return false, nil
}

// providerFor finds the newest available module that provides what m needs,
// nil if there is none. Two products that do are a choice for people.
func (p *plan) providerFor(m *ModuleDescriptor, need *InterfaceDescriptor) (*ModuleDescriptor, error) {
	products := make(map[string]*ModuleDescriptor)
	var replaced []string
	for _, candidate := range p.available {
		if !slices.ContainsFunc(candidate.Provides, func(i InterfaceDescriptor) bool { return regular(&i) && i.Satisfies(need) }) {
			continue
		}
		replaced = append(replaced, candidate.Replaces...)
		product := candidate.Product()
		if other := products[product]; other == nil || byModuleID(candidate, other) > 0 {
			products[product] = candidate
		}
	}
	for _, product := range replaced {
		delete(products, product)
	}
	if len(products) > 1 {
		return nil, badRequest(fmt.Sprintf("interface %s required by module %s is provided by multiple products: %s",
			need.ID, m.ID, strings.Join(slices.Sorted(maps.Keys(products)), ", ")))
	}
	for _, found := range products {
		return found, nil
	}
	return nil, nil
}

// versionFor finds the newest available version of a product that can live
// with an interface as it is provided.
func (p *plan) versionFor(product string, provided *InterfaceDescriptor) *ModuleDescriptor {
	var newest *ModuleDescriptor
	for _, candidate := range p.available {
		fits := slices.ContainsFunc(slices.Concat(candidate.Requires, candidate.Optional), func(need InterfaceDescriptor) bool {
			return provided.Satisfies(&need)
		})
		if candidate.Product() == product && fits && (newest == nil || byModuleID(candidate, newest) > 0) {
			newest = candidate
		}
	}
	return newest
}

// order sorts the steps so that a module is enabled after what it needs, and
// disabled before.
func (p *plan) order(before []*ModuleDescriptor) ([]InstallEntry, error) {
	all := byID(before)
	maps.Copy(all, p.available)
	current, left := byID(before), slices.Clone(p.steps)
	ordered := make([]InstallEntry, 0, len(left))
	for len(left) > 0 {
		next := slices.IndexFunc(left, func(step InstallEntry) bool { return ready(step, all[step.ID], current) })
		if next < 0 {
			// Only disabling can go round in a circle harmlessly.
			if slices.ContainsFunc(left, func(step InstallEntry) bool { return step.Action == "enable" }) {
				return nil, badRequest("Some modules cannot be topological sorted: " + listSteps(left))
			}
			next = 0
		}
		step := left[next]
		left = slices.Delete(left, next, next+1)
		ordered = append(ordered, step)
		switch step.Action {
		case "enable":
			delete(current, step.From)
			current[step.ID] = all[step.ID]
		case "disable":
			delete(current, step.ID)
		}
	}
	return ordered, nil
}

func ready(step InstallEntry, m *ModuleDescriptor, current map[string]*ModuleDescriptor) bool {
	switch step.Action {
	case "enable":
		return !slices.ContainsFunc(m.Requires, func(need InterfaceDescriptor) bool { return !met(current, &need) })
	case "disable":
		for _, other := range current {
			if slices.Contains(other.Replaces, m.Product()) {
				return true
			}
		}
		for _, other := range current {
			for i := range other.Requires {
				if slices.ContainsFunc(m.Provides, func(i2 InterfaceDescriptor) bool { return regular(&i2) && i2.Satisfies(&other.Requires[i]) }) {
					return false
				}
			}
		}
	}
	return true
}

func met(current map[string]*ModuleDescriptor, need *InterfaceDescriptor) bool {
	for _, m := range current {
		if slices.ContainsFunc(m.Provides, func(i InterfaceDescriptor) bool { return regular(&i) && i.Satisfies(need) }) {
			return true
		}
	}
	return false
}

func listSteps(steps []InstallEntry) string {
	ids := make([]string, len(steps))
	for i, step := range steps {
		ids[i] = step.ID
	}
	return strings.Join(ids, ", ")
}
