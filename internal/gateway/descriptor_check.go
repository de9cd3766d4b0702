package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// moduleIDs are what may stand in a path, a header and a log line unescaped.
var moduleIDs = regexp.MustCompile(`^[\w.+-]{1,128}$`)

// knownMethods may stand in a descriptor. Those that allowedMethods lacks are
// never routed.
var knownMethods = []string{
	"*", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
}

var entryTypes = []string{
	"", "request-response", "request-response-1.0", "request-only", "request-log", "headers",
	"redirect", "system", "internal",
}

var timerUnits = []string{"", "millisecond", "second", "minute", "hour", "day"}

// check refuses what Okapi refuses when a descriptor is posted, with its words.
func (d *ModuleDescriptor) check() error {
	if err := checkModuleID(d.ID); err != nil {
		return err
	}
	seen := make(map[string]bool, len(d.Provides))
	for i := range d.Provides {
		p := &d.Provides[i]
		if err := p.checkProvided(d.ID); err != nil {
			return err
		}
		if seen[p.ID] {
			return badRequest(fmt.Sprintf("Interface %s provided multiple times", p.ID))
		}
		seen[p.ID] = true
	}
	for _, required := range [][]InterfaceDescriptor{d.Requires, d.Optional} {
		for i := range required {
			if err := required[i].checkRequired(d.ID); err != nil {
				return err
			}
		}
	}
	for i := range d.Filters {
		if err := d.Filters[i].check(); err != nil {
			return err
		}
		if p := d.Filters[i].RewritePath; p != "" && CheckPath(p) != nil {
			return badRequest("Invalid rewritePath " + cut(p))
		}
	}
	for _, set := range d.PermissionSets {
		if set.PermissionName == "" {
			return badRequest("Missing permissionName")
		}
	}
	for _, product := range d.Replaces {
		if _, version := splitModuleID(product); version != "" {
			return badRequest("No semantic version for: " + product)
		}
	}
	return nil
}

func checkModuleID(id string) error {
	if id == "" {
		return badRequest("id is missing for module")
	}
	if !moduleIDs.MatchString(id) {
		return badRequest(fmt.Sprintf("Invalid module id %q", id))
	}
	_, version := splitModuleID(id)
	if version == "" {
		return badRequest("Missing semantic version for: " + id)
	}
	if _, err := ParseVersion(version); err != nil {
		return badRequest(fmt.Sprintf("Invalid semantic version for: %s: %v", id, err))
	}
	return nil
}

func (i *InterfaceDescriptor) check(module string) error {
	if i.ID == "" {
		return badRequest("id is missing for module " + module)
	}
	if i.Version == "" {
		return badRequest("version is missing for module " + module)
	}
	alternatives := strings.Fields(i.Version)
	for _, v := range alternatives {
		if _, ok := parseInterfaceVersion(v); !ok {
			alternatives = nil
			break
		}
	}
	if len(alternatives) == 0 {
		return badRequest(fmt.Sprintf("Bad version number '%s'", i.Version))
	}
	switch i.InterfaceType {
	case "", InterfaceProxy, InterfaceSystem, InterfaceMultiple:
		return nil
	}
	return badRequest(fmt.Sprintf("Bad interface type '%s' for module %s", i.InterfaceType, module))
}

func (i *InterfaceDescriptor) checkProvided(module string) error {
	if err := i.check(module); err != nil {
		return err
	}
	if strings.Contains(i.Version, " ") {
		return badRequest(fmt.Sprintf("Bad version number '%s'", i.Version))
	}
	for j := range i.Handlers {
		h := &i.Handlers[j]
		if err := h.check(); err != nil {
			return err
		}
		// A route whose author forgot to think about permissions would be open
		// to everybody.
		if h.PermissionsRequired == nil && !i.isSystem() {
			return badRequest(fmt.Sprintf("Module '%s' handler %s: Missing field permissionsRequired", module, h.path()))
		}
	}
	return nil
}

func (i *InterfaceDescriptor) checkRequired(module string) error {
	if err := i.check(module); err != nil {
		return err
	}
	if len(i.Handlers) > 0 {
		return badRequest("No handlers allowed in 'requires' section for module " + module)
	}
	return nil
}

func (e *RoutingEntry) check() error {
	if e.path() == "" {
		return badRequest("Bad routing entry, needs a pathPattern or at least a path")
	}
	if _, err := CompilePattern(e.PathPattern); err != nil {
		return badRequest(err.Error())
	}
	for _, m := range e.Methods {
		if !slices.Contains(knownMethods, m) {
			return badRequest("Unknown method " + m)
		}
	}
	if !slices.Contains(entryTypes, e.Type) {
		return badRequest("Invalid entry type: " + e.Type)
	}
	if e.Type == "redirect" && e.RedirectPath == "" {
		return badRequest("Redirect entry without redirectPath")
	}
	if e.Type == "redirect" && CheckPath(e.RedirectPath) != nil {
		return badRequest("Invalid redirectPath " + cut(e.RedirectPath))
	}
	switch e.Phase {
	case "", "auth", "pre", "post":
	default:
		return badRequest("Invalid phase " + e.Phase)
	}
	if !slices.Contains(timerUnits, e.Unit) {
		return badRequest("Invalid unit " + e.Unit)
	}
	if e.Schedule != nil {
		if _, err := e.Schedule.parse(); err != nil {
			return err
		}
	}
	return nil
}

// tenantIDs is Okapi's rule for new tenants.
var tenantIDs = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)

// CheckTenantID refuses an id that a new tenant cannot have. The error is a
// *Refusal in Okapi's words.
func CheckTenantID(id string) error {
	if tenantIDs.MatchString(id) {
		return nil
	}
	switch {
	case strings.Contains(id, "_"):
		return badRequest("Tenant id must not contain underscore: " + id)
	case strings.Contains(id, "-"):
		return badRequest("Tenant id must not contain minus: " + id)
	case len(id) > 31:
		return badRequest("Tenant id must not exceed 31 characters: " + id)
	case id != "" && id[0] >= '0' && id[0] <= '9':
		return badRequest("Tenant id must not start with a digit: " + id)
	}
	return badRequest("Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is " + id)
}
