package folio_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

// routes are those of FOLIO's modules that parts of users come from, with the
// permissions that they ask for.
var routes = map[string]string{
	"/users/{id}":             `{"methods":["GET"],"pathPattern":"/users/{id}","permissionsRequired":["users.item.get"]}`,
	"/groups/{id}":            `{"methods":["GET"],"pathPattern":"/groups/{id}","permissionsRequired":["usergroups.item.get"]}`,
	"/service-points-users":   `{"methods":["GET"],"pathPattern":"/service-points-users","permissionsRequired":["inventory-storage.service-points-users.collection.get"]}`,
	"/service-points":         `{"methods":["GET"],"pathPattern":"/service-points","permissionsRequired":["inventory-storage.service-points.collection.get"]}`,
	"/permissions/users/{id}": `{"methods":["GET"],"pathPattern":"/permissions/users/{id}","permissionsRequired":["permissions.users.item.get"]}`,
	"/notify":                 `{"methods":["POST"],"pathPattern":"/notify","permissionsRequired":["notify.item.post"]}`,
}

// modules registers a module for each path, behind a listener of its own, and
// enables it for diku.
func (w *world) modules(gw *gateway.Gateway, serve map[string]http.HandlerFunc) {
	w.t.Helper()
	ctx := context.Background()
	w.must(gw.Reload(ctx))
	w.t.Cleanup(gw.Close)
	for path, handler := range serve {
		id := "mod-" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return -1
		}, path) + "-1.0.0"
		d, err := gateway.ParseDescriptor([]byte(`{"id":"` + id + `","provides":[{"id":"` + strings.TrimSuffix(id, "-1.0.0") +
			`","version":"1.0","handlers":[` + routes[path] + `]}]}`))
		w.must(err)
		w.must(gw.Register(ctx, false, d))
		module := httptest.NewServer(handler)
		w.t.Cleanup(module.Close)
		w.must(gw.SaveInstance(ctx, directory.Instance{ID: id, Module: id, URL: module.URL}))
		_, err = gw.Install(ctx, "diku", []gateway.InstallEntry{{ID: id, Action: "enable"}}, &gateway.InstallOptions{})
		w.must(err)
	}
}

// asked is what a module was asked.
type asked struct {
	method, uri, body string
	header            http.Header
}

// office is a module that remembers what it was asked and answers as told.
type office struct {
	mu    sync.Mutex
	asked []asked
	// heard has a value for each request, once it was answered.
	heard  chan asked
	status int
	answer string
}

func newOffice(status int, answer string) *office {
	return &office{heard: make(chan asked, 1000), status: status, answer: answer}
}

func (o *office) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	one := asked{r.Method, r.RequestURI, string(body), r.Header}
	o.mu.Lock()
	o.asked = append(o.asked, one)
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(o.status)
	_, _ = io.WriteString(w, o.answer)
	o.heard <- one
}

func (o *office) all() []asked {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]asked(nil), o.asked...)
}

func sessionEvents(kind audit.Kind) session.EventFilter {
	return session.EventFilter{Tenant: "diku", Kind: kind, Limit: 1000}
}
