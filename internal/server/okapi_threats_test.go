package server_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestT8TokensOfAnotherTenantAreRefusedBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	b.must(b.Store().CreateTenant(context.Background(), directory.Tenant{ID: "other"}, tenantCreated("other")))
	for name, raw := range map[string]string{"access": b.access(), "module": b.modules("orders.collection.get"), "dummy": b.nobodys("orders.collection.get")} {
		got, err := b.send("GET", b.okapi.url+"/orders", nil, "X-Okapi-Tenant", "other", "X-Okapi-Token", raw)
		b.must(err)
		if got.status != 403 || !strings.HasPrefix(string(got.body), "Invalid token") {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		got, err = b.send("GET", b.okapi.url+"/orders", nil, "X-Okapi-Tenant", "diku", "X-Okapi-Tenant", "other", "X-Okapi-Token", raw)
		b.must(err)
		if got.status != 400 && got.status != 403 {
			t.Errorf("%s, two tenants: %d %s", name, got.status, got.body)
		}
	}
	if b.saw.calls() > 0 {
		t.Error("a module was reached")
	}
}

// forFilters are headers by which Okapi tells post filters what came before.
var forFilters = map[string]bool{
	"X-Okapi-Auth-Result": true, "X-Okapi-Auth-Headers": true, "X-Okapi-Handler-Result": true, "X-Okapi-Handler-Headers": true, "X-Okapi-Url-To": true,
}

// Okapi takes these headers from clients as they are; the filter's answer is set
// over them, and over what Okapi remembers.
func TestT20HeadersOfClientsAreSetOverBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	const someone = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	forged := []string{
		"X-Okapi-Permissions", `["all"]`, "X-Okapi-Auth-Result", "forged", "X-Okapi-Auth-Headers", "forged", "X-Okapi-Handler-Result", "forged",
		"X-Okapi-Handler-Headers", "forged", "X-Okapi-Url-To", "forged", "X-Okapi-Filter", "forged", "X-Okapi-Module-Tokens", `{"_":"forged"}`,
		"X-Okapi-Module-Permissions", `{"mod-orders-1.0.0":["forged"]}`, "X-Okapi-Extra-Permissions", `["forged"]`,
		"X-Okapi-Permissions-Required", "forged", "X-Okapi-Match-Path-Pattern", "forged", "X-Okapi-Request-Ip", "forged", "X-Okapi-Url", "http://forged",
	}
	for _, caller := range []string{"", b.access(), b.nobodys(), b.modules()} {
		for _, path := range []string{"/open", "/open/lent", "/open", "/open/lent"} { // the second time from memory
			header := append(forged[:len(forged):len(forged)], "X-Okapi-Token", caller)
			if caller == "" || b.claims(caller).UserID == "" {
				header = append(header, "X-Okapi-User-Id", someone)
			}
			b.okapi.traced()
			b.get(path, header...).want(t, 200, "")
			asked := strings.HasPrefix(b.okapi.traced(), "auth")
			for name, values := range b.saw.seen(t) {
				if !asked && forFilters[name] {
					continue // what Okapi remembers is no answer that could set them over
				}
				for _, value := range values {
					if strings.HasPrefix(name, "X-Okapi-") && (strings.Contains(value, "forged") || value == someone || value == `["all"]`) {
						t.Errorf("%s with %.10s: the module sees %s: %s", path, caller, name, value)
					}
				}
			}
		}
	}
	// What Okapi remembers of a token without a user must not serve a forged id
	// that comes later.
	dummy := b.nobodys("x")
	for _, path := range []string{"/open", "/open/lent"} {
		b.get(path, "X-Okapi-Token", dummy).want(t, 200, "")
		b.get(path, "X-Okapi-Token", dummy, "X-Okapi-User-Id", someone).want(t, 200, "")
		if got := b.saw.seen(t).Get("X-Okapi-User-Id"); got != "" {
			t.Errorf("%s: the module sees %s", path, got)
		}
	}
}

func TestT21OtherSpellingsAreRefusedBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	for _, name := range []string{"X_Okapi_User_Id", "x_okapi_permissions", "X-Okapi_Tenant", "X.Okapi.Token", "X-Okapi-User_Id"} {
		b.get("/open", name, "forged").want(t, 400, "Invalid header name")
	}
	b.get("/open", "X_Other", "fine").want(t, 200, "")
}

