package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
)

// modLogin calls as mod-login does (LoginAPI.java): everything through Okapi,
// with the token that it was called with.
func modLogin(w http.ResponseWriter, r *http.Request) {
	forward := func(path string, body any) *http.Response {
		text, _ := json.Marshal(body)
		out, _ := http.NewRequest("POST", r.Header.Get("X-Okapi-Url")+path, bytes.NewReader(text))
		out.Header = http.Header{"Content-Type": {"application/json"}}
		for _, name := range []string{"X-Okapi-Tenant", "X-Okapi-Token", "X-Okapi-Request-Id"} {
			out.Header.Set(name, r.Header.Get(name))
		}
		res, err := http.DefaultClient.Do(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		return res
	}
	if r.Header.Get("X-Okapi-Token") == "" {
		http.Error(w, "Missing Okapi token header", http.StatusBadRequest)
		return
	}
	refresh := ""
	if c, err := r.Cookie("folioRefreshToken"); err == nil {
		refresh = c.Value
	}
	var res *http.Response
	switch r.URL.Path {
	case "/authn/login-with-expiry":
		res = forward("/token/sign", map[string]any{"payload": map[string]string{"sub": "reader", "user_id": readerID}})
	case "/authn/refresh":
		res = forward("/token/refresh", map[string]string{"refreshToken": refresh})
	case "/authn/logout":
		res = forward("/token/invalidate", map[string]string{"refreshToken": refresh})
	case "/authn/logout-all":
		res = forward("/token/invalidate-all", nil)
	}
	defer res.Body.Close()
	if res.StatusCode >= 400 {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.Copy(w, res.Body)
		return
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

const modLoginDescriptor = `{"id":"mod-login-7.13.2","provides":[{"id":"login","version":"7.3","handlers":[
	{"methods":["POST"],"pathPattern":"/authn/login-with-expiry","permissionsRequired":[],"modulePermissions":["auth.sign-and-refresh-token.all","users.item.get"]},
	{"methods":["POST"],"pathPattern":"/authn/refresh","permissionsRequired":[],"modulePermissions":["auth.sign-and-refresh-token.all"]},
	{"methods":["POST"],"pathPattern":"/authn/logout","permissionsRequired":[]},
	{"methods":["POST"],"pathPattern":"/authn/logout-all","permissionsRequired":[]}]}]}`

// In place of mod-authtoken alone: the original mod-login signs, refreshes and
// ends sessions through us, with permissions by list and by SYS# name.
func TestModLoginWithOurFilter(t *testing.T) {
	for _, system := range []bool{false, true} {
		for _, prompt := range []bool{false, true} {
			b := openBranch(t, func(c *server.Config) { c.Okapi.Prompt = prompt })
			auth, err := gateway.ProductAuth.Descriptor("0.1.0")
			b.must(err)
			login := httptest.NewServer(http.HandlerFunc(modLogin))
			t.Cleanup(login.Close)
			url := b.okapi.modules[1].url // the orders module's
			b.okapi = newOkapi(t, b.config.Now)
			b.okapi.system = system
			b.okapi.useModule(auth, b.URL(server.Public))
			b.okapi.use(modLoginDescriptor, login.URL)
			b.okapi.use(ordersModule, url)
			if system { // as mod-permissions is told by Okapi
				var sets []directory.PermissionSet
				for _, path := range []string{"/authn/login-with-expiry", "/authn/refresh"} {
					sets = append(sets, directory.PermissionSet{
						Name: "SYS#mod-login-7.13.2#" + path + "#[POST]", Sub: []string{"auth.sign-and-refresh-token.all"},
					})
				}
				b.define(sets...)
			}
			got := b.through("POST", "/authn/login-with-expiry", map[string]string{"username": "reader", "password": readerPW}).want(t, 201, "accessToken")
			at, rt := got.json.AccessToken, got.json.RefreshToken
			b.get("/orders", "X-Okapi-Token", at).want(t, 200, "")
			b.wait(15 * time.Minute)
			// The expired cookie comes along, as browsers send it.
			old := "folioAccessToken=" + at + "; folioRefreshToken="
			got = b.through("POST", "/authn/refresh", nil, "Cookie", old+rt).want(t, 201, "accessToken")
			at, rt = got.json.AccessToken, got.json.RefreshToken
			b.get("/orders", "X-Okapi-Token", at).want(t, 200, "")
			b.through("POST", "/authn/logout", nil, "Cookie", "folioAccessToken="+at+"; folioRefreshToken="+rt).want(t, 204, "")
			b.through("POST", "/authn/refresh", nil, "Cookie", "folioRefreshToken="+rt).want(t, 422, "Invalid token")
			b.ask("/x", "X-Okapi-Token", at).want(t, 401, "Invalid token")
			one, two := b.login(), b.login()
			b.through("POST", "/authn/logout-all", nil, "X-Okapi-Token", one.Access).want(t, 204, "")
			for _, s := range []string{one.Refresh, two.Refresh} {
				b.through("POST", "/authn/refresh", nil, "Cookie", "folioRefreshToken="+s).want(t, 422, "Invalid token")
			}
			// A user cannot sign, whatever was granted.
			b.grant("auth.sign-and-refresh-token.all")
			got = b.through("POST", "/token/sign", map[string]any{"payload": map[string]string{"sub": "reader", "user_id": readerID}}, "X-Okapi-Token", b.login().Access)
			if got.status != 401 || !strings.Contains(string(got.body), "Missing required module-level permissions") {
				t.Errorf("a user signs: %d %s", got.status, got.body)
			}
		}
	}
}
