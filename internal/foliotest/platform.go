// Package foliotest is a small FOLIO for tests: modules that speak HTTP as the
// originals do, as far as authentication meets them. They are mod-users (with
// groups and user-tenants), mod-permissions, mod-configuration,
// mod-inventory-storage's service points and mod-users-bl.
//
// What they answer follows the public repositories folio-org/mod-users,
// mod-permissions, mod-configuration and mod-users-bl: paths, queries, error
// texts, paging, and the ways in which names are compared. Queries that
// FOLIO's modules do not send each other are answered with 400, so that a test
// cannot pass with a query that nobody has tried.
//
// They can be made to misbehave (Fault), and remember what they were asked
// (Requests). Only tests import the package, and measurements.
package foliotest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Platform is the modules and what they keep. Its methods are safe for
// concurrent use.
type Platform struct {
	// URL answers for all modules, as a gateway does that checks nothing.
	URL string
	// Okapi is where mod-users-bl finds the other modules, instead of what
	// X-Okapi-Url says; empty obeys the header, as the original does.
	Okapi string

	servers []*httptest.Server
	modules []Module

	mu       sync.Mutex
	tenants  map[string]*tenant
	faults   map[string]Fault
	requests []Request
	closed   chan struct{}
}

// Module is one module of the platform: what a gateway must know of it.
type Module struct {
	// ID is product and version.
	ID string
	// Descriptor is in Okapi's format.
	Descriptor []byte
	URL        string
}

// Request is what a module was asked.
type Request struct {
	Module, Method, Path, RawQuery string
	Header                         http.Header
}

// Query is a parameter of the query, decoded.
func (r Request) Query(name string) string {
	values, _ := url.ParseQuery(r.RawQuery)
	return values.Get(name)
}

// Start starts all modules on ports of their own, with tenants that keep
// nothing yet.
func Start(tb testing.TB, tenants ...string) *Platform {
	tb.Helper()
	p := &Platform{tenants: make(map[string]*tenant), faults: make(map[string]Fault), closed: make(chan struct{})}
	for _, id := range tenants {
		p.AddTenant(id)
	}
	all := http.NewServeMux()
	for _, m := range catalogue {
		handler := p.module(m.id, m.serve(p))
		server := httptest.NewServer(handler)
		p.servers = append(p.servers, server)
		p.modules = append(p.modules, Module{ID: m.id, Descriptor: []byte(m.descriptor), URL: server.URL})
		for _, path := range m.paths {
			all.Handle(path, handler)
			all.Handle(path+"/", handler)
		}
	}
	front := httptest.NewServer(all)
	p.servers, p.URL = append(p.servers, front), front.URL
	tb.Cleanup(func() {
		close(p.closed) // whoever hangs lets go
		for _, server := range p.servers {
			server.Close()
		}
	})
	return p
}

// catalogue is the modules. paths are where the common front finds them.
var catalogue = []struct {
	id         string
	paths      []string
	descriptor string
	serve      func(*Platform) http.Handler
}{
	{Users, []string{"/users", "/groups", "/user-tenants"}, usersDescriptor, (*Platform).users},
	{Permissions, []string{"/perms"}, permissionsDescriptor, (*Platform).permissions},
	{Configuration, []string{"/configurations"}, configurationDescriptor, (*Platform).configuration},
	{ServicePoints, []string{"/service-points", "/service-points-users"}, servicePointsDescriptor, (*Platform).servicePoints},
	{UsersBL, []string{"/bl-users"}, usersBLDescriptor, (*Platform).usersBL},
}

// The ids of the modules.
const (
	Users         = "mod-users-19.7.0"
	Permissions   = "mod-permissions-6.5.0"
	Configuration = "mod-configuration-5.11.0"
	ServicePoints = "mod-inventory-storage-29.0.0"
	UsersBL       = "mod-users-bl-8.0.0"
)

// Modules lists all modules.
func (p *Platform) Modules() []Module { return slices.Clone(p.modules) }

// Module is one of them, by its id.
func (p *Platform) Module(id string) Module {
	for _, m := range p.modules {
		if m.ID == id {
			return m
		}
	}
	panic("foliotest: no module " + id)
}

// AddTenant makes a tenant known, in which nobody is yet.
func (p *Platform) AddTenant(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tenants[id] = &tenant{}
}

// Misbehave makes a module do something else than what it should, from the next
// request on; nil makes it behave again.
func (p *Platform) Misbehave(module string, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[module] = f
}

// Requests are those that a module got so far; "" is all modules.
func (p *Platform) Requests(module string) (list []Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		if module == "" || r.Module == module {
			list = append(list, r)
		}
	}
	return list
}

