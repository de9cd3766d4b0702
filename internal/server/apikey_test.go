package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// gobiKey is a key as edge-orders takes it, for user gobi of diku.
var gobiKey = base64.URLEncoding.EncodeToString([]byte(`{"s":"nZ56F3LeAaQ7rT2xW","t":"diku","u":"gobi"}`))

const (
	gobiID       = "8b0c7f7e-3c0e-4f5a-9d63-1f9d3c0a7e55"
	gobiHandlers = `[{"methods":["POST"],"pathPattern":"/gobi/orders","permissionsRequired":["gobi.orders.item.post"]},
		{"methods":["GET","POST"],"pathPattern":"/gobi/validate","permissionsRequired":["gobi.validate.item.get"]}]`
	ebsconetHandlers = `[{"methods":["GET","PUT"],"pathPattern":"/ebsconet/orders/order-lines/{id}","permissionsRequired":["ebsconet.all"]}]`
	financeHandlers  = `[{"methods":["GET"],"pathPattern":"/finance/funds","permissionsRequired":["finance.funds.collection.get"]}]`
)

// gobi makes the institutional user and its permissions, and registers its key.
func (o *office) gobi(permissions ...string) apikey.Key {
	o.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	o.must(o.Sessions().CreateUser(ctx, directory.User{ID: gobiID, Tenant: "diku", Username: "gobi", Active: true},
		directory.Grants{Permissions: permissions}, ""))
	secret, err := apikey.Parse(gobiKey)
	o.must(err)
	k, err := o.Sessions().Keys.Import(ctx, session.NewAPIKey{Name: "GOBI", Scope: apikey.Scope{
		Routes: []apikey.Route{{Method: "*", Path: "/*"}}, Permissions: []string{apikey.Everything},
	}}, secret)
	o.must(err)
	return k
}

// vendor sends what a vendor's system sends.
func (o *office) vendor(method, target, body string, header ...string) *reply {
	o.t.Helper()
	r, err := http.NewRequest(method, o.URL(server.Public)+target, strings.NewReader(body))
	o.must(err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := o.client.Do(r)
	o.must(err)
	defer answer.Body.Close()
	got := &reply{status: answer.StatusCode, header: answer.Header}
	got.body, err = io.ReadAll(answer.Body)
	o.must(err)
	return got
}

// The example of the documents, as vendors call edge-orders.
func TestOrdersOfVendorsAsWithEdgeOrders(t *testing.T) {
	example, err := server.LoadConfig("../../docs/examples/edge-orders.yaml", func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	var log lockedText
	o := openOffice(t, func(c *server.Config) {
		c.APIKeys, c.LogTo, c.Log.Level = example.APIKeys, &log, "debug"
	})
	k := o.gobi("gobi.orders.item.post", "gobi.validate.item.get", "ebsconet.all")
	var seen lockedText
	module := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.Header.Write(&seen)
		_, _ = io.WriteString(&seen, r.Method+" "+r.RequestURI+"\n")
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.Contains(string(body), "bad"):
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "no <PurchaseOption>")
		case r.Method == http.MethodPost && r.URL.Path == "/gobi/orders":
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "<Response><PoLineNumber>10001-1</PoLineNumber></Response>")
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(module.Close)
	o.enable("mod-gobi-2.9.0", gobiHandlers, module.URL)
	o.enable("mod-ebsconet-2.4.0", ebsconetHandlers, module.URL)
	o.enable("mod-finance-5.0.0", financeHandlers, module.URL)

	const order = `<?xml version="1.0"?><PurchaseOrder><CustomerDetail><BaseAccount>8910</BaseAccount></CustomerDetail></PurchaseOrder>`
	unknown := base64.URLEncoding.EncodeToString([]byte(`{"s":"anotherSaltOf17Ch","t":"diku","u":"gobi"}`))
	for _, test := range []struct {
		method, target, body, accept string
		status                       int
		answer                       string
	}{
		{"POST", "/orders?type=GOBI&apikey=" + gobiKey, order, "", 201, "<Response><PoLineNumber>10001-1"},
		{"GET", "/orders/validate?type=GOBI&apiKey=" + gobiKey, "", "", 200, ""},
		{"POST", "/orders/validate?apikey=" + gobiKey + "&type=GOBI", "", "", 200, ""},
		{"PUT", "/orders/order-lines/10001-1?type=EBSCONET&apikey=" + gobiKey, "{}", "", 204, ""},
		{"POST", "/orders?apikey=" + gobiKey, order, "", 400, "BAD_REQUEST Missing required parameter: type"},
		{"POST", "/orders?type=GOBI&apikey=" + unknown, order, "", 401, "API_KEY_INVALID Invalid API Key"},
		{"POST", "/orders?type=GOBI&apikey=" + gobiKey, "bad", "", 400, "BAD_REQUEST no <PurchaseOption>"},
		{"POST", "/orders?type=GOBI&apikey=" + gobiKey, "bad", "application/json", 400, `{"Error":{"Code":"BAD_REQUEST","Message":"no <PurchaseOption>"}}`},
		{"GET", "/finance/funds?type=COMMON&limit=1&apikey=" + gobiKey, "", "", 403, "FORBIDDEN Access for user 'gobi' (" + gobiID + ") requires permission: finance.funds.collection.get"},
		{"POST", "/orders?type=MOSAIC&apikey=" + gobiKey, order, "", 404, "NOT_FOUND No suitable module found for path and tenant"},
	} {
		got := o.vendor(test.method, test.target, test.body, "Content-Type", "application/xml", "Accept", test.accept)
		text := string(got.body)
		var fault struct {
			XMLName xml.Name `xml:"Response"`
			Error   struct{ Code, Message string }
		}
		if got.status >= 400 && test.accept == "" {
			if err := xml.Unmarshal(got.body, &fault); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			text = fault.Error.Code + " " + fault.Error.Message
		}
		if got.status != test.status || !strings.HasPrefix(text, test.answer) {
			t.Errorf("%s %s: %d %s", test.method, test.target, got.status, got.body)
		}
	}
	if !strings.Contains(seen.String(), "PUT /ebsconet/orders/order-lines/10001-1\n") {
		t.Errorf("the module saw %s", seen.String())
	}
	// Nobody but the gateway has seen the key.
	metrics, err := o.send(http.MethodGet, o.URL(server.Admin)+"/metrics", nil)
	o.must(err)
	for where, text := range map[string]string{"module": seen.String(), "log": log.String(), "metrics": string(metrics.body)} {
		if text == "" || strings.Contains(text, gobiKey[:40]) || strings.Contains(text, "nZ56F3LeAaQ7rT2xW") {
			t.Errorf("the %s: a key in %d bytes", where, len(text))
		}
	}
	files, err := filepath.Glob(filepath.Join(o.config.Data, "*"))
	o.must(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		o.must(err)
		if bytes.Contains(text, []byte(gobiKey[:40])) || bytes.Contains(text, []byte("nZ56F3LeAaQ7rT2xW")) {
			t.Errorf("a key is in %s", file)
		}
	}
	// Its session is to be seen, and to end it stops the next order.
	page, err := o.Sessions().List(context.Background(), session.Filter{Tenant: "diku", Client: apikey.Client(k.ID), Live: true})
	if err != nil || len(page.Sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(page.Sessions), err)
	}
	_, err = o.Sessions().Revoke(context.Background(), page.Sessions[0].ID)
	o.must(err)
	if got := o.vendor("POST", "/orders?type=GOBI&apikey="+gobiKey, order); got.status != 401 {
		t.Errorf("after its end: %d", got.status)
	}
}

