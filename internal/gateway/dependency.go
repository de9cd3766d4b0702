package gateway

import (
	"fmt"
	"slices"
	"strings"
)

// CheckAvailable says what keeps registered modules from working together: an
// interface that none of them provides, or only in another version. The
// sentences are Okapi's, in the order of mods; none means all is well.
func CheckAvailable(mods []*ModuleDescriptor) []string {
	provided := providedInterfaces(mods, func(*InterfaceDescriptor) bool { return true })
	var faults []string
	for _, m := range mods {
		for i := range m.Requires {
			r := &m.Requires[i]
			if len(provided[r.ID]) == 0 {
				faults = append(faults, fmt.Sprintf("Missing dependency: %s requires %s: %s", m.ID, r.ID, r.Version))
			}
		}
		faults = append(faults, incompatible(m, provided)...)
	}
	return faults
}

// CheckEnabled says what keeps modules from being enabled together for one
// tenant: besides the faults of CheckAvailable, an interface that two of them
// provide, because a request would reach one or the other by accident of name.
// System and multiple interfaces are free of that rule.
func CheckEnabled(mods []*ModuleDescriptor) []string {
	provided := providedInterfaces(mods, func(i *InterfaceDescriptor) bool {
		return !i.isSystem() && i.InterfaceType != InterfaceMultiple
	})
	var faults []string
	for _, id := range sortedKeys(provided) {
		if by := provided[id]; len(by) > 1 {
			faults = append(faults, fmt.Sprintf("Multiple modules %s provide interface %s", moduleList(by), id))
		}
	}
	for _, m := range mods {
		for i := range m.Requires {
			if r := &m.Requires[i]; len(provided[r.ID]) == 0 {
				faults = append(faults, fmt.Sprintf("interface %s required by module %s not found", r.ID, m.ID))
			}
		}
		faults = append(faults, incompatible(m, provided)...)
	}
	return faults
}

// provider is a module with one interface that it provides.
type provider struct {
	module string
	iface  *InterfaceDescriptor
}

func providedInterfaces(mods []*ModuleDescriptor, want func(*InterfaceDescriptor) bool) map[string][]provider {
	provided := make(map[string][]provider)
	for _, m := range mods {
		for i := range m.Provides {
			if p := &m.Provides[i]; want(p) {
				provided[p.ID] = append(provided[p.ID], provider{m.ID, p})
			}
		}
	}
	return provided
}

// incompatible looks at required and optional interfaces alike: an optional
// one may be absent, and must fit where it is not.
func incompatible(m *ModuleDescriptor, provided map[string][]provider) []string {
	var faults []string
	for _, needs := range [][]InterfaceDescriptor{m.Requires, m.Optional} {
		for i := range needs {
			need := &needs[i]
			by := provided[need.ID]
			fits := slices.ContainsFunc(by, func(p provider) bool { return p.iface.Satisfies(need) })
			if len(by) == 0 || fits {
				continue
			}
			have := make([]string, len(by))
			for j, p := range by {
				have[j] = p.iface.Version + "/" + p.module
			}
			faults = append(faults, fmt.Sprintf("Incompatible version for module %s interface %s. Need %s. Have %s",
				m.ID, need.ID, need.Version, strings.Join(have, " ")))
		}
	}
	return faults
}

func moduleList(by []provider) string {
	ids := make([]string, len(by))
	for i, p := range by {
		ids[i] = p.module
	}
	return strings.Join(ids, ", ")
}

func sortedKeys(m map[string][]provider) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