// Forget empties what Requests tells.
func (p *Platform) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// module is around every module: it remembers, misbehaves, and demands a tenant.
func (p *Platform) module(id string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests = append(p.requests, Request{id, r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone()})
		fault := p.faults[id]
		_, known := p.tenants[r.Header.Get("X-Okapi-Tenant")]
		p.mu.Unlock()
		if fault != nil {
			fault(p, next, w, r)
			return
		}
		switch {
		case r.Header.Get("X-Okapi-Tenant") == "":
			text(w, http.StatusBadRequest, "Tenant must be set")
		case !known:
			// What storage modules say whose schema is not there.
			text(w, http.StatusInternalServerError, fmt.Sprintf("ERROR: relation \"%s_%s\" does not exist (42P01)", r.Header.Get("X-Okapi-Tenant"), id))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Fault is how a module misbehaves. next is what it would do.
type Fault func(p *Platform, next http.Handler, w http.ResponseWriter, r *http.Request)

// Fails answers with a status and a text of the module's own.
func Fails(status int) Fault {
	return func(_ *Platform, _ http.Handler, w http.ResponseWriter, _ *http.Request) {
		text(w, status, "Internal Server Error: Please contact Admin")
	}
}

// Hangs says nothing until the caller leaves or the test ends.
func Hangs(p *Platform, _ http.Handler, _ http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.closed:
	}
}

// Slow answers after a while.
func Slow(d time.Duration) Fault {
	return func(p *Platform, next http.Handler, w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		case <-p.closed:
		}
	}
}

// Drops closes the connection instead of answering.
func Drops(*Platform, http.Handler, http.ResponseWriter, *http.Request) {
	panic(http.ErrAbortHandler)
}

// Truncates breaks off in the middle of its answer.
func Truncates(_ *Platform, next http.Handler, w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, r)
	body := answer.Body.Bytes()
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body[:len(body)/2])
}

// Floods answers with valid JSON that does not end for size bytes: a member
// that nobody asked for, in front of the answer.
func Floods(size int) Fault {
	return func(_ *Platform, next http.Handler, w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"flood":"`))
		block := []byte(strings.Repeat("x", 32<<10))
		for sent := 0; sent < size; sent += len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		_, _ = w.Write(append([]byte(`",`), answer.Body.Bytes()[1:]...))
	}
}

// Says answers with 200 and this body, of this type.
func Says(contentType, body string) Fault {
	return func(_ *Platform, _ http.Handler, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// Redirects sends callers to another place.
func Redirects(to string) Fault {
	return func(_ *Platform, _ http.Handler, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to, http.StatusFound)
	}
}

// AnswersWith is for mod-users: it answers about these users, whoever was asked
// for.
func AnswersWith(users ...User) Fault {
	return func(_ *Platform, _ http.Handler, w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, list("users", users, 0, len(users)))
	}
}

// text is an answer as RMB's modules give their errors.
func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// list is a collection, with what all of FOLIO's have.
func list[T any](name string, all []T, offset, limit int) map[string]any {
	from := min(offset, len(all))
	page := all[from:min(from+limit, len(all))]
	if page == nil {
		page = []T{}
	}
	return map[string]any{
		name: page, "totalRecords": len(all),
		"resultInfo": map[string]any{"totalRecords": len(all), "facets": []any{}, "diagnostics": []any{}},
	}
}

// paging reads limit and offset; names are deprecated aliases, which
// mod-permissions has.
func paging(r *http.Request, standard int, names ...string) (offset, limit int, err error) {
	limit = standard
	for name, field := range map[string]*int{"limit": &limit, "offset": &offset} {
		value := r.URL.Query().Get(name)
		if value == "" {
			continue
		}
		if *field, err = strconv.Atoi(value); err != nil || *field < 0 {
			return 0, 0, fmt.Errorf("%s is not a number", name)
		}
	}
	return offset, limit, nil
}

// collection answers a GET of a collection with those records that a query and
// the page name.
func collection[T any](w http.ResponseWriter, r *http.Request, name string, standard int, all []T, indexes []string, field func(T, string) []string) {
	offset, limit, err := paging(r, standard)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	q, err := parseCQL(r.URL.Query().Get("query"), indexes...)
	if err != nil {
		text(w, http.StatusBadRequest, "CQL State Error for '"+r.URL.Query().Get("query")+"': "+err.Error())
		return
	}
	var found []T
	for _, one := range all {
		if q(func(index string) []string { return field(one, index) }) {
			found = append(found, one)
		}
	}
	writeJSON(w, http.StatusOK, list(name, found, offset, limit))
}

// read reads a record that was sent.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		text(w, http.StatusBadRequest, "Json content error "+err.Error())
		return false
	}
	return true
}

// of is the tenant of a request, locked until release.
func (p *Platform) of(r *http.Request) (t *tenant, release func()) {
	p.mu.Lock()
	return p.tenants[r.Header.Get("X-Okapi-Tenant")], p.mu.Unlock
}

// in does something with what a tenant keeps.
func (p *Platform) in(id string, do func(*tenant)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tenants[id]
	if t == nil {
		panic("foliotest: no tenant " + id)
	}
	do(t)
}

func orNew(id string) string {
	if id == "" {
		return uuid.NewString()
	}
	return id
}
