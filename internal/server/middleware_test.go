package server

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// observedBy is next behind the middleware, and its log at debug level.
func observedBy(next http.Handler, trusted ...string) (*observed, *bytes.Buffer) {
	log := new(bytes.Buffer)
	o := &observed{
		next: next, listener: "public", now: time.Now, metrics: newMetrics(),
		log: slog.New(actorHandler{slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})}),
	}
	for _, network := range trusted {
		o.trusted = append(o.trusted, netip.MustParsePrefix(network))
	}
	return o, log
}

// A caller must not choose the address by which logins are limited and events
// are told.
func TestT24ForwardedAddressesAreBelievedOnlyFromTrustedProxies(t *testing.T) {
	trusted := []string{"10.0.0.0/8", "fd00::/8"}
	for name, c := range map[string]struct {
		remote    string
		forwarded []string
		want      string
	}{
		"a stranger speaks for himself":         {"203.0.113.9:1", []string{"198.51.100.1"}, "203.0.113.9"},
		"the proxy names its client":            {"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1"},
		"what the client claimed is left of it": {"10.0.0.1:1", []string{"192.0.2.66, 198.51.100.1"}, "198.51.100.1"},
		"through two proxies":                   {"10.0.0.1:1", []string{"192.0.2.66, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"in two headers":                        {"10.0.0.1:1", []string{"192.0.2.66", "198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		"claimed to come from a proxy":          {"10.0.0.1:1", []string{"10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		"proxies all the way":                   {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"garbage from the client":               {"10.0.0.1:1", []string{"evil, 198.51.100.1"}, "198.51.100.1"},
		"garbage at the end":                    {"10.0.0.1:1", []string{"198.51.100.1, evil"}, "10.0.0.1"},
		"an empty hop":                          {"10.0.0.1:1", []string{"198.51.100.1,,10.0.0.2"}, "10.0.0.2"},
		"nothing":                               {"10.0.0.1:1", nil, "10.0.0.1"},
		"with ports":                            {"10.0.0.1:1", []string{"192.0.2.66:7, 198.51.100.1:4711"}, "198.51.100.1"},
		"IPv6":                                  {"[fd00::1]:1", []string{"2001:db8::66, 2001:db8::1"}, "2001:db8::1"},
		"IPv6 with port":                        {"[fd00::1]:1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		"a mapped peer":                         {"[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.1"},
		"a mapped hop":                          {"10.0.0.1:1", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		"a mapped client":                       {"10.0.0.1:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"a zone":                                {"[fd00::1%eth0]:1", []string{"2001:db8::1%evil"}, "2001:db8::1"},
		"no address at all":                     {"@", []string{"198.51.100.1"}, ""},
	} {
		var got string
		o, _ := observedBy(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = audit.ActorFrom(r.Context()).Address }), trusted...)
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		r.Header["X-Forwarded-For"] = c.forwarded
		r.Header.Set("X-Real-Ip", "192.0.2.77")
		r.Header.Set("Forwarded", "for=192.0.2.78")
		o.ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Panics and request lines are where secrets get into logs.
func TestT2PanicsAreAnsweredWithoutDetail(t *testing.T) {
	for name, value := range map[string]any{"text": "swordfish", "error": errors.New("swordfish"), "bytes": []byte("swordfish")} {
		o, log := observedBy(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }))
		answer := httptest.NewRecorder()
		o.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		if answer.Code != http.StatusInternalServerError || answer.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: answered %d as %q", name, answer.Code, answer.Header().Get("Content-Type"))
		}
		for where, text := range map[string]string{"answer": answer.Body.String(), "log": log.String()} {
			if strings.Contains(text, "swordfish") {
				t.Errorf("%s: the %s tells the value: %s", name, where, text)
			}
		}
		if strings.Contains(answer.Body.String(), ".go") {
			t.Errorf("%s: the answer has a stack: %s", name, answer.Body)
		}
		if !strings.Contains(log.String(), "middleware_test.go") {
			t.Errorf("%s: the log does not tell where: %s", name, log)
		}
	}
}

func TestAPanicAfterTheFirstByteCutsTheAnswerOff(t *testing.T) {
	o, log := observedBy(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half of the")
		_ = http.NewResponseController(w).Flush()
		panic("swordfish")
	}))
	server := httptest.NewServer(o)
	defer server.Close()
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("half an answer was taken for a whole one: %q", body)
	}
	server.Close() // so that the handler is through with its log
	if !strings.Contains(log.String(), "panicked") || strings.Contains(log.String(), "swordfish") {
		t.Errorf("the log is %s", log)
	}
}

func TestT2RequestsAreLoggedWithoutSecrets(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /authn/{rest...}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.SetCookie(w, &http.Cookie{Name: "folioRefreshToken", Value: "swordfish"})
		_, _ = io.WriteString(w, "swordfish")
	})
	o, log := observedBy(mux)
	r := httptest.NewRequest("GET", "/authn/x?token=swordfish", strings.NewReader("swordfish"))
	for _, name := range []string{"Authorization", "X-Okapi-Token", "Cookie", "Referer"} {
		r.Header.Set(name, "swordfish")
	}
	r.Header.Set("X-Okapi-Tenant", "diku")
	r.Header.Set("User-Agent", strings.Repeat("é", 150))
	o.ServeHTTP(httptest.NewRecorder(), r)
	if strings.Contains(log.String(), "swordfish") {
		t.Errorf("the log has a secret: %s", log)
	}
	for _, part := range []string{`"path":"/authn/x"`, `"status":200`, `"bytes":9`, `"tenant":"diku"`, `"method":"GET"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s: %s", part, log)
		}
	}
}

func TestWhatStrangersSendIsCutToValidText(t *testing.T) {
	for text, want := range map[string]string{
		"short": "short", "abcdefgh": "abcde", "ééé": "éé", "a\xffb": "ab",
	} {
		if got := cut(text, 5); got != want {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
}
