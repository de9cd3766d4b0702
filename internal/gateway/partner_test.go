package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
)

var partnerRoutes = []gateway.PartnerRoute{
	{Path: "/orders", Methods: []string{"POST"}, Query: map[string]string{"type": "GOBI"}, To: "/echo", Keys: []string{"query", "header"}, Errors: gateway.ErrorsOrders},
	{Path: "/orders/lines/{id}", Methods: []string{"GET", "PUT"}, Query: map[string]string{"type": "EBSCONET"}, To: "/items/{id}", Keys: []string{"query"}},
	{Path: "/oai/{apiKeyPath}", Methods: []string{"GET"}, To: "/open", Keys: []string{"path"}},
	{Path: "/bare", Methods: []string{"GET"}, To: "/echo"},
}

// partnered is a world with routes of partners and a module that answers what it saw.
func partnered(t testing.TB, handler http.HandlerFunc) *world {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.Partners = partnerRoutes })
	w.module(echoDescriptor, handler)
	return w
}

func TestPartnersCallAsTheyCalledTheEdgeModule(t *testing.T) {
	w := partnered(t, echo)
	_, edge := w.imported(everything)
	_, own := w.key(everything)
	for _, test := range []struct{ method, path, authorization, uri string }{
		{"POST", "/orders?type=GOBI&apikey=" + edge, "", "/echo"},
		{"POST", "/orders?apiKey=" + strings.TrimRight(edge, "=") + "&x=a%3Bb;c&type=gobi", "", "/echo?x=a%3Bb;c"},
		{"POST", "/orders?type=GOBI", "apikey " + edge, "/echo"},
		{"POST", "/orders?type=GOBI", edge, "/echo"},
		{"POST", "/orders?type=GOBI", own, "/echo"},
		{"POST", "/orders?TYPE=GOBI&apikey=" + edge, "apikey " + edge, "/echo"},
		{"GET", "/orders/lines/10%2F1?type=EBSCONET&apikey=" + edge, "", "/items/10%2F1"},
		{"GET", "/orders/lines/10?type=EBSCONET", own, "/items/10"},
		{"GET", "/oai/" + edge + "?verb=Identify", "", "/open?verb=Identify"},
		{"GET", "/bare", "apikey " + edge, "/echo"},
	} {
		got := call(t, test.method, w.public+test.path, "", "Authorization", test.authorization)
		if got.status != 200 {
			t.Errorf("%s %s: %d %s", test.method, test.path, got.status, got.body)
			continue
		}
		seen := got.seen(t)
		if seen.URI != test.uri || seen.Header.Get("Authorization") != "" || seen.Header.Get("X-Okapi-Tenant") != "diku" || seen.Header.Get("X-Okapi-User-Id") != alice {
			t.Errorf("%s %s: the module saw %+v", test.method, test.path, seen)
		}
		if strings.Contains(got.body, salt) || strings.Contains(got.body, strings.TrimRight(edge, "=")) {
			t.Errorf("%s %s: the module saw the key", test.method, test.path)
		}
	}
	for _, family := range gathered(t, w) {
		if strings.Contains(family, "eyJ") || strings.Contains(family, "cfak_") {
			t.Error("a key is in the metrics")
		}
	}
	if log := w.log.String(); strings.Contains(log, salt) || strings.Contains(log, edge[:30]) {
		t.Error("a key is in the log")
	}
}

func gathered(t testing.TB, w *world) (all []string) {
	t.Helper()
	families, err := w.counted.Gather()
	w.must(err)
	for _, f := range families {
		all = append(all, f.String())
	}
	return all
}

const xmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Error><Code>"

func TestFaultsOfPartnersInTheirForm(t *testing.T) {
	w := partnered(t, echo)
	_, edge := w.imported(everything)
	_, own := w.key(everything)
	own = strings.TrimPrefix(own, "apikey ")
	other := edgeKey("0123456789abcdefg", "diku", "alice")
	for _, test := range []struct {
		method, path, accept string
		status               int
		body                 string
	}{
		{"POST", "/orders?type=GOBI&apikey=" + other, "", 401, xmlHead + "API_KEY_INVALID</Code><Message>Invalid API Key</Message></Error></Response>"},
		{"POST", "/orders?type=GOBI&apikey=" + other, "text/html, application/json", 401, `{"Error":{"Code":"API_KEY_INVALID","Message":"Invalid API Key"}}`},
		{"POST", "/orders?type=GOBI&apikey=nonsense", "", 401, xmlHead + "API_KEY_INVALID"},
		{"POST", "/orders?apikey=" + edge, "", 400, xmlHead + "BAD_REQUEST</Code><Message>Missing required parameter: type"},
		{"POST", "/orders?type=NONE&apikey=" + edge, "", 400, xmlHead + "BAD_REQUEST"},
		{"GET", "/orders?type=GOBI&apikey=" + edge, "", 400, xmlHead + "BAD_REQUEST"},
		{"POST", "/orders?type=GOBI&apikey=" + edge + "&apikey=" + other, "", 400, xmlHead + "BAD_REQUEST</Code><Message>Different API keys"},
		{"POST", "/orders?type=GOBI&apikey=" + own, "", 400, xmlHead + "BAD_REQUEST</Code><Message>Keys of Counterfoil&#39;s own"},
		{"GET", "/oai/" + own, "", 400, "Keys of Counterfoil's own"},
		{"GET", "/bare?apikey=" + edge, "", 400, "This route takes no API key from the query"},
		{"GET", "/orders/lines/1?apikey=" + edge, "", 400, "Missing required parameter: type"},
		{"GET", "/oai/nonsense", "", 401, `{"message":"API key is not valid"`},
	} {
		got := call(t, test.method, w.public+test.path, "", "Accept", test.accept)
		got.want(t, test.status, test.body)
		if strings.Contains(got.body, other[:40]) || strings.Contains(got.body, "nonsense") {
			t.Errorf("%s %s: the key is repeated", test.method, test.path)
		}
	}
	// Who is no partner is served as ever: users have paths of the same names.
	w.get("/orders", "X-Okapi-Token", w.access()).want(t, 404, "No suitable module")
	call(t, "POST", w.internal+"/orders?type=GOBI", "", "X-Okapi-Tenant", "diku").want(t, 404, "")
}

