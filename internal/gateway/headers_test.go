package gateway

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told is what the gateway says in these tests.
var told = Outgoing{
	URL: "http://127.0.0.1:9131", Tenant: "diku", Token: "module.token.x",
	UserID: "9ad0e4b0-0000-4000-8000-000000000001", Permissions: []string{"a.get", `odd "one"`},
	RequestID: "123456/a", IP: "192.0.2.7", Time: time.UnixMilli(1788000000000), Method: "GET",
	MatchPathPattern: "/a/{id}",
}

// toldHeaders is how a module reads that.
func toldHeaders() http.Header {
	return http.Header{
		"X-Okapi-Url":                {"http://127.0.0.1:9131"},
		"X-Okapi-Tenant":             {"diku"},
		"X-Okapi-Token":              {"module.token.x"},
		"X-Okapi-User-Id":            {"9ad0e4b0-0000-4000-8000-000000000001"},
		"X-Okapi-Permissions":        {`["a.get","odd \"one\""]`},
		"X-Okapi-Request-Id":         {"123456/a"},
		"X-Okapi-Request-Ip":         {"192.0.2.7"},
		"X-Okapi-Request-Timestamp":  {"1788000000000"},
		"X-Okapi-Request-Method":     {"GET"},
		"X-Okapi-Match-Path-Pattern": {"/a/{id}"},
	}
}

// spellings of a header name that a module may take for the same.
func spellings(name string) []string {
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name),
		strings.ReplaceAll(name, "-", "_"), strings.ToUpper(strings.ReplaceAll(name, "-", "_")),
		strings.Replace(name, "-", "_", 1), strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(name, "-", "~"),
	}
}

// governedSamples is every name in the tables, and for each family some member.
func governedSamples() []string {
	names := []string{
		"Connection", "Keep-Alive", "TE", "Trailer", "Trailers", "Transfer-Encoding", "Upgrade", "HTTP2-Settings",
		"X-Okapi", "Proxy", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate",
		"X-Forwarded-For", "X-Forwarded", "X-Forwarded-Client-Cert", "X-Forwarded-Whatever", "X-Envoy-External-Address",
		"WL-Proxy-Client-IP", "Client-Cert-Chain", "X-Client-Cert-DN", "SSL-Client-Verify", "X-SSL-Client-Cert",
		"X-TLS-Client-Subject", "X-Amzn-Mtls-Clientcert",
	}
	for _, n := range []string{
		"User-Id", "Permissions", "Module-Tokens", "Extra-Permissions", "Module-Permissions", "Permissions-Required",
		"Permissions-Desired", "Auth-Result", "Auth-Headers", "Handler-Result", "Handler-Headers", "Filter",
		"Match-Path-Pattern", "request-ip", "request-timestamp", "request-method", "Url", "Url-to", "Additional-Token",
		"System-Token", "Trace", "Stop", "Module-Id", "Tenant", "Token", "Request-Id", "Made-Up-By-The-Next-Release-Of-Okapi",
	} {
		names = append(names, "X-Okapi-"+n)
	}
	for n := range clientHeaders {
		names = append(names, n)
	}
	return names
}

func TestNoGovernedNameSurvivesInAnySpelling(t *testing.T) {
	for _, name := range governedSamples() {
		for _, spelling := range spellings(name) {
			h := http.Header{spelling: {"evil"}, "Accept": {"text/plain"}}
			cleanRequest(h)
			if diff := cmp.Diff(http.Header{"Accept": {"text/plain"}}, h); diff != "" {
				t.Errorf("%s (-want +got):\n%s", spelling, diff)
			}
		}
	}
}

func TestOtherEndToEndHeadersPass(t *testing.T) {
	want := http.Header{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Content-Type", "Content-Length", "If-None-Match",
		"Range", "Referer", "Origin", "Sec-Fetch-Site", "Traceparent", "Tracestate", "Baggage", "Via", "Idempotency-Key",
		"X-Requested-With", "X-Request-Id", "X-Client-Version", "X-Original-Filename", "X-My-Header", "My_own_header",
		"X_custom", "X-Okapitulate", "Authorize", "Cookies", "Proxied", "Content_type", "Te-X",
	} {
		want[name] = []string{"value of " + name, "another"}
	}
	got := want.Clone()
	cleanRequest(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-sent +left):\n%s", diff)
	}
}

