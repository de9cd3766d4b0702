package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// The header policy between the standard library's server, ReverseProxy and
// client: what a module really sees and what a client really gets.

// echo answers what it was sent, names in lower case.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	sent := map[string][]string{":method": {r.Method}, ":uri": {r.RequestURI}, ":body": {string(body)}}
	for name, values := range r.Header {
		sent[strings.ToLower(name)] = values
	}
	for name := range r.Trailer {
		sent["trailer "+strings.ToLower(name)] = []string{""}
	}
	_ = json.NewEncoder(w).Encode(sent)
}

// proxy is a gateway that has nothing but the header policy.
func proxy(t *testing.T, module http.HandlerFunc) (address string) {
	t.Helper()
	upstream := httptest.NewServer(module)
	t.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			told.Apply(pr.Out)
		},
		ModifyResponse: CleanResponse,
		ErrorLog:       log.New(io.Discard, "", 0),
	})
	t.Cleanup(front.Close)
	return front.Listener.Addr().String()
}

// raw sends bytes that no HTTP library would.
func raw(t *testing.T, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// seen is what the module saw of a GET with further header lines.
func seen(t *testing.T, address string, lines ...string) map[string][]string {
	t.Helper()
	res := raw(t, address, "GET /a HTTP/1.1\r\nHost: gw\r\n"+strings.Join(append(lines, "", ""), "\r\n"))
	var got map[string][]string
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	return got
}

func TestT20ClientsCannotSpeakAsTheGateway(t *testing.T) {
	address := proxy(t, echo)
	for _, name := range governedSamples() {
		if strings.EqualFold(name, "Transfer-Encoding") || strings.EqualFold(name, "Upgrade") {
			continue // the server itself answers those; see T26 and T27
		}
		for header, values := range seen(t, address, name+": evil") {
			if strings.Contains(strings.Join(values, " "), "evil") {
				t.Errorf("%s: evil reached the module as %s: %q", name, header, values)
			}
		}
	}
}

func TestT21NoSpellingGetsPast(t *testing.T) {
	address := proxy(t, echo)
	for _, line := range []string{
		"x_okapi_user_id: evil", "X-OKAPI-url: evil", "X_Okapi-Token: evil", "x-okapi_permissions: [\"evil\"]",
		"X.Okapi.Url: evil", "X_FORWARDED_FOR: evil", "x_real_ip: evil", "CLIENT_CERT: evil", "Proxy_Authorization: evil",
		"Transfer_Encoding: evil", "HTTP2_SETTINGS: evil", "Content_Length: 666",
	} {
		got := seen(t, address, line)
		name, value, _ := strings.Cut(line, ": ")
		if strings.ContainsAny(name, "_.") && got[strings.ToLower(name)] != nil {
			t.Errorf("%s reached the module", line)
		}
		if strings.Contains(fmt.Sprint(got), value) {
			t.Errorf("%s reached the module: %v", line, got)
		}
	}
}

func TestT22ConnectionCannotStripWhatWasChecked(t *testing.T) {
	got := seen(t, proxy(t, echo),
		"X-Okapi-Tenant: diku", "Connection: X-Okapi-Tenant, X-Okapi-Token, X-Okapi-Permissions, X-Okapi-User-Id, close")
	for name, want := range toldHeaders() {
		if values := got[strings.ToLower(name)]; len(values) != 1 || values[0] != want[0] {
			t.Errorf("%s is %q, want %q", name, values, want)
		}
	}
}

func TestT24ClientsCannotChooseTheirAddress(t *testing.T) {
	got := seen(t, proxy(t, echo),
		"X-Forwarded-For: 203.0.113.9", "X-Real-IP: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Client-IP: 203.0.113.9",
		"True-Client-IP: 203.0.113.9", "CF-Connecting-IP: 203.0.113.9", "X-Okapi-request-ip: 203.0.113.9")
	if strings.Contains(fmt.Sprint(got), "203.0.113.9") {
		t.Errorf("the address reached the module: %v", got)
	}
	if ip := got["x-okapi-request-ip"]; len(ip) != 1 || ip[0] != "192.0.2.7" {
		t.Errorf("x-okapi-request-ip is %q", ip)
	}
}

func TestT26TrailersAndAmbiguousLengthsDoNotReachTheModule(t *testing.T) {
	address := proxy(t, echo)
	res := raw(t, address, "POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\nTrailer: X-Okapi-Url\r\nContent_Length: 1\r\n\r\n"+
		"2\r\nhi\r\n0\r\nX-Okapi-Url: http://evil\r\n\r\n")
	var got map[string][]string
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got[":body"][0] != "hi" || got["trailer x-okapi-url"] != nil || got["content_length"] != nil {
		t.Errorf("the module saw %v", got)
	}
}

func TestT27NoUpgradeTunnelsPastTheGateway(t *testing.T) {
	address := proxy(t, echo)
	for _, lines := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
		{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"},
		{"Connection: keep-alive, Upgrade", "Upgrade: TLS/1.3, HTTP/1.1", "TE: trailers"},
	} {
		got := seen(t, address, lines...)
		for _, name := range []string{"upgrade", "connection", "http2-settings", "te"} {
			if got[name] != nil {
				t.Errorf("%q reached the module as %s: %q", lines, name, got[name])
			}
		}
	}
}

func TestT27AModuleCannotSwitchProtocols(t *testing.T) {
	for _, upgrade := range []string{"", "Upgrade: h2c\r\n"} {
		address := proxy(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n%s\r\nsecret tunnel", upgrade)
		})
		res := raw(t, address, "GET /a HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		if res.StatusCode != http.StatusBadGateway {
			t.Errorf("status %d, want 502", res.StatusCode)
		}
	}
}

func TestT28AMethodCannotBeOverridden(t *testing.T) {
	got := seen(t, proxy(t, echo), "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X_HTTP_Method_Override: DELETE")
	if strings.Contains(fmt.Sprint(got), "DELETE") {
		t.Errorf("the module saw %v", got)
	}
}

func TestT44NothingOfTheModuleTokenLeaksInTrailers(t *testing.T) {
	address := proxy(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Okapi-Token")
		w.Header().Set("X-Okapi-Token", "module.token.x")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"X-Okapi-Permissions", "[]")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "folioAccessToken=x")
	})
	res, err := http.Get("http://" + address + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "body" {
		t.Fatalf("body %q, %v", body, err)
	}
	if len(res.Trailer) > 0 || res.Header.Get("X-Okapi-Token") != "" {
		t.Errorf("trailers %v, headers %v", res.Trailer, res.Header)
	}
}

func TestSeveralSetCookiesStaySeveral(t *testing.T) {
	address := proxy(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range []string{"a=1; Path=/", "folioAccessToken=x", "b=2; Expires=Thu, 01 Jan 2037 00:00:00 GMT"} {
			w.Header().Add("Set-Cookie", c)
		}
	})
	res, err := http.Get("http://" + address + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := strings.Join(res.Header["Set-Cookie"], "|"); got != "a=1; Path=/|b=2; Expires=Thu, 01 Jan 2037 00:00:00 GMT" {
		t.Errorf("got %s", got)
	}
}
