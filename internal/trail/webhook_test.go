package trail

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

var one = audit.Record{Type: audit.RecordEvent, N: 7, Seq: 9, Hash: strings.Repeat("ab", 32), Kind: audit.SessionRevoked, CAEP: audit.SessionRevoked.CAEP(), Tenant: "diku"}

func TestWebhookIsSignedAndRefusalsAreTold(t *testing.T) {
	status := http.StatusNoContent
	w := &Webhook{Secret: []byte(strings.Repeat("s", 32)), Issuer: "i", Now: time.Now, Client: NewWebhookClient()}
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if want := "v1," + w.sign(r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body); r.Header.Get("Webhook-Signature") != want {
			t.Errorf("signature %q", r.Header.Get("Webhook-Signature"))
		}
		if !strings.Contains(string(body), `/caep/event-type/session-revoked"`) {
			t.Errorf("body %s", body)
		}
		answer.WriteHeader(status)
	}))
	defer server.Close()
	w.URL = server.URL
	for code, refused := range map[int]bool{204: false, 422: true, 500: false, 401: false, 302: false} {
		status = code
		n, err := w.Deliver(t.Context(), []audit.Record{one})
		if (n == 1) != (code == 204) || errors.Is(err, ErrRefused) != refused {
			t.Errorf("%d: %d %v", code, n, err)
		}
	}
	w.URL = "http://169.254.169.254/"
	if _, err := w.Deliver(t.Context(), []audit.Record{one}); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("link-local: %v", err)
	}
}

func TestFileCutsOffHalfALineAndRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("{\"type\":\"event\"}\n{\"ty"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &File{Path: path, MaxBytes: 100, Sync: true}
	defer f.Close()
	for range 2 {
		if n, err := f.Deliver(t.Context(), []audit.Record{one}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	old, err := os.ReadFile(path + ".7")
	if err != nil || strings.Count(string(old), "\n") != 2 || strings.Contains(string(old), `{"ty{`) {
		t.Errorf("%q %v", old, err)
	}
}
