package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What outsiders try, through all of the gateway and with real connections.
// The policy itself has its own tests; these show that it is in force.

// sent is what the module saw of a GET of /echo with further header lines.
func (w *world) sent(lines ...string) seen {
	w.t.Helper()
	res := raw(w.t, w.public, "GET /echo HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\nX-Okapi-Token: "+w.access()+"\r\n"+
		strings.Join(append(lines, "", ""), "\r\n"))
	body, err := io.ReadAll(res.Body)
	w.must(err)
	return answer{res.StatusCode, res.Header, string(body)}.seen(w.t)
}

func TestT20ClientsCannotSpeakToModulesAsTheGateway(t *testing.T) {
	w := echoing(t)
	for _, name := range []string{
		"User-Id", "Permissions", "Module-Tokens", "Extra-Permissions", "Module-Permissions", "Permissions-Required",
		"Permissions-Desired", "Auth-Result", "Auth-Headers", "Handler-Result", "Handler-Headers", "Filter",
		"Match-Path-Pattern", "request-ip", "request-method", "request-timestamp", "Url", "Url-to", "Additional-Token", "System-User", "Trace",
	} {
		for header, values := range w.sent("X-Okapi-" + name + ": evil").Header {
			if strings.Contains(strings.Join(values, ""), "evil") {
				t.Errorf("X-Okapi-%s arrived as %s: %q", name, header, values)
			}
		}
	}
}

func TestT21NoSpellingOfOurNamesReachesAModule(t *testing.T) {
	w := echoing(t)
	for _, line := range []string{
		"x_okapi_user_id: evil", "X-OKAPI-url: evil", "X_Okapi-Token: evil", "x-okapi_permissions: evil", "x_okapi_tenant: evil",
		"X.Okapi.User.Id: evil", "X_Forwarded_For: evil", "Authorization_: evil",
	} {
		s := w.sent(line)
		for header, values := range s.Header {
			if strings.Contains(strings.Join(values, ""), "evil") && header != "Authorization_" {
				t.Errorf("%s arrived as %s", line, header)
			}
		}
		if s.Header.Get("X-Okapi-User-Id") != alice {
			t.Errorf("%s displaced the user", line)
		}
	}
}

func TestT22ConnectionCannotStripHeadersThatWereChecked(t *testing.T) {
	w := echoing(t)
	s := w.sent("Connection: X-Okapi-Tenant, X-Okapi-User-Id, X-Okapi-Token, X-Mine, close", "X-Mine: 1")
	if s.Header.Get("X-Okapi-Tenant") != "diku" || s.Header.Get("X-Okapi-User-Id") != alice || s.Header.Get("X-Okapi-Token") == "" {
		t.Errorf("stripped: %v", s.Header)
	}
	if s.Header.Get("X-Mine") != "" {
		t.Error("a header for one connection went on")
	}
}

// T-23: mod-authtoken takes a constant in X-Okapi-Permissions as proof that
// its filter has run.
func TestT23AMagicPermissionOpensNothing(t *testing.T) {
	w := echoing(t)
	const magic = `["L3Rva2VuL3NpZ24=.execute"]`
	const want = "Missing required module-level permissions for endpoint '/token/sign': auth.token.sign.post"
	w.grant("auth.token.sign.post") // of a user, who may not sign
	for _, listener := range []string{w.public, w.internal} {
		call(t, "POST", listener+"/token/sign", "{}", "X-Okapi-Tenant", "diku", "X-Okapi-Permissions", magic).want(t, 401, want)
		call(t, "POST", listener+"/token/sign", "{}", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.access(), "X-Okapi-Permissions", magic).want(t, 401, want)
	}
}

func TestT24ClientsCannotChooseTheirAddress(t *testing.T) {
	w := echoing(t)
	s := w.sent("X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Forwarded-Host: 6.6.6.6", "True-Client-IP: 6.6.6.6")
	for header, values := range s.Header {
		if strings.Contains(strings.Join(values, ""), "6.6.6.6") {
			t.Errorf("arrived as %s", header)
		}
	}
	if got := s.Header.Get("X-Okapi-Request-Ip"); got != "127.0.0.1" {
		t.Errorf("address %q", got)
	}
}

