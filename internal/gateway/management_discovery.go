package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

func (g *Gateway) postInstance(r *http.Request) (reply, error) {
	var d DeploymentDescriptor
	if err := decode(r, maxBody, &d); err != nil {
		return reply{}, err
	}
	if d.NodeID != "" || d.Descriptor != nil {
		return reply{}, badRequest("The gateway starts no modules: give srvcId, instId and url of one that runs, without nodeId and descriptor")
	}
	if err := g.SaveInstance(r.Context(), directory.Instance{ID: d.InstID, Module: d.SrvcID, URL: d.URL}); err != nil {
		return reply{}, err
	}
	return created(d, "discovery", "modules", d.SrvcID, d.InstID), nil
}

// SaveInstance says where a module answers. The module need not be registered
// yet, and nobody has to answer yet.
func (g *Gateway) SaveInstance(ctx context.Context, i directory.Instance) error {
	if err := checkInstance(i); err != nil {
		return err
	}
	unlock, err := g.exclusive(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	taken := slices.ContainsFunc(g.registry.Load().instances(""), func(other directory.Instance) bool { return other.ID == i.ID })
	if !taken {
		err = g.Store.SaveInstance(ctx, i, event(ctx, audit.ModuleChanged, "", "instance registered", i.Module))
	}
	if taken || errors.Is(err, directory.ErrExists) {
		return badRequest("Duplicate instId " + cut(i.ID))
	}
	return err
}

func checkInstance(i directory.Instance) error {
	switch {
	case i.Module == "":
		return badRequest("Needs srvcId")
	case i.ID == "":
		return badRequest("Needs instId")
	case !moduleIDs.MatchString(i.Module) || len(i.ID) > 255:
		return badRequest("Invalid srvcId or instId")
	}
	_, err := instanceURL(i.URL)
	return err
}

// instances lists the instances of a module, or of all if module is "", by
// module and id.
func (k *registry) instances(module string) []directory.Instance {
	list := []directory.Instance{}
	for id, up := range k.upstreams {
		if module != "" && id != module {
			continue
		}
		for _, i := range up.instances {
			list = append(list, i.Instance)
		}
	}
	slices.SortFunc(list, func(a, b directory.Instance) int {
		return cmp.Or(CompareModuleIDs(a.Module, b.Module), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// found lists the instances that the path of a request names: all, those of a
// module, or one. Where it names some, there must be one.
func (g *Gateway) found(r *http.Request) ([]directory.Instance, error) {
	module, id := r.PathValue("module"), r.PathValue("instance")
	list := g.registry.Load().instances(module)
	if id != "" {
		list = slices.DeleteFunc(list, func(i directory.Instance) bool { return i.ID != id })
	}
	if len(list) == 0 && module != "" {
		return nil, notFound(cut(cmp.Or(id, module)))
	}
	return list, nil
}

func (g *Gateway) listInstances(r *http.Request) (reply, error) {
	list, err := g.found(r)
	return reply{body: list}, err
}

func (g *Gateway) getInstance(r *http.Request) (reply, error) {
	list, err := g.found(r)
	if err != nil {
		return reply{}, err
	}
	return reply{body: list[0]}, nil
}

func (g *Gateway) deleteInstances(r *http.Request) (reply, error) {
	unlock, err := g.exclusive(r.Context())
	if err != nil {
		return reply{}, err
	}
	defer unlock()
	list, err := g.found(r)
	for _, i := range list {
		e := event(r.Context(), audit.ModuleChanged, "", "instance deleted", i.Module)
		if _, err := g.Store.DeleteInstances(r.Context(), i.Module, i.ID, e); err != nil {
			return reply{}, err
		}
	}
	return reply{}, err
}

func (g *Gateway) listInstanceHealth(r *http.Request) (reply, error) {
	list, err := g.health(r)
	return reply{body: list}, err
}

func (g *Gateway) getInstanceHealth(r *http.Request) (reply, error) {
	list, err := g.health(r)
	if err != nil {
		return reply{}, err
	}
	return reply{body: list[0]}, nil
}

// health asks instances whether they answer. As with Okapi, any answer to a
// GET of the base URL is a good one.
func (g *Gateway) health(r *http.Request) ([]HealthDescriptor, error) {
	list, err := g.found(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
	defer cancel()
	answers := make([]HealthDescriptor, len(list))
	var asking errgroup.Group
	asking.SetLimit(16)
	for n, i := range list {
		asking.Go(func() error {
			answers[n] = HealthDescriptor{InstID: i.ID, SrvcID: i.Module, HealthMessage: "OK", HealthStatus: true}
			if err := g.ping(ctx, i.URL); err != nil {
				answers[n].HealthStatus = false
				answers[n].HealthMessage = fmt.Sprintf("Fail: %v", err)
			}
			return nil
		})
	}
	return answers, asking.Wait()
}

func (g *Gateway) ping(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := g.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}
