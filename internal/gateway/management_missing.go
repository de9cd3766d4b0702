package gateway

import (
	"net/http"
	"slices"
)

// missing are endpoints of Okapi that are known and not there. Each answers 501
// with the reason, to whoever has Okapi's permission for it: an operator who
// follows Okapi's guide is to read why, and not to look for a typing error.
func missing() []endpoint {
	const (
		jobs      = "Install jobs are not supported: the answer to an installation comes when all is done"
		processes = "Deployment is not supported: the gateway starts no modules. Register instances at /_/discovery/modules"
		one       = "Nodes are not supported here, see counterfoil's metrics and admin API"
		variables = "Environment variables are not supported: the gateway starts no modules"
		pull      = "Pulling is not supported: post descriptors to /_/proxy/import/modules"
		cleanup   = "Clean-up is not supported: delete modules at /_/proxy/modules/{module}"
	)
	var all []endpoint
	add := func(permission string, sets []string, text string, patterns ...string) {
		for _, pattern := range patterns {
			all = append(all, endpoint{pattern: pattern, permission: permission, sets: sets, serve: func(*Gateway, *http.Request) (reply, error) {
				return reply{}, &Refusal{http.StatusNotImplemented, text}
			}})
		}
	}
	const tenant = " /_/proxy/tenants/{tenant}"
	add("okapi.proxy.tenants.install.list", enabledRead, jobs, "GET"+tenant+"/install")
	add("okapi.proxy.tenants.install.get", enabledRead, jobs, "GET"+tenant+"/install/{job}")
	add("okapi.proxy.tenants.install.delete", enabledSet, jobs, "DELETE"+tenant+"/install", "DELETE"+tenant+"/install/{job}")
	add("okapi.proxy.pull.modules.post", modulesSet, pull, "POST /_/proxy/pull/modules")
	add("okapi.proxy.cleanup.modules", modulesSet, cleanup, "POST /_/proxy/cleanup/modules")
	add("okapi.deployment.post", deploySet, processes, "POST /_/deployment/modules")
	add("okapi.deployment.get", deploySet, processes, "GET /_/deployment/modules", "GET /_/deployment/modules/{instance}")
	add("okapi.deployment.delete", deploySet, processes, "DELETE /_/deployment/modules", "DELETE /_/deployment/modules/{instance}")
	add("okapi.discovery.put", deploySet, processes, "PUT /_/discovery/modules/{module}/{instance}")
	add("okapi.discovery.nodes.get", deploySet, one, "GET /_/discovery/nodes", "GET /_/discovery/nodes/{node}")
	add("okapi.discovery.nodes.put", deploySet, one, "PUT /_/discovery/nodes/{node}")
	add("okapi.env.post", envSet, variables, "POST /_/env")
	add("okapi.env.list", envSet, variables, "GET /_/env")
	add("okapi.env.get", envSet, variables, "GET /_/env/{name}")
	add("okapi.env.delete", envSet, variables, "DELETE /_/env/{name}")
	return all
}

// postUpgradeAll enables the newest version of every module that the tenant uses.
func (g *Gateway) postUpgradeAll(r *http.Request) (reply, error) {
	o, err := installOptions(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	if body, err := readBody(r, maxBody); err != nil {
		return reply{}, err
	} else if len(body) > 0 {
		return reply{}, badRequest("The body of an upgrade must be empty")
	}
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	known := g.registry.Load()
	available := byID(slices.DeleteFunc(known.descriptors(), func(d *ModuleDescriptor) bool { return o.released != nil && !o.released(d.Version()) }))
	asked := []InstallEntry{}
	for _, d := range known.uses(t.ID) {
		if newest := find(available, d.Product()); newest != nil && byModuleID(newest, d) > 0 {
			asked = append(asked, InstallEntry{ID: newest.ID, Action: "enable"})
		}
	}
	steps, err := g.Install(r.Context(), t.ID, asked, o)
	if steps == nil {
		steps = []InstallEntry{}
	}
	return reply{body: steps}, err
}