func TestAHeaderThatMayBeReadAsContentLengthIsDropped(t *testing.T) {
	for _, name := range []string{"Content_Length", "CONTENT_LENGTH", "content-length", "Content.Length"} {
		h := http.Header{name: {"5"}}
		cleanRequest(h)
		if len(h) > 0 {
			t.Errorf("%s passes", name)
		}
	}
}

func TestApplyTellsTheModuleEverythingAndNothingElse(t *testing.T) {
	out := &http.Request{Header: http.Header{"Accept": {"*/*"}}, Trailer: http.Header{"X-Okapi-Url": nil}}
	for name := range toldHeaders() {
		out.Header[name] = []string{"evil", "worse"}
	}
	told.Apply(out)
	want := toldHeaders()
	want["Accept"] = []string{"*/*"}
	if diff := cmp.Diff(want, out.Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if out.Trailer != nil {
		t.Errorf("trailers left: %v", out.Trailer)
	}
}

func TestApplyLeavesOutWhatThereIsNotAndClearsWhatWasSent(t *testing.T) {
	out := &http.Request{Header: http.Header{}}
	for name := range toldHeaders() {
		out.Header[name] = []string{"evil"}
	}
	(&Outgoing{URL: "http://gw", Tenant: "diku", RequestID: "1/a", IP: "::1", Method: "PUT"}).Apply(out)
	for _, name := range []string{"X-Okapi-Token", "X-Okapi-User-Id", "X-Okapi-Match-Path-Pattern"} {
		if got, ok := out.Header[name]; ok {
			t.Errorf("%s is %q, want none", name, got)
		}
	}
	if got := out.Header.Get("X-Okapi-Permissions"); got != "[]" {
		t.Errorf("X-Okapi-Permissions is %q, want []", got)
	}
}

func TestValuesSetCannotBeGrownIntoEachOther(t *testing.T) {
	out := &http.Request{Header: http.Header{}}
	told.Apply(out)
	out.Header.Add("X-Okapi-Url", "more")
	if got := out.Header.Get("X-Okapi-Tenant"); got != "diku" {
		t.Errorf("X-Okapi-Tenant became %q", got)
	}
}

func TestNoTableNameIsTooLongToBeCompared(t *testing.T) {
	for name := range clientHeaders {
		if len(name) >= longestGoverned {
			t.Errorf("%s is cut before it is compared", name)
		}
	}
}

func TestT44CleanResponseKeepsWhatTheModuleKnowsFromTheClient(t *testing.T) {
	res := &http.Response{StatusCode: http.StatusOK, ContentLength: 2, Header: http.Header{
		"Content-Type": {"application/json"}, "Location": {"/a/1"}, "Etag": {`"1"`}, "Vary": {"Accept", "Origin"},
		"X-My-Header":   {"foo", "bar"},
		"X-Okapi-Token": {"module.token.x"}, "X-Okapi-Module-Tokens": {"{}"}, "X_okapi_permissions": {"[]"},
		"X-Okapi-User-Id": {"u"}, "X-Okapi-Trace": {"GET http://10.0.0.5"}, "X-Okapi-Anything": {"x"},
		"Connection": {"close"}, "Keep-Alive": {"timeout=5"}, "Upgrade": {"h2c"}, "Proxy-Authenticate": {"Basic"},
		"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Credentials": {"true"},
		"Set-Cookie": {
			"first=1; Path=/; HttpOnly", "folioAccessToken=stolen; Path=/", " folioRefreshToken = x", "second=a=b; Max-Age=5",
			"counterfoilDevice=x", "counterfoilHeal2=x", "=folioAccessToken=x; Path=/", "folioAccessToken", "third=folioAccessToken=1",
		},
	}}
	want := http.Header{
		"Content-Type": {"application/json"}, "Location": {"/a/1"}, "Etag": {`"1"`}, "Vary": {"Accept", "Origin"},
		"X-My-Header": {"foo", "bar"},
		"Set-Cookie":  {"first=1; Path=/; HttpOnly", "second=a=b; Max-Age=5", "third=folioAccessToken=1"},
	}
	if err := CleanResponse(res); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, res.Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	res.Header = http.Header{"Set-Cookie": {"folioAccessToken=x"}}
	if err := CleanResponse(res); err != nil || len(res.Header) > 0 {
		t.Errorf("left %v, %v", res.Header, err)
	}
}

func TestT27CleanResponseRefusesASwitchOfProtocols(t *testing.T) {
	res := &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: http.Header{}}
	if err := CleanResponse(res); !errors.Is(err, ErrUpgrade) {
		t.Errorf("got %v, want ErrUpgrade", err)
	}
}

