package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// campus is a whole FOLIO: its users and permissions are in FOLIO's modules,
// module mod-desk calls other modules, mod-notify is told what users are to
// hear. front is where clients call: the program as the gateway, or an Okapi
// that asks the program as its filter.
type campus struct {
	*office
	folio  *foliotest.Platform
	okapi  *okapi // nil where the program is the gateway
	front  string
	inside string // X-Okapi-Url of modules
	desk   *witness
	notify *postbox
}

// postbox is mod-notify.
type postbox struct {
	mu   sync.Mutex
	got  []string
	from []http.Header
}

func (p *postbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got, p.from = append(p.got, string(text)), append(p.from, r.Header.Clone())
	w.WriteHeader(http.StatusCreated)
}

const deskModule = `{"id":"mod-desk-1.0.0","provides":[{"id":"desk","version":"1.0","handlers":[
	{"methods":["GET"],"pathPattern":"/desk","permissionsRequired":["desk.collection.get"]},
	{"methods":["DELETE"],"pathPattern":"/desk","permissionsRequired":["desk.collection.delete"]},
	{"methods":["GET"],"pathPattern":"/desk/lent","permissionsRequired":[],"modulePermissions":["users.item.get"]},
	{"methods":["GET"],"pathPattern":"/desk/deep","permissionsRequired":["desk.deep.get"],"modulePermissions":["desk.deep"]},
	{"methods":["GET"],"pathPattern":"/tokens-of-others","permissionsRequired":[]}]}]}`

const notifyModule = `{"id":"mod-notify-3.0.0","provides":[{"id":"notify","version":"2.0","handlers":[
	{"methods":["POST"],"pathPattern":"/notify","permissionsRequired":["notify.item.post"]}]}]}`

// guestID is in tenant "other", with a row in user-tenants of diku.
const guestID = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007"

// inBothModes runs a test with the program as the gateway, and behind an Okapi.
func inBothModes(t *testing.T, run func(*testing.T, *campus)) {
	t.Helper()
	for _, mode := range []string{server.ModeGateway, server.ModeOkapiModule} {
		t.Run(mode, func(t *testing.T) { run(t, openCampus(t, mode)) })
	}
}

func openCampus(t *testing.T, mode string) *campus {
	t.Helper()
	c := &campus{folio: foliotest.Start(t, "diku", "other"), desk: &witness{}, notify: &postbox{}}
	c.populateFOLIO()
	c.office = emptyOffice(t, func(config *server.Config) {
		config.Mode = mode
		config.Directory.Source, config.Directory.Consortium = "folio", true
		config.Directory.Timeout, config.Directory.Stale = session.Duration(time.Second), session.Duration(10*time.Minute)
		config.Login.ResetURL = "https://ui.example.org/reset-password"
		if mode == server.ModeOkapiModule {
			c.okapi = newOkapi(t, config.Now)
			config.Okapi.URL, config.Okapi.Prompt = c.okapi.url, true
		}
	})
	c.front, c.inside = c.URL(server.Public), c.URL(server.Internal)
	ctx := c.operator()
	for _, tenant := range []string{"diku", "other"} {
		c.must(c.Store().CreateTenant(ctx, directory.Tenant{ID: tenant}, audit.Event{Kind: audit.TenantCreated, Tenant: tenant}))
	}
	if c.okapi != nil {
		c.front, c.inside = c.okapi.url, c.okapi.url
		d, err := gateway.ProductUsersBL.Descriptor("0.1.0")
		c.must(err)
		c.okapi.useModule(d, c.URL(server.Public))
	}
	for _, m := range c.folio.Modules() {
		if m.ID != foliotest.UsersBL { // its paths are ours here
			c.module(string(m.Descriptor), m.URL)
		}
	}
	for descriptor, handler := range map[string]http.Handler{deskModule: c.desk, notifyModule: c.notify} {
		running := httptest.NewServer(handler)
		t.Cleanup(running.Close)
		c.module(descriptor, running.URL)
	}
	for tenant, user := range map[string]string{"diku": readerID, "other": guestID} {
		_, err := c.Sessions().SetPassword(ctx, tenant, user, readerPW, token.SessionID{})
		c.must(err)
	}
	return c
}

func (c *campus) populateFOLIO() {
	group := c.folio.AddGroup("diku", foliotest.Group{Group: "staff"})
	c.folio.AddUser("diku", foliotest.User{
		ID: readerID, Username: "reader", Active: foliotest.Active(true), PatronGroup: group, Personal: &foliotest.Personal{LastName: "Leser"},
	})
	point := c.folio.AddServicePoint("diku", foliotest.ServicePoint{Name: "Circ Desk", Code: "cd"})
	c.folio.Assign("diku", foliotest.ServicePointsUser{UserID: readerID, ServicePointsIDs: []string{point}})
	c.folio.Define("diku", "desk.all", "desk.collection.get", "users-bl.password-reset-link.generate")
	c.folio.Define("diku", "desk.deep", "desk.deep.get")
	c.folio.Grant("diku", readerID, "desk.all")
	c.folio.AddUser("other", foliotest.User{ID: guestID, Username: "guest", Active: foliotest.Active(true)})
	c.folio.AddUserTenant("diku", foliotest.UserTenant{UserID: guestID, Username: "guest", TenantID: "other"})
}

// module lets both tenants use a module.
func (c *campus) module(descriptor, url string) {
	c.t.Helper()
	if c.okapi != nil {
		c.okapi.use(descriptor, url)
		return
	}
	d, err := gateway.ParseDescriptor([]byte(descriptor))
	c.must(err)
	c.install(foliotest.Module{ID: d.ID, Descriptor: []byte(descriptor), URL: url})
	_, err = c.Gateway().Install(c.operator(), "other", []gateway.InstallEntry{{ID: d.ID, Action: "enable"}}, &gateway.InstallOptions{})
	c.must(err)
}

// call is a client's request in tenant diku, unless the header says otherwise.
func (c *campus) call(method, path string, body any, header ...string) *reply {
	c.t.Helper()
	tenant := "diku"
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "X-Okapi-Tenant" {
			tenant = header[i+1]
			header = append(header[:i:i], header[i+2:]...)
			break
		}
	}
	got, err := c.send(method, c.front+path, body, append(header[:len(header):len(header)], "X-Okapi-Tenant", tenant)...)
	c.must(err)
	return got
}

func (c *campus) get(path, access string, header ...string) *reply {
	c.t.Helper()
	return c.call("GET", path, nil, append(header, "X-Okapi-Token", access)...)
}

// enter logs the reader in with a password.
func (c *campus) enter(header ...string) *reply {
	c.t.Helper()
	return c.call("POST", "/authn/login", map[string]string{"username": "reader", "password": readerPW}, header...).want(c.t, 201, "accessToken")
}

func (c *campus) renew(refresh string, header ...string) *reply {
	c.t.Helper()
	return c.call("POST", "/authn/refresh", map[string]string{"refreshToken": refresh}, header...)
}

// member reads one member of a JSON object.
func (r *reply) member(t testing.TB, name string, into any) {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &all); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	if err := json.Unmarshal(all[name], into); err != nil {
		t.Errorf("%s is %s: %v", name, all[name], err)
	}
}

// drop takes a module away from the tenant.
func (o *okapi) drop(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.modules = slices.DeleteFunc(o.modules, func(m okapiModule) bool { return m.descriptor.ID == id })
}
