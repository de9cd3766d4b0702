package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// branch is the program in mode okapi-module behind an Okapi, with modules
// that run. Tenant diku has the user reader, as an office has.
type branch struct {
	*office
	okapi *okapi
	own   okapiModule
	saw   *witness
}

func openBranch(t *testing.T, adjust func(*server.Config)) *branch {
	t.Helper()
	b := &branch{office: openOffice(t, func(c *server.Config) {
		c.Mode = server.ModeOkapiModule
		if adjust != nil {
			adjust(c)
		}
	}), saw: &witness{}}
	b.okapi = newOkapi(t, b.config.Now)
	d, err := gateway.ProductUsersBL.Descriptor("0.1.0")
	b.must(err)
	b.own = okapiModule{d, b.URL(server.Public)}
	b.okapi.useModule(d, b.own.url)
	module := httptest.NewServer(b.saw)
	t.Cleanup(module.Close)
	b.okapi.use(ordersModule, module.URL)
	b.grant("orders.collection.get")
	return b
}

// ordersModule has one route of each sort.
const ordersModule = `{"id":"mod-orders-1.0.0","provides":[
	{"id":"orders","version":"1.0","handlers":[
		{"methods":["GET","POST"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]},
		{"methods":["GET"],"pathPattern":"/orders/{id}","permissionsRequired":["orders.collection.get"],"permissionsDesired":["orders.*","other.get"],"modulePermissions":[]},
		{"methods":["POST"],"pathPattern":"/lent","permissionsRequired":["orders.collection.get"],"modulePermissions":["users.item.get","users.item.put"]},
		{"methods":["*"],"pathPattern":"/open","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/open/lent","permissionsRequired":[],"modulePermissions":["users.item.get"]},
		{"methods":["GET"],"pathPattern":"/tokens-of-others","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/admin/health","permissionsRequired":["orders.collection.get"]},
		{"methods":["GET"],"pathPattern":"/own/{tenantId}","permissionsRequired":["own.any"],"permissionsRequiredTenant":[]},
		{"methods":["GET"],"pathPattern":"/users/{id}","permissionsRequired":["users.item.get"]}]},
	{"id":"several","version":"1.0","interfaceType":"multiple","handlers":[
		{"methods":["GET"],"pathPattern":"/several","permissionsRequired":["orders.collection.get"]}]}]}`

// witness is a module that answers with the headers that it saw. With
// X-Next it calls that path, as itself, and answers what it was answered.
type witness struct {
	mu     sync.Mutex
	last   http.Header
	called int
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.last, w.called = r.Header.Clone(), w.called+1
	w.mu.Unlock()
	if next := r.Header.Get("X-Next"); next != "" {
		out, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, r.Header.Get("X-Okapi-Url")+next, nil)
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Okapi-") {
				out.Header[name] = values
			}
		}
		res, err := http.DefaultClient.Do(out)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		rw.WriteHeader(res.StatusCode)
		_, _ = io.Copy(rw, res.Body)
		return
	}
	if r.Header.Get("X-Fail") != "" {
		http.Error(rw, "It does not work", http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(r.Header)
}

// seen is the headers of the last request, and forgets them.
func (w *witness) seen(t testing.TB) http.Header {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		t.Fatal("the module was not called")
	}
	h := w.last
	w.last = nil
	return h
}

func (w *witness) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.called
}

func (o *office) grant(permissions ...string) {
	o.t.Helper()
	o.must(o.Sessions().SetGrants(context.Background(), "diku", readerID, directory.Grants{Permissions: permissions}))
}

// define gives diku permission sets, as its permission store would have them.
func (o *office) define(sets ...directory.PermissionSet) {
	o.t.Helper()
	ctx, event := context.Background(), audit.Event{Kind: audit.ModuleChanged, Tenant: "diku", Actor: audit.System}
	const module = "mod-permissions-6.5.0"
	for i := range sets {
		sets[i].Module = module
	}
	o.must(o.Store().SaveModules(ctx, event, directory.Module{ID: module, Descriptor: []byte(`{"id":"` + module + `"}`)}))
	o.must(o.Store().Enable(ctx, "diku", module, "", sets, event))
}

// get asks Okapi, for diku.
func (b *branch) get(path string, header ...string) *reply {
	return b.through("GET", path, nil, header...)
}

