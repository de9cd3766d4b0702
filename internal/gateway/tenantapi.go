package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// tenantAttributes is the body of a call to the _tenant interface.
type tenantAttributes struct {
	ModuleTo   string            `json:"module_to,omitzero"`
	ModuleFrom string            `json:"module_from,omitzero"`
	Purge      *bool             `json:"purge,omitzero"`
	Parameters []tenantParameter `json:"parameters,omitzero"`
}

type tenantParameter struct {
	Key   string `json:"key"`
	Value string `json:"value,omitzero"`
}

// tenantJob is what a module answers about an initialisation that goes on in
// the background.
type tenantJob struct {
	ID       string   `json:"id"`
	Complete bool     `json:"complete"`
	Error    *string  `json:"error"`
	Messages []string `json:"messages"`
}

// The first wait for a job is 300 ms, as Okapi's; each is a quarter longer, up
// to the last.
const (
	firstWait = 300 * time.Millisecond
	lastWait  = 10 * time.Second
	maxAnswer = 1 << 20
	// startTries is how often a module is called that refuses connections: it may
	// be starting.
	startTries = 10
)

// tellModule lets a module prepare for a tenant, or for the end of it, through
// its _tenant interface: from is what is in use, to what will be, nil for
// none. A module without the interface has nothing to prepare. The error is a
// *Refusal that tells what the module said.
func (g *Gateway) tellModule(ctx context.Context, tenant string, from, to *ModuleDescriptor, o *InstallOptions) error {
	if to != nil && o.Purge {
		// Purging before a fresh start may find nothing to purge.
		_ = g.tellOnce(ctx, tenant, to, nil, true, o)
		return g.tellOnce(ctx, tenant, nil, to, false, o)
	}
	return g.tellOnce(ctx, tenant, from, to, to == nil && o.Purge, o)
}

func (g *Gateway) tellOnce(ctx context.Context, tenant string, from, to *ModuleDescriptor, purge bool, o *InstallOptions) error {
	m, body := to, tenantAttributes{}
	if to != nil {
		body.ModuleTo = to.ID
	} else {
		m = from
	}
	if from != nil {
		body.ModuleFrom = from.ID
	}
	n := slices.IndexFunc(m.Provides, func(i InterfaceDescriptor) bool { return i.ID == "_tenant" })
	if n < 0 {
		return nil
	}
	i := &m.Provides[n]
	call := systemCall{gateway: g, tenant: tenant, module: m, starting: to != nil}
	switch i.Version {
	case "1.0", "1.1", "1.2":
		if i.Version == "1.2" {
			body.Parameters = o.Parameters
		}
		entry := oldHandler(i, to != nil, purge)
		if entry == nil {
			return nil
		}
		if purge {
			_, err := call.do(ctx, entry, http.MethodDelete, entry.path(), nil)
			return err
		}
		_, err := call.do(ctx, entry, http.MethodPost, entry.path(), body)
		return err
	case "2.0":
		body.Purge, body.Parameters = &purge, o.Parameters
		return call.newStyle(ctx, i, body)
	}
	return badRequest("Unsupported interface _tenant: " + i.Version)
}

// oldHandler finds the handler of a _tenant interface before 2.0. Only the
// oldest may have none and still expect the call.
func oldHandler(i *InterfaceDescriptor, enable, purge bool) *RoutingEntry {
	const disablePath = "/_/tenant/disable"
	if i.Version == "1.0" && !enable && !purge {
		return nil
	}
	method := http.MethodPost
	if purge {
		method = http.MethodDelete
	}
	for h := range i.Handlers {
		e := &i.Handlers[h]
		if methodsOf(e.Methods)&methodOf(method) != 0 && (purge || (e.path() == disablePath) != enable) {
			return e
		}
	}
	if i.Version == "1.0" && enable {
		return &RoutingEntry{PathPattern: "/_/tenant"}
	}
	return nil
}

// newStyle makes a call of version 2.0, and waits for the job if there is one.
func (c *systemCall) newStyle(ctx context.Context, i *InterfaceDescriptor, body tenantAttributes) error {
	handler := func(method, contains string) *RoutingEntry {
		for h := range i.Handlers {
			if e := &i.Handlers[h]; methodsOf(e.Methods)&methodOf(method) != 0 && strings.Contains(e.path(), contains) {
				return e
			}
		}
		return nil
	}
	post, get, del := handler(http.MethodPost, "/"), handler(http.MethodGet, "{id}"), handler(http.MethodDelete, "{id}")
	switch {
	case post == nil:
		return nil
	case get != nil && del == nil:
		return badRequest("Missing DELETE method for tenant interface version 2 for module " + c.module.ID)
	}
	res, err := c.do(ctx, post, http.MethodPost, post.path(), body)
	if err != nil || res.location == "" {
		return err
	}
	if get == nil {
		return badRequest(fmt.Sprintf("Unexpected Location header in response for module %s: POST %s", c.module.ID, post.path()))
	}
	var job tenantJob
	if err := json.Unmarshal(res.body, &job); err != nil || !jobIDs.MatchString(job.ID) {
		return badRequest(fmt.Sprintf("Missing id property in JSON response for module %s: POST %s", c.module.ID, post.path()))
	}
	return c.wait(ctx, get, del, job.ID)
}