// T-26: a request that two readers divide differently hides a second one. Each
// probe must have one answer, and the hidden request must reach no module.
func TestT26NoRequestHidesInAnother(t *testing.T) {
	const hidden = "GET /open/hidden HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\n\r\n"
	uris := make(chan string, 100)
	w := newWorld(t, nil)
	w.module(echoDescriptor, func(rw http.ResponseWriter, r *http.Request) {
		uris <- r.RequestURI
		echo(rw, r)
	})
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }
	for _, test := range []struct{ name, head, body string }{
		{"length and chunks", length(6+len(hidden)) + "Transfer-Encoding: chunked\r\n", "0\r\n\r\n" + hidden},
		{"two lengths", length(0) + length(len(hidden)), hidden},
		{"list of lengths", fmt.Sprintf("Content-Length: 0, %d\r\n", len(hidden)), hidden},
		{"signed length", "Content-Length: +5\r\n", "abcde"},
		{"unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + hidden},
		{"two codings", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n" + hidden},
		{"coding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" + hidden},
		{"space before the colon", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n" + hidden},
		{"two hosts", "Host: other\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.public, "http://"))
			w.must(err)
			defer conn.Close()
			w.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
			_, err = io.WriteString(conn, "POST /open HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\nConnection: close\r\n"+test.head+"\r\n"+test.body)
			w.must(err)
			from := bufio.NewReader(conn)
			res, err := http.ReadResponse(from, nil)
			w.must(err)
			_, _ = io.Copy(io.Discard, res.Body)
			if second, err := http.ReadResponse(from, nil); err == nil {
				t.Errorf("a second answer: %d", second.StatusCode)
			}
			for len(uris) > 0 {
				if uri := <-uris; uri != "/open" {
					t.Errorf("the module was asked for %s", uri)
				}
			}
		})
	}
}

func TestT27NoUpgradeTunnelsPastTheGateway(t *testing.T) {
	w := echoing(t)
	for _, protocol := range []string{"h2c", "websocket", "TLS/1.0"} {
		s := w.sent("Connection: Upgrade, HTTP2-Settings", "Upgrade: "+protocol, "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			if s.Header.Get(name) != "" {
				t.Errorf("%s: %q", name, s.Header.Get(name))
			}
		}
	}
	res := raw(t, w.public, "GET /open HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\nConnection: Upgrade\r\nUpgrade: h\xff\r\n\r\n")
	if res.StatusCode != 400 {
		t.Errorf("an unprintable protocol got %d", res.StatusCode)
	}
	// The connection preface of HTTP/2 in clear text.
	res = raw(t, w.public, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if res.StatusCode < 400 {
		t.Errorf("the preface of HTTP/2 got %d", res.StatusCode)
	}
}

func TestT28OddMethodsReachNoModule(t *testing.T) {
	w := echoing(t)
	for _, method := range []string{"TRACE", "FOO", "get", "PROPFIND"} {
		a := call(t, method, w.public+"/open", "", diku...)
		a.want(t, 405, "Method not allowed")
		if !strings.Contains(a.header.Get("Allow"), "GET") {
			t.Errorf("Allow: %q", a.header.Get("Allow"))
		}
	}
	res := raw(t, w.public, "CONNECT internal:80 HTTP/1.1\r\nHost: internal:80\r\n\r\n")
	if res.StatusCode < 400 {
		t.Errorf("CONNECT got %d", res.StatusCode)
	}
	if s := w.sent("X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"); strings.Contains(fmt.Sprint(s.Header), "DELETE") {
		t.Errorf("a method override arrived: %v", s.Header)
	}
}

func TestT29PathsThatModulesReadOtherwiseAreRefused(t *testing.T) {
	w := echoing(t)
	for _, path := range []string{
		"/open/..%2f..%2fecho;x=1", "/open/../echo", "/open/%2e%2e/echo", "/open/..;/echo", "//open", "/open//x", "/open/%5c..%5cecho", "/open/.", `/open\x`,
	} {
		res := raw(t, w.public, "GET "+path+" HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\n\r\n")
		if res.StatusCode != 400 {
			t.Errorf("%s got %d", path, res.StatusCode)
		}
	}
	// Nor does the gateway rely on CleanPath in front of it.
	bare := w.listen(w.gateway.Routed(false))
	if res := raw(t, bare, "GET /open/..%2fecho HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\n\r\n"); res.StatusCode != 400 {
		t.Errorf("without CleanPath: %d", res.StatusCode)
	}
	// What stands between slashes is one segment, however it is written.
	w.get("/items/a%2Fb", "X-Okapi-Token", w.access()).want(t, 200, "")
	w.get("/items%2Fa").want(t, 404, "No suitable module")
	// A whole URL in the request line does not choose another host.
	res := raw(t, w.public, "GET http://user:password@127.0.0.1:1/open HTTP/1.1\r\nHost: gw\r\nX-Okapi-Tenant: diku\r\n\r\n")
	body, _ := io.ReadAll(res.Body)
	if s := (answer{res.StatusCode, res.Header, string(body)}).seen(t); s.URI != "/open" || s.Header.Get("Authorization") != "" {
		t.Errorf("the module saw %+v", s)
	}
}

func TestT30ATokenInTheQueryIsNoToken(t *testing.T) {
	w := echoing(t)
	at := w.access()
	for _, query := range []string{"access_token=" + at, "X-Okapi-Token=" + at, "token=" + at} {
		w.get("/echo?"+query).want(t, 401, "Token missing")
	}
}

func TestT44WhatTheModuleKnowsStaysInside(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, func(rw http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			if strings.HasPrefix(name, "X-Okapi-") {
				rw.Header()[name] = values
			}
		}
		for _, name := range []string{"X-Okapi-Module-Tokens", "X-Okapi-Trace", "x_okapi_token", "Access-Control-Allow-Origin"} {
			rw.Header()[name] = []string{"secret"}
		}
		rw.Header()["Set-Cookie"] = []string{"folioAccessToken=secret", "folioRefreshToken=secret", "counterfoilHeal1=secret", "theirs=1"}
	})
	a := w.get("/open", "X-Okapi-Token", w.access())
	for name, values := range a.header {
		if strings.Contains(strings.ToLower(name), "okapi") || strings.Contains(strings.Join(values, " "), "secret") {
			t.Errorf("%s: %q went out", name, values)
		}
	}
	if got := a.header.Values("Set-Cookie"); len(got) != 1 || got[0] != "theirs=1" {
		t.Errorf("cookies %q", got)
	}
}

func TestOurCookiesDoNotReachModules(t *testing.T) {
	w := echoing(t)
	at := w.access()
	s := w.get("/echo", "Cookie", "a=1; folioAccessToken="+at+"; folioRefreshToken=x; b=2", "Cookie", "counterfoilDevice=y").seen(t)
	if got := strings.Join(s.Header.Values("Cookie"), "|"); got != "a=1; b=2" {
		t.Errorf("cookies %q", got)
	}
}