func (b *branch) through(method, path string, body any, header ...string) *reply {
	b.t.Helper()
	got, err := b.send(method, b.okapi.url+path, body, append(header, "X-Okapi-Tenant", "diku")...)
	b.must(err)
	return got
}

// ask asks the filter itself about GET path. A header with an empty value is
// left out.
func (b *branch) ask(path string, header ...string) *reply {
	b.t.Helper()
	return b.asked("GET", path, header...)
}

func (b *branch) asked(method, path string, header ...string) *reply {
	b.t.Helper()
	all := []string{"X-Okapi-Filter", "auth /*", "X-Okapi-Tenant", "diku", "X-Okapi-Url", b.okapi.url, "X-Okapi-Request-Id", "821257/users"}
	for i := 0; i+1 < len(header); i += 2 {
		for j := 0; j+1 < len(all); j += 2 {
			if all[j] == header[i] {
				all[j] = "X-Ignored"
			}
		}
		if header[i+1] != "" {
			all = append(all, header[i], header[i+1])
		}
	}
	got, err := b.send(method, b.URL(server.Public)+path, nil, all...)
	b.must(err)
	return got
}

// handle calls an endpoint of the program as Okapi calls a handler.
func (b *branch) handle(method, path string, body any, header ...string) *reply {
	b.t.Helper()
	got, err := b.send(method, b.URL(server.Public)+path, body, append(header, "X-Okapi-Tenant", "diku", "X-Okapi-Url", b.okapi.url)...)
	b.must(err)
	return got
}

// tokens is X-Okapi-Module-Tokens of a filter's answer.
func (r *reply) tokens(t testing.TB) map[string]string {
	t.Helper()
	var tokens map[string]string
	if err := json.Unmarshal([]byte(r.header.Get("X-Okapi-Module-Tokens")), &tokens); err != nil {
		t.Fatalf("%d %s: X-Okapi-Module-Tokens %q: %v", r.status, r.body, r.header["X-Okapi-Module-Tokens"], err)
	}
	return tokens
}

func (r *reply) want(t testing.TB, status int, text string) *reply {
	t.Helper()
	if r.status != status || !strings.Contains(string(r.body), text) {
		t.Errorf("%d %s, want %d with %q", r.status, r.body, status, text)
	}
	return r
}

func (r *reply) wantHeader(t testing.TB, name, want string) {
	t.Helper()
	if got, sent := r.header[name]; !sent || got[0] != want {
		t.Errorf("%d %s: %s is %q, want %q", r.status, r.body, name, got, want)
	}
}

// claims reads a token of whatever kind.
func (o *office) claims(raw string) token.Claims {
	o.t.Helper()
	c, err := o.Tokens().Verify(raw, o.config.Now(), token.KindAccess, token.KindModule, token.KindDummy, token.KindElevated)
	o.must(err)
	return c
}

func (o *office) mint(change func(*token.Claims)) string {
	o.t.Helper()
	now := o.config.Now()
	c := token.Claims{
		Kind: token.KindAccess, Tenant: "diku", Subject: "reader", UserID: readerID, ClientID: session.ClientWeb,
		Session: token.NewSessionID(), Gen: 1, IssuedAt: now, Expires: now.Add(10 * time.Minute),
	}
	change(&c)
	raw, err := o.Tokens().Mint(c)
	o.must(err)
	return raw
}

func (o *office) access() string { return o.mint(func(*token.Claims) {}) }

// nobodys is a dummy token with permissions.
func (o *office) nobodys(permissions ...string) string {
	return o.mint(func(c *token.Claims) {
		c.Kind, c.Subject, c.UserID, c.Permissions = token.KindDummy, "UNDEFINED_USER__1", "", permissions
	})
}

// modules is the token of a module that serves reader.
func (o *office) modules(permissions ...string) string {
	return o.mint(func(c *token.Claims) {
		c.Kind, c.Module, c.RequestID, c.Permissions = token.KindModule, "mod-x-1.0.0", "000001/x", permissions
	})
}

// exactly is FOLIO-exact mode.
func exactly(c *server.Config) {
	none, no, yes := session.Duration(0), 0, true
	c.Policy.Grace, c.Policy.LateBudget, c.Policy.Strict, c.Policy.EndUser = &none, &no, &yes, &yes
}

func tenantCreated(id string) audit.Event {
	return audit.Event{Kind: audit.TenantCreated, Tenant: id, Actor: audit.System}
}