// jobIDs may stand in a path: the module chooses the id, and must not choose
// the endpoint that is called with its token.
var jobIDs = regexp.MustCompile(`^[\w-]{1,64}$`)

func (c *systemCall) wait(ctx context.Context, get, del *RoutingEntry, id string) error {
	at := func(e *RoutingEntry) string { return strings.ReplaceAll(e.path(), "{id}", id) }
	for pause := firstWait; ; pause = min(pause*5/4, lastWait) {
		res, err := c.do(ctx, get, http.MethodGet, at(get), nil)
		if err != nil {
			return err
		}
		var job tenantJob
		if err := json.Unmarshal(res.body, &job); err != nil {
			return badRequest(fmt.Sprintf("Tenant operation failed for module %s: no JSON about the job", c.module.ID))
		}
		if job.Complete {
			if _, err := c.do(ctx, del, http.MethodDelete, at(del), nil); err != nil {
				return err
			}
			if job.Error != nil {
				return badRequest(fmt.Sprintf("Tenant operation failed for module %s: %s", c.module.ID,
					strings.Join(append([]string{*job.Error}, job.Messages...), "\n")))
			}
			return nil
		}
		if err := pauseFor(ctx, pause); err != nil {
			return err
		}
	}
}

// systemCall calls system interfaces of one module for a tenant, in nobody's
// name: the token carries what the handler's modulePermissions lend, never
// what the administrator who asked may do.
type systemCall struct {
	gateway *Gateway
	tenant  string
	module  *ModuleDescriptor
	// base is the instance that the first call went to, and all others go to.
	base *url.URL
	// starting waits for a module that does not listen yet.
	starting bool
}

type systemAnswer struct {
	location string
	body     []byte
}

func (c *systemCall) do(ctx context.Context, e *RoutingEntry, method, path string, body any) (systemAnswer, error) {
	g := c.gateway
	if c.base == nil {
		up := g.registry.Load().upstreams[c.module.ID]
		if up == nil {
			return systemAnswer{}, badRequest(fmt.Sprintf("No running instances for module %s. Can not invoke %s", c.module.ID, path))
		}
		c.base = up.instances[rand.IntN(len(up.instances))].base
	}
	res, err := c.send(ctx, e, method, path, body)
	for tries := 1; errors.Is(err, syscall.ECONNREFUSED) && c.starting && tries < startTries; tries++ {
		if err := pauseFor(ctx, g.Transport.startPause()); err != nil {
			return systemAnswer{}, err
		}
		res, err = c.send(ctx, e, method, path, body)
	}
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
		return systemAnswer{}, err
	}
	if err != nil {
		return systemAnswer{}, c.failed(method, path, err.Error())
	}
	defer func() { _ = res.Body.Close() }() // read or given up
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return systemAnswer{}, c.failed(method, path, err.Error())
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return systemAnswer{}, c.failed(method, path, fmt.Sprintf("%d: %s", res.StatusCode, text[:min(len(text), 4<<10)]))
	}
	return systemAnswer{res.Header.Get("Location"), text}, nil
}

func (c *systemCall) send(ctx context.Context, e *RoutingEntry, method, path string, body any) (*http.Response, error) {
	req, err := c.request(ctx, e, method, path, body)
	if err != nil {
		return nil, err
	}
	return c.gateway.call(req)
}

// pauseFor waits, and fails with the error of ctx if that ends first.
func pauseFor(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *systemCall) failed(method, path, why string) error {
	return badRequest(fmt.Sprintf("%s request for %s %s failed with %s", method, c.module.ID, path, why))
}

func (c *systemCall) request(ctx context.Context, e *RoutingEntry, method, path string, body any) (*http.Request, error) {
	g, now := c.gateway, c.gateway.Now()
	requestID, err := g.RequestIDs.Next([]string{audit.ActorFrom(ctx).RequestID}, path, true)
	if err != nil {
		return nil, err
	}
	moduleToken, err := g.Tokens.Mint(token.Claims{
		Kind: token.KindModule, Tenant: c.tenant, Subject: "UNDEFINED_USER__" + uuid.NewString(), Module: c.module.ID,
		Permissions: e.ModulePermissions, RequestID: requestID,
		IssuedAt: now, Expires: now.Add(g.Sessions.Policies.For(c.tenant, "", "").ModuleTTL),
	})
	if err != nil {
		return nil, fmt.Errorf("token for module %s: %w", c.module.ID, err)
	}
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	told := Outgoing{
		URL: g.InternalURL, Tenant: c.tenant, Token: moduleToken, RequestID: requestID, Time: now, Method: method,
		MatchPathPattern: e.PathPattern,
	}
	told.Apply(req)
	req.Header.Set("X-Okapi-Url-To", strings.TrimRight(c.base.String(), "/"))
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}
