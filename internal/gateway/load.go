package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// LoadDirectory registers what lies in a directory, at start: each *.json file
// holds either one module descriptor, a JSON object, or a list of instances in
// the shape of Okapi's discovery, a JSON array:
//
//	[{"srvcId": "mod-users-19.4.0", "instId": "users-1", "url": "http://10.0.0.5:8081"}]
//
// The files win over what was registered before under the same ids, and what
// they do not name stays. A file with a fault is an error, and then nothing is
// registered. Which tenant uses which modules is not said by files: that is
// the management API's.
func (g *Gateway) LoadDirectory(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("directory of modules: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("directory of modules %q: %w", dir, err)
	}
	var faults []error
	var descriptors []*ModuleDescriptor
	var instances []directory.Instance
	for _, file := range files {
		d, list, err := readModuleFile(file)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", file, err))
		}
		if d != nil {
			descriptors = append(descriptors, d)
		}
		instances = append(instances, list...)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	unlock, err := g.exclusive(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := g.replaceModules(ctx, descriptors); err != nil {
		return err
	}
	return g.replaceInstances(ctx, instances)
}

func readModuleFile(file string) (*ModuleDescriptor, []directory.Instance, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		d, err := ParseDescriptor(text)
		return d, nil, err
	}
	var list []DeploymentDescriptor
	if err := decodeStrict(text, &list); err != nil {
		return nil, nil, err
	}
	instances := make([]directory.Instance, len(list))
	for n, d := range list {
		instances[n] = directory.Instance{ID: d.InstID, Module: d.SrvcID, URL: d.URL}
		if err := checkInstance(instances[n]); err != nil {
			return nil, nil, err
		}
	}
	return nil, instances, nil
}

// replaceModules also announces the permissions again to the tenants that use
// a module whose content is new.
func (g *Gateway) replaceModules(ctx context.Context, descriptors []*ModuleDescriptor) error {
	known := g.registry.Load()
	var changed []*ModuleDescriptor
	for _, d := range descriptors {
		if old := known.modules[d.ID]; old == nil || !sameDescriptor(old.ModuleDescriptor, d) {
			changed = append(changed, d)
		}
	}
	if err := g.saveModules(ctx, changed); err != nil {
		return err
	}
	for _, d := range changed {
		for tenant := range known.tenants {
			if _, err := known.used(tenant, d.ID); err != nil {
				continue
			}
			e := event(ctx, audit.ModuleChanged, tenant, "permissions announced again", d.ID)
			if err := g.Store.Enable(ctx, tenant, d.ID, d.ID, permissionSets(d), e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Gateway) replaceInstances(ctx context.Context, instances []directory.Instance) error {
	known := g.registry.Load().instances("")
	for _, i := range instances {
		if slices.Contains(known, i) {
			continue
		}
		if n := slices.IndexFunc(known, func(old directory.Instance) bool { return old.ID == i.ID }); n >= 0 {
			e := event(ctx, audit.ModuleChanged, "", "instance deleted", known[n].Module)
			if _, err := g.Store.DeleteInstances(ctx, known[n].Module, i.ID, e); err != nil {
				return err
			}
		}
		if err := g.Store.SaveInstance(ctx, i, event(ctx, audit.ModuleChanged, "", "instance registered", i.Module)); err != nil {
			return err
		}
	}
	return nil
}