// mod-authtoken takes a constant in X-Okapi-Permissions as the proof that its
// filter let the call pass, and clients can send it.
func TestT23TheMagicPermissionIsNoProof(t *testing.T) {
	b := openBranch(t, nil)
	magic := []string{"X-Okapi-Permissions", `["L3Rva2VuL3NpZ24=.execute","L3Rva2VuL3JlZnJlc2g=.execute","L3Rva2VuL2ludmFsaWRhdGUtYWxs.execute","L3Rva2Vu.execute"]`}
	victim := b.login()
	body := map[string]any{"payload": map[string]any{"sub": "reader", "user_id": readerID}}
	for name, caller := range map[string]string{"nobody": "", "user": b.access(), "dummy": b.nobodys("auth.token.sign.post"), "module": b.modules("other")} {
		header := append(magic[:2:2], "X-Okapi-Token", caller)
		for _, path := range []string{"/token/sign", "/token/refresh", "/token"} {
			if got := b.through("POST", path, body, header...); got.status < 400 {
				t.Errorf("%s through Okapi: %s %d %s", name, path, got.status, got.body)
			}
		}
		for _, path := range []string{"/token/sign", "/token/refresh"} {
			if got := b.handle("POST", path, body, header...); got.status != 401 {
				t.Errorf("%s as a handler: %s %d %s", name, path, got.status, got.body)
			}
			got := b.asked("POST", path, header...)
			if got.status != 401 {
				t.Errorf("%s as a filter: %s %d %s", name, path, got.status, got.body)
			}
		}
		if caller == "" {
			b.handle("POST", "/token/invalidate-all", nil, header...).want(t, 401, "")
		}
	}
	b.ask("/x", "X-Okapi-Token", victim.Access).want(t, 202, "")
}

// mod-authtoken takes every path that begins with /token for one of its own.
func TestPathsThatBeginWithTokenAreOtherModules(t *testing.T) {
	b := openBranch(t, nil)
	b.get("/tokens-of-others").want(t, 200, "")
	b.saw.seen(t)
	for _, path := range []string{"/token/signature", "/token/sign/", "/tokens", "/refreshtokens", "/_/tenants"} {
		b.ask(path, required, "x").want(t, 400, "Token missing, access requires permission: x")
	}
}

// The health of this process is no verdict about a path of another module.
func TestHealthIsNoWayAroundTheFilter(t *testing.T) {
	b := openBranch(t, nil)
	b.get("/admin/health").want(t, 400, "Token missing, access requires permission: orders.collection.get")
	b.get("/admin/health", "X-Okapi-Token", b.access()).want(t, 200, "")
	b.get("/admin/health", "X-Okapi-Filter", "").want(t, 400, "Token missing")
}

func TestT29PathsThatModulesMayReadOtherwiseAreRefusedBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	for _, path := range []string{"/open/..%2f..%2fadmin", "/open/%2e%2e/x", "/open/..;x/y"} {
		b.ask(path).want(t, 400, "Invalid path")
	}
	b.ask("/orders/a%2Fb;c=d").want(t, 202, "")
}

// Whoever reaches the filter has tokens minted with any permission.
func TestOnlyOkapiMayCall(t *testing.T) {
	b := openBranch(t, func(c *server.Config) { c.Okapi.Networks = []string{"192.0.2.0/24"} })
	b.ask("/x", lent, `{"mod-a-1":["okapi.all"]}`, "X-Forwarded-For", "192.0.2.1", "X-Okapi-Request-Ip", "192.0.2.1").want(t, 403, "okapi.networks")
	b.handle("POST", "/authn/login", map[string]string{}).want(t, 403, "okapi.networks")
	got, err := b.send("GET", b.URL(server.Public)+"/admin/health", nil)
	b.must(err)
	got.want(t, 200, "OK")

	open := openBranch(t, func(c *server.Config) { c.Okapi.Networks = []string{"127.0.0.0/8"} })
	open.ask("/x").want(t, 202, "")
}

