package server_test

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

// One decision serves the gateway and the filter behind Okapi: a module is told
// the same by both.
func TestModulesAreToldTheSameByGatewayAndFilter(t *testing.T) {
	behind, alone := openBranch(t, nil), openOffice(t, nil)
	saw := &witness{}
	module := httptest.NewServer(saw)
	t.Cleanup(module.Close)
	d, err := gateway.ParseDescriptor([]byte(ordersModule))
	alone.must(err)
	alone.must(alone.Gateway().Register(t.Context(), true, d))
	_, err = alone.Gateway().Install(t.Context(), "diku", []gateway.InstallEntry{{ID: d.ID, Action: "enable"}}, &gateway.InstallOptions{})
	alone.must(err)
	alone.must(alone.Gateway().SaveInstance(t.Context(), directory.Instance{ID: "orders-1", Module: d.ID, URL: module.URL}))
	sets := []directory.PermissionSet{{Name: "orders.all", Sub: []string{"orders.collection.get", "orders.item.put"}}}
	behind.define(sets...)
	alone.define(sets...)

	callers := map[string]func(*office) string{
		"nobody":          func(*office) string { return "" },
		"user":            (*office).access,
		"user's module":   func(o *office) string { return o.modules("orders.all") },
		"dummy":           func(o *office) string { return o.nobodys("orders.all", "other.get") },
		"dummy of no use": func(o *office) string { return o.nobodys() },
		"raised": func(o *office) string {
			return o.mint(func(c *token.Claims) {
				c.Kind, c.Permissions = token.KindElevated, []string{"orders.collection.delete"}
			})
		},
		"expired": func(o *office) string {
			return o.mint(func(c *token.Claims) { c.IssuedAt, c.Expires = c.IssuedAt.Add(-3600e9), c.IssuedAt.Add(-1e9) })
		},
		"garbage": func(*office) string { return "a.b.c" },
	}
	requests := []struct{ method, path string }{
		{"GET", "/orders"},
		{"POST", "/orders?q=a%2Fb;c"},
		{"GET", "/orders/1"},
		{"POST", "/lent"},
		{"GET", "/open"},
		{"GET", "/open/lent"},
		{"GET", "/own/diku"},
		{"GET", "/own/other"},
		{"GET", "/users/1"},
		{"GET", "/nothing"},
	}
	for _, grants := range [][]string{nil, {"orders.collection.get"}, {"orders.all", "own.any", "users.item.get"}} {
		behind.grant(grants...)
		alone.grant(grants...)
		for name, caller := range callers {
			for _, request := range requests {
				label := name + " with " + strings.Join(grants, " ") + ": " + request.method + " " + request.path
				send := func(o *office, url string, w *witness) told {
					header := []string{"X-Okapi-Tenant", "diku", "Accept", "text/x", "X-Okapi-Permissions", `["forged"]`}
					if raw := caller(o); raw != "" {
						header = append(header, "X-Okapi-Token", raw)
					}
					before := w.calls()
					got, err := o.send(request.method, url+request.path, nil, header...)
					o.must(err)
					if w.calls() == before {
						return told{Status: got.status, Text: string(got.body)}
					}
					return tell(o, got.status, w, t)
				}
				// In the gateway a module's token holds on the internal listener.
				listener := server.Public
				if name == "user's module" {
					listener = server.Internal
				}
				one, two := send(alone, alone.URL(listener), saw), send(behind.office, behind.okapi.url, behind.saw)
				if diff := cmp.Diff(asFilter(one), asFilter(two)); diff != "" {
					t.Errorf("%s: gateway and filter differ:\n%s", label, diff)
				}
				if two.Status < 300 && two.Headers["X-Okapi-Permissions"] == `["forged"]` {
					t.Errorf("%s: the module believes a client", label)
				}
			}
		}
	}
}

// told is what a module was told, or how a request was refused.
type told struct {
	Status  int
	Text    string
	Headers map[string]string
	// Claims are those of the module's token: who it speaks for, and if it is
	// one of the module's own, what that is lent.
	Tenant, Subject, UserID, Module string
	Lent                            []string
}

var digits = regexp.MustCompile(`[0-9]{6,}`)

func tell(o *office, status int, w *witness, t *testing.T) told {
	h := w.seen(t)
	got := told{Status: status, Headers: map[string]string{}}
	for name := range h {
		if strings.HasPrefix(name, "X-Okapi-") || name == "Accept" {
			got.Headers[name] = h.Get(name)
		}
	}
	c := o.claims(h.Get("X-Okapi-Token"))
	got.Tenant, got.Subject, got.UserID = c.Tenant, c.Subject, c.UserID
	if strings.HasPrefix(c.Subject, "UNDEFINED_USER__") {
		got.Subject = "UNDEFINED_USER__"
	}
	if c.Kind == token.KindModule && c.Module == "mod-orders-1.0.0" {
		got.Module, got.Lent = c.Module, c.Permissions
	}
	var permissions []string
	if err := json.Unmarshal([]byte(got.Headers["X-Okapi-Permissions"]), &permissions); err != nil {
		t.Errorf("X-Okapi-Permissions %q: %v", got.Headers["X-Okapi-Permissions"], err)
	}
	slices.Sort(permissions)
	got.Headers["X-Okapi-Permissions"] = strings.Join(permissions, " ")
	got.Headers["X-Okapi-Request-Id"] = digits.ReplaceAllString(h.Get("X-Okapi-Request-Id"), "N")
	got.Headers["X-Okapi-Request-Timestamp"] = digits.ReplaceAllString(h.Get("X-Okapi-Request-Timestamp"), "N")
	for _, name := range append([]string{"X-Okapi-Token", "X-Okapi-Url"}, okapiInternal...) {
		delete(got.Headers, name) // the last are Okapi's question, which it leaves where it has the answer in memory
	}
	return got
}

// asFilter takes away what differs on purpose: FOLIO's status for a missing
// token and FOLIO's text for one that does not hold, what Okapi adds for post
// filters, an empty user id in place of none, and the module's own token for a
// route that lends nothing, where Okapi does not ask for one.
func asFilter(x told) told {
	switch {
	case x.Status == 401 && strings.HasPrefix(x.Text, "Token missing"):
		x.Status = 400
	case x.Status == 401 && strings.Contains(x.Text, "TOKEN_INVALID"):
		x.Text = "Invalid token"
	}
	x.Headers = maps.Clone(x.Headers)
	maps.DeleteFunc(x.Headers, func(name, value string) bool {
		return name == "X-Okapi-Auth-Result" || name == "X-Okapi-User-Id" && value == ""
	})
	if len(x.Lent) == 0 {
		x.Module, x.Lent = "", nil
	}
	return x
}
