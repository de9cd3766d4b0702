package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector of OpenTelemetry.
type spans struct {
	*httptest.Server
	mu   sync.Mutex
	list []*traces.Span
	raw  bytes.Buffer
}

func openSpans(t *testing.T) *spans {
	t.Helper()
	s := &spans{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		text, _ := io.ReadAll(body)
		var got collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(text, &got); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.raw.Write(text)
		for _, resource := range got.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				s.list = append(s.list, scope.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// named finds spans by their name.
func (s *spans) named(name string) (list []*traces.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.list {
		if one.Name == name {
			list = append(list, one)
		}
	}
	return list
}

func (s *spans) only(t *testing.T, name string) *traces.Span {
	t.Helper()
	list := s.named(name)
	if len(list) != 1 {
		t.Fatalf("%d spans %q", len(list), name)
	}
	return list[0]
}

func attribute1(s *traces.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// nesting is a module whose handler calls another route through the gateway, with
// the headers that FOLIO's modules pass on, and traceparent.
func nesting(t *testing.T) (url string, seen func() http.Header) {
	t.Helper()
	var mu sync.Mutex
	var last http.Header
	mux := http.NewServeMux()
	mux.HandleFunc("GET /nested", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		last = r.Header.Clone()
		mu.Unlock()
		call, _ := http.NewRequestWithContext(r.Context(), "GET", r.Header.Get("X-Okapi-Url")+"/nested", nil)
		for _, name := range []string{"X-Okapi-Tenant", "X-Okapi-Token", "X-Okapi-Request-Id", "Traceparent"} {
			call.Header.Set(name, r.Header.Get(name))
		}
		answer, err := http.DefaultClient.Do(call)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
	})
	module := httptest.NewServer(mux)
	t.Cleanup(module.Close)
	return module.URL, func() http.Header { mu.Lock(); defer mu.Unlock(); return last }
}

const foreignTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTracesFollowNestedCalls(t *testing.T) {
	for name, outside := range map[string]bool{"linked to a client's trace": false, "within a client's trace": true} {
		t.Run(name, func(t *testing.T) {
			to := openSpans(t)
			c := testConfig(t)
			c.Tracing.Endpoint, c.Tracing.AcceptFromOutside = to.URL+"/v1/traces", outside
			r := start(t, c)
			access, refresh := r.reader()
			url, seen := nesting(t)
			r.module(slowModule, url)
			status, _ := r.send("GET", r.URL(Public)+"/slow?key=in-the-query", "", "X-Okapi-Token", access, "Traceparent", foreignTrace, "Tracestate", "evil=1")
			if status != 200 {
				t.Fatal(status)
			}
			r.tracing.close(context.Background())

			public, call := to.only(t, "GET /slow"), to.only(t, "call GET /slow")
			inside, nested := to.only(t, "GET /nested"), to.only(t, "call GET /nested")
			for i, pair := range [][2]*traces.Span{{public, call}, {call, inside}, {inside, nested}} {
				if !bytes.Equal(pair[0].SpanId, pair[1].ParentSpanId) || !bytes.Equal(pair[0].TraceId, pair[1].TraceId) {
					t.Errorf("link %d: %s is not within %s", i, pair[1].Name, pair[0].Name)
				}
			}
			if got := strings.Contains(foreignTrace, hexOf(public.TraceId)); got != outside || outside == (len(public.Links) > 0) {
				t.Errorf("in the client's trace: %v, links %v", got, public.Links)
			}
			if outside != (seen().Get("Tracestate") != "") || !strings.Contains(seen().Get("Traceparent"), hexOf(call.SpanId)) {
				t.Errorf("the module was told %v", seen())
			}
			// The tree of request ids grows with the trace.
			first, second := attribute1(public, "folio.request_id"), attribute1(inside, "folio.request_id")
			if !strings.HasSuffix(first, "/slow") || second != first+";"+second[len(second)-len("123456/nested"):] || attribute1(call, "folio.tenant") != "diku" || attribute1(inside, "folio.module") != "mod-slow-1.0.0" {
				t.Errorf("request ids %q and %q", first, second)
			}
			if len(to.named("POST /authn/login")) != 1 {
				t.Error("the login has no span")
			}
			for _, secret := range []string{access, refresh, "correct horse battery", "in-the-query", "reader"} {
				if bytes.Contains(to.raw.Bytes(), []byte(secret)) {
					t.Errorf("T-2: %.12s… is in what was exported", secret)
				}
			}
		})
	}
}

func hexOf(id []byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, one := range id {
		b.WriteByte(digits[one>>4])
		b.WriteByte(digits[one&15])
	}
	return b.String()
}

// A collector that hangs, or is not there, costs spans and no time.
func TestADeadCollectorHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hanging.Close()
	defer close(release)
	for _, endpoint := range []string{hanging.URL, "http://127.0.0.1:1"} {
		c := testConfig(t)
		c.Tracing.Endpoint = endpoint + "/v1/traces"
		r := start(t, c)
		access, _ := r.reader()
		for range 20 {
			if status, text := r.send("GET", r.URL(Public)+"/authn/sessions/_self", "", "X-Okapi-Token", access); status != 200 {
				t.Fatalf("%d %s", status, text)
			}
		}
		closed := make(chan struct{})
		go func() { r.tracing.close(context.Background()); close(closed) }()
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatal("the end waits for the collector")
		}
		if _, text := r.send("GET", r.URL(Admin)+"/metrics", ""); !strings.Contains(text, "counterfoil_trace_spans_total") || strings.Contains(text, "counterfoil_trace_spans_total 0\n") {
			t.Error("spans are not counted")
		}
	}
}

// Without an endpoint nothing is made, and the client's headers pass as all others do.
func TestTracesAreOffByDefault(t *testing.T) {
	r := start(t, testConfig(t))
	access, _ := r.reader()
	url, seen := nesting(t)
	r.module(slowModule, url)
	for _, parent := range []string{foreignTrace, "garbage", "00-" + strings.Repeat("0", 32) + "-0000000000000000-01", strings.Repeat("x", 4000)} {
		if status, _ := r.send("GET", r.URL(Public)+"/slow", "", "X-Okapi-Token", access, "Traceparent", parent, "Tracestate", "a=1"); status != 200 {
			t.Fatal(status)
		}
		if seen().Get("Traceparent") != parent || seen().Get("Tracestate") != "a=1" {
			t.Errorf("the module was told %v", seen())
		}
	}
	if _, text := r.send("GET", r.URL(Admin)+"/metrics", ""); strings.Contains(text, "counterfoil_trace") {
		t.Error("there are metrics of traces that nobody makes")
	}
}

func TestHostileTraceHeadersBeginATraceOfOurOwn(t *testing.T) {
	to := openSpans(t)
	c := testConfig(t)
	c.Tracing.Endpoint, c.Tracing.AcceptFromOutside = to.URL+"/v1/traces", true
	r := start(t, c)
	access, _ := r.reader()
	hostile := []string{"garbage", "00-" + strings.Repeat("0", 32) + "-0000000000000000-01", strings.Repeat("x", 4000), "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", foreignTrace + "-more"}
	for _, parent := range hostile {
		if status, _ := r.send("GET", r.URL(Public)+"/authn/sessions/_self", "", "X-Okapi-Token", access, "Traceparent", parent, "Tracestate", strings.Repeat("a=1,", 500)); status != 200 {
			t.Fatal(status)
		}
	}
	r.tracing.close(context.Background())
	list := to.named("GET /authn/sessions/_self")
	if len(list) != len(hostile) {
		t.Fatalf("%d spans", len(list))
	}
	for _, s := range list {
		if len(s.ParentSpanId) > 0 || s.TraceState != "" {
			t.Errorf("%+v", s)
		}
	}
}