// Edge modules pass the module's status on, and put what it said into their own form.
func TestFaultsOfModulesInTheFormOfPartners(t *testing.T) {
	var status atomic.Int32
	contentType := "text/plain"
	w := partnered(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Error("the module may compress")
		}
		rw.Header().Set("Content-Type", contentType)
		rw.WriteHeader(int(status.Load()))
		_, _ = rw.Write([]byte("<no> & none"))
	})
	_, edge := w.imported(everything)
	order := func(accept string) answer {
		return call(t, "POST", w.public+"/orders?type=GOBI&apikey="+edge, "", "Accept", accept, "Accept-Encoding", "gzip")
	}
	for code, want := range map[int32]string{
		400: "BAD_REQUEST", 401: "ACCESS_DENIED", 403: "FORBIDDEN", 404: "NOT_FOUND", 408: "REQUEST_TIMEOUT", 500: "INTERNAL_SERVER_ERROR", 422: "INTERNAL_SERVER_ERROR",
	} {
		status.Store(code)
		got := order("application/xml")
		got.want(t, int(code), xmlHead+want+"</Code><Message>&lt;no&gt; &amp; none</Message>")
		if got.header.Get("Content-Type") != "application/xml" {
			t.Error(got.header)
		}
		order("application/json").want(t, int(code), `{"Error":{"Code":"`+want+`","Message":"<no> & none"}}`)
	}
	contentType = "application/xml"
	order("application/xml").want(t, int(status.Load()), "<no> & none")
	contentType = "text/plain"
	status.Store(201)
	order("application/xml").want(t, 201, "<no> & none")
	_, err := w.db.DeleteInstances(context.Background(), "mod-echo-1.0.0", "", noEvent)
	w.must(err)
	order("").want(t, 404, xmlHead+"NOT_FOUND")
}

func TestRoutesOfPartnersAreChecked(t *testing.T) {
	good := func(change func(*gateway.PartnerRoute)) error {
		r := gateway.PartnerRoute{Path: "/a/{id}", Methods: []string{"GET"}, To: "/b/{id}"}
		if change != nil {
			change(&r)
		}
		return r.Check()
	}
	if err := good(nil); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*gateway.PartnerRoute){
		"path: \"a\"":        func(r *gateway.PartnerRoute) { r.Path, r.To = "a", "/b" },
		"{other} is not":     func(r *gateway.PartnerRoute) { r.To = "/b/{other}" },
		"stands there twice": func(r *gateway.PartnerRoute) { r.Path = "/{id}/{id}" },
		"is no segment":      func(r *gateway.PartnerRoute) { r.To = "/b{id}" },
		"methods: none":      func(r *gateway.PartnerRoute) { r.Methods = nil },
		"methods: \"TRACE\"": func(r *gateway.PartnerRoute) { r.Methods = []string{"TRACE"} },
		"keys: \"cookie\"":   func(r *gateway.PartnerRoute) { r.Keys = []string{"cookie"} },
		"belong together":    func(r *gateway.PartnerRoute) { r.Keys = []string{"path"} },
		"errors: \"html\"":   func(r *gateway.PartnerRoute) { r.Errors = "html" },
		"query: APIKEY":      func(r *gateway.PartnerRoute) { r.Query = map[string]string{"APIKEY": "x"} },
		"or is the key": func(r *gateway.PartnerRoute) {
			r.Path, r.To, r.Keys = "/{apiKeyPath}", "/{apiKeyPath}", []string{"path"}
		},
		"to: \"/b?x=1\" is no": func(r *gateway.PartnerRoute) { r.To = "/b?x=1" },
	} {
		if err := good(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