func TestOkapiNetworksMustBeNamedForOtherMachines(t *testing.T) {
	for _, c := range []struct {
		mode, listen string
		networks     []string
		fault        string
	}{
		{"okapi-module", "", nil, ""},
		{"okapi-module", "0.0.0.0:8081", nil, "okapi.networks"},
		{"okapi-module", "10.0.0.1:8081", nil, "okapi.networks"},
		{"okapi-module", ":8081", []string{"10.0.0.0/8"}, ""},
		{"okapi-module", ":8081", []string{"10.0.0.0/99"}, "okapi.networks"},
		{"gateway", "", []string{"10.0.0.0/8"}, "okapi:"},
		{"filter", "", nil, "mode:"},
		{"", "", nil, ""},
	} {
		config := &server.Config{Mode: c.mode, Listen: c.listen}
		config.Okapi.Networks = c.networks
		config.SetDefaults()
		var found []string
		for _, fault := range config.Check() {
			found = append(found, fault.Error())
		}
		if text := strings.Join(found, "\n"); c.fault == "" && text != "" || !strings.Contains(text, c.fault) {
			t.Errorf("%+v: %q", c, text)
		}
		if c.mode == "okapi-module" && c.listen == "" && config.Listen != "127.0.0.1:8081" {
			t.Errorf("listens on %s", config.Listen)
		}
	}
}

// A page of another site must not act with the user's cookie, which Okapi turns
// into a header.
func TestT56CookiesFromOtherSitesAreRefusedBehindOkapi(t *testing.T) {
	b := openBranch(t, func(c *server.Config) { c.CORS.Origins = []string{"https://ui.example.org"} })
	at := b.access()
	cookie := []string{"Cookie", "folioAccessToken=" + at}
	b.through("POST", "/orders", nil, append(cookie[:2:2], "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test")...).want(t, 403, "another origin")
	b.through("POST", "/orders", nil, append(cookie[:2:2], "Sec-Fetch-Site", "cross-site", "Origin", "https://ui.example.org")...).want(t, 200, "")
	b.through("POST", "/orders", nil, append(cookie[:2:2], "Sec-Fetch-Site", "same-origin")...).want(t, 200, "")
	b.through("POST", "/orders", nil, cookie...).want(t, 200, "")
	b.through("POST", "/orders", nil, "X-Okapi-Token", at, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test").want(t, 200, "")
}

// mod-authtoken calls where X-Okapi-Url says, with a token that may look up
// everybody's permissions.
func TestT40XOkapiUrlIsNeverCalled(t *testing.T) {
	b := openBranch(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	defer l.Close()
	called := make(chan struct{})
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
			close(called)
		}
	}()
	url := "http://" + l.Addr().String()
	b.ask("/x", "X-Okapi-Token", b.access(), desired, "*", "X-Okapi-Url", url).want(t, 202, "")
	b.ask("/x", "X-Okapi-Token", b.modules("SYS#x"), desired, "*", "X-Okapi-Url", url).want(t, 202, "")
	select {
	case <-called:
		t.Error("it was called")
	default:
	}
}

// The address that counts for limits of failed logins is the one that called
// Okapi, which Okapi tells and clients cannot.
func TestT24TheClientsAddressIsOkapisWord(t *testing.T) {
	b := openBranch(t, nil)
	for range 3 {
		b.through("POST", "/authn/login", map[string]string{"username": "reader", "password": readerPW}, "X-Forwarded-For", "203.0.113.9", "X-Okapi-Request-Ip", "203.0.113.9").want(t, http.StatusCreated, "")
	}
	got := b.handle("POST", "/authn/login", map[string]string{"username": "reader", "password": readerPW}, "X-Okapi-Request-Ip", "198.51.100.7").want(t, 201, "")
	own := b.handle("GET", "/authn/sessions/_self", nil, "X-Okapi-Token", got.json.AccessToken).want(t, 200, "")
	if text := string(own.body); strings.Contains(text, "203.0.113.9") || !strings.Contains(text, "198.51.100.7") {
		t.Errorf("sessions %s", text)
	}
}

// A module's token ends, whoever has it, and one of a removed key at once.
func TestT46ModuleTokensExpireBehindOkapi(t *testing.T) {
	b := openBranch(t, nil)
	mt := b.ask("/x", "X-Okapi-Token", b.access(), lent, `{"mod-a-1":["a"]}`).tokens(t)["mod-a-1"]
	b.ask("/x", "X-Okapi-Token", mt, required, "a").want(t, 202, "")
	b.wait(21 * 60e9)
	b.ask("/x", "X-Okapi-Token", mt, required, "a").want(t, 401, "TOKEN_EXPIRED")
	if c := b.claims(b.ask("/x").tokens(t)["_"]); c.Kind != token.KindDummy {
		t.Errorf("claims %+v", c)
	}
}