func FuzzHeaderPolicy(f *testing.F) {
	for _, name := range governedSamples() {
		f.Add(name, "evil")
		f.Add(strings.ReplaceAll(name, "-", "_"), "evil")
	}
	f.Add("Accept", "text/html")
	f.Add("X-Okapi-Token", "a.b.c")
	f.Add("x.oKAPI|uRL", "http://evil")
	f.Add("X--Okapi-Url", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		canonical := http.CanonicalHeaderKey(name)
		out := &http.Request{Header: http.Header{name: {value}, canonical: {value}}}
		told.Apply(out)
		want := toldHeaders()
		for key, got := range out.Header {
			if expected, ours := want[key]; ours {
				if diff := cmp.Diff(expected, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", key, diff)
				}
				delete(want, key)
				continue
			}
			if reason := forbidden(key); reason != "" && key != "Content-Length" {
				t.Errorf("%q passes, which is %s", key, reason)
			}
		}
		if len(want) > 0 {
			t.Errorf("not set: %v", want)
		}
	})
}

// forbidden is the policy told another way: spell the name as a CGI variable
// and look at it as text.
func forbidden(name string) string {
	cgi := []byte(strings.ToUpper(name))
	for i, c := range cgi {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			cgi[i] = '_'
		}
	}
	if name != strings.Map(func(r rune) rune { return min(r, 0x7f) }, name) {
		return "" // upper case of letters that no header has
	}
	for _, prefix := range []string{"X_OKAPI_", "X_FORWARDED", "PROXY_", "SSL_CLIENT_", "CLIENT_CERT_", "X_SSL_", "X_TLS_"} {
		if bytes.HasPrefix(cgi, []byte(prefix)) {
			return prefix
		}
	}
	switch s := string(cgi); s {
	case "CONNECTION", "TE", "TRAILER", "TRANSFER_ENCODING", "UPGRADE", "KEEP_ALIVE", "HTTP2_SETTINGS", "FORWARDED",
		"X_REAL_IP", "AUTHORIZATION", "X_HTTP_METHOD_OVERRIDE", "CLIENT_CERT", "CONTENT_LENGTH", "PROXY", "REMOTE_USER":
		return s
	}
	return ""
}

// BenchmarkApply works on a copy as ReverseProxy makes it; "copy" is that alone.
func BenchmarkApply(b *testing.B) {
	browser := http.Header{
		"Accept": {"application/json"}, "Accept-Encoding": {"gzip, deflate, br"}, "Accept-Language": {"en"},
		"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, "Origin": {"https://folio.example"},
		"Referer": {"https://folio.example/"}, "Sec-Fetch-Site": {"same-site"}, "Sec-Fetch-Mode": {"cors"},
		"X-Okapi-Tenant": {"diku"}, "Content-Type": {"application/json"},
		"Cookie": {"lang=en; folioAccessToken=" + strings.Repeat("a", 400) + "; theme=dark"},
	}
	b.Run("copy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = browser.Clone()
		}
	})
	b.Run("copy and apply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out := http.Request{Header: browser.Clone()}
			told.Apply(&out)
		}
	})
}

func BenchmarkCleanResponse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{
			"Content-Type": {"application/json"}, "Date": {"x"}, "X-Okapi-Token": {"t"}, "Vary": {"Origin"},
		}}
		b.StartTimer()
		if err := CleanResponse(res); err != nil {
			b.Fatal(err)
		}
	}
}