type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Without the configuration, keys in URLs are refused and reach nobody.
func TestT30KeysInURLsAreOffUnlessConfigured(t *testing.T) {
	var log lockedText
	o := openOffice(t, func(c *server.Config) { c.LogTo, c.Log.Level = &log, "debug" })
	o.gobi("orders.collection.get")
	o.enable("mod-orders-1.0.0", ordersHandlers, moduleThatAnswers(t))
	if got := o.vendor("GET", "/orders", "", "Authorization", "apikey "+gobiKey); got.status != 200 {
		t.Fatalf("in the header: %d %s", got.status, got.body)
	}
	for _, target := range []string{"/orders?apikey=" + gobiKey, "/orders/" + gobiKey, "/" + gobiKey + "/orders"} {
		if got := o.vendor("GET", target, ""); got.status != 400 {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if text := log.String(); strings.Contains(text, gobiKey[:40]) || !strings.Contains(text, "/orders/(key)") {
		t.Error("the log has a key, or no paths")
	}
}

func TestKeysOnThreeNodes(t *testing.T) {
	nodes := openCluster(t, 3)
	k := nodes[0].gobi("orders.collection.get")
	nodes[0].reach()
	order := func(o *office) int {
		got, err := o.send(http.MethodGet, o.URL(server.Public)+"/orders", nil, "Authorization", "apikey "+gobiKey)
		o.must(err)
		return got.status
	}
	// 200 first requests, through all nodes at once, make one login.
	answers := make(map[int]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	const n = 200
	for i := range n {
		all.Go(func() {
			status := order(nodes[i%len(nodes)])
			mu.Lock()
			defer mu.Unlock()
			answers[status]++
		})
	}
	all.Wait()
	if answers[200] != n {
		t.Errorf("%v", answers)
	}
	ctx := audit.WithActor(t.Context(), &audit.Actor{Kind: "operator", Name: "test"})
	sessions := func() []session.Session {
		page, err := nodes[0].Sessions().List(ctx, session.Filter{Tenant: "diku", Client: apikey.Client(k.ID)})
		nodes[0].must(err)
		return page.Sessions
	}
	logins, err := nodes[0].Store().Events(ctx, session.EventFilter{Tenant: "diku", UserID: gobiID, Kind: audit.Login})
	nodes[0].must(err)
	if len(sessions()) != 1 || len(logins) != 1 {
		t.Errorf("%d sessions, %d logins", len(sessions()), len(logins))
	}
	everywhere := func(what string, want int) {
		t.Helper()
		nodes[1].reach()
		for _, node := range nodes {
			if got := order(node); got != want {
				t.Errorf("%s: node %s answers %d", what, node.config.Node, got)
			}
		}
	}
	_, err = nodes[1].Sessions().Revoke(ctx, sessions()[0].ID)
	nodes[1].must(err)
	everywhere("session ended", 401)
	_, err = nodes[1].Sessions().Keys.Resume(ctx, k.ID)
	nodes[1].must(err)
	everywhere("resumed", 200)
	if got := len(sessions()); got != 2 {
		t.Errorf("%d sessions after that", got)
	}
	_, err = nodes[1].Sessions().UpdateUser(ctx, directory.User{ID: gobiID, Tenant: "diku", Username: "gobi"})
	nodes[1].must(err)
	everywhere("user deactivated", 401)
	_, err = nodes[1].Sessions().UpdateUser(ctx, directory.User{ID: gobiID, Tenant: "diku", Username: "gobi", Active: true})
	nodes[1].must(err)
	everywhere("user active", 200)
	_, _, err = nodes[1].Sessions().Keys.Rotate(ctx, k.ID, time.Hour)
	nodes[1].must(err)
	everywhere("rotated with overlap", 200)
	_, err = nodes[1].Sessions().Keys.Revoke(ctx, k.ID)
	nodes[1].must(err)
	everywhere("revoked", 401)
}

func TestRoutesOfPartnersWithFaultsAreReportedByName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counterfoil.yaml")
	text := "api_keys:\n  routes:\n    - {path: /a, methods: [GET], to: /b, colour: red}\n    - {path: /c, methods: [TRACE], to: /d}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := server.LoadConfig(file, func(string) (string, bool) { return "", false })
	for _, want := range []string{"line 3: unknown key api_keys.routes[0].colour", "api_keys.routes: number 2, /c: methods: \"TRACE\" is none of"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// Keys can be managed with a permission of the supertenant, and with none of
// another tenant.
func TestKeysAreManagedByPermission(t *testing.T) {
	o := openOffice(t, nil)
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	const operator = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"
	o.must(o.Sessions().CreateUser(ctx, directory.User{ID: operator, Tenant: directory.SuperTenant, Username: "operator", Active: true},
		directory.Grants{Permissions: []string{"counterfoil.api-keys.all"}}, ""))
	o.must(o.Sessions().SetGrants(ctx, "diku", readerID, directory.Grants{Permissions: []string{"counterfoil.api-keys.all"}}))
	tokens, err := o.Sessions().SignFor(ctx, directory.SuperTenant, operator, "operator")
	o.must(err)
	readers := o.login()
	body := map[string]any{
		"tenant": "diku", "user": "reader", "name": "GOBI", "routes": []apikey.Route{{Method: "*", Path: "/*"}}, "permissions": []string{"*"},
	}
	target := o.URL(server.Admin) + "/counterfoil/api-keys"
	ask := func(method, token string, body any) int {
		got, err := o.send(method, target, body, "X-Okapi-Token", token)
		o.must(err)
		return got.status
	}
	for _, step := range []struct {
		method, token string
		body          any
		want          int
	}{
		{"POST", tokens.Access, body, 201},
		{"GET", tokens.Access, nil, 200},
		{"POST", readers.Access, body, 403},
		{"GET", readers.Access, nil, 403},
		{"GET", "", nil, 401},
		{"GET", "nonsense", nil, 400},
	} {
		if got := ask(step.method, step.token, step.body); got != step.want {
			t.Errorf("%s: %d, want %d", step.method, got, step.want)
		}
	}
	o.must(o.Sessions().SetGrants(ctx, directory.SuperTenant, operator, directory.Grants{Permissions: []string{"counterfoil.api-keys.collection.get"}}))
	if got := ask("POST", tokens.Access, body); got != 403 {
		t.Errorf("with leave to list only: %d", got)
	}
	// Everything else of the admin API needs the token of the run.
	got, err := o.send(http.MethodGet, o.URL(server.Admin)+"/counterfoil/tenants", nil, "X-Okapi-Token", tokens.Access)
	o.must(err)
	events, err := o.Store().Events(ctx, session.EventFilter{Tenant: "diku", Kind: audit.APIKeyCreated})
	o.must(err)
	if got.status != 401 || len(events) != 1 || events[0].Actor.Name != "operator" {
		t.Errorf("%d, %+v", got.status, events)
	}
}
