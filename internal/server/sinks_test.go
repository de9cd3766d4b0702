package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// hook is a receiver of events, which may be out of order.
type hook struct {
	*httptest.Server
	broken atomic.Bool
	asked  chan struct{} // signals that it was asked, if anybody waits

	mu     sync.Mutex
	bodies []string
}

func openHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{asked: make(chan struct{}, 1)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if h.broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		} else {
			h.mu.Lock()
			h.bodies = append(h.bodies, string(text))
			h.mu.Unlock()
		}
		select {
		case h.asked <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.bodies, "\n")
}

// recorded are the events of a file, by kind, in order.
func recorded(t *testing.T, path string) []audit.Record {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var list []audit.Record
	for line := range strings.Lines(string(text)) {
		record, err := audit.ParseRecord([]byte(line))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, record)
	}
	return list
}

// Threat (T-49): a sink that is full or dead stands in the way of a refresh, or
// events are lost that it did not take. The disk is really full: /dev/full.
func TestT49AFullOrDeadSinkHoldsUpNobodyAndLosesNothing(t *testing.T) {
	dir, receiver := t.TempDir(), openHook(t)
	receiver.broken.Store(true)
	path, secret := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "secret")
	if err := errors.Join(os.Symlink("/dev/full", path), os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600)); err != nil {
		t.Fatal(err)
	}
	o := openOffice(t, func(c *server.Config) {
		c.Audit.SealEvery = session.Duration(100 * time.Millisecond)
		c.Audit.File.Path = path
		c.Audit.Webhook.URL, c.Audit.Webhook.SecretFile = receiver.URL, secret
	})
	tokens := o.login()
	o.wait(time.Minute)
	next := o.refresh(tokens.Refresh).want(t, 201, "")
	o.must(o.Sessions().Logout(context.Background(), next.json.RefreshToken))
	<-receiver.asked // it was tried, and failed
	o.eventually("both sinks are behind, and the metrics say so", func() bool {
		got, err := o.send("GET", o.URL(server.Admin)+"/metrics", nil)
		o.must(err)
		behind := 0
		for line := range strings.Lines(string(got.body)) {
			if strings.HasPrefix(line, "counterfoil_audit_sink_lag_records{") && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
				behind++
			}
		}
		return behind == 2
	})
	if len(receiver.all()) > 0 {
		t.Error("a receiver that failed has events")
	}
	// What stopped in the middle goes on where it was.
	o.close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	receiver.broken.Store(false)
	o.start()
	o.eventually("both sinks have the end of the session", func() bool {
		logout := func(r audit.Record) bool { return r.Kind == audit.Logout && r.Session == tokens.Session.String() }
		return slices.ContainsFunc(recorded(t, path), logout) && strings.Contains(receiver.all(), `"kind":"logout"`)
	})
	records := recorded(t, path)
	for i := range records {
		if i > 0 && records[i].N != records[i-1].N+1 {
			t.Errorf("record %d comes after %d", records[i].N, records[i-1].N)
		}
	}
	if records[0].N != 1 {
		t.Errorf("the first record is %d", records[0].N)
	}
	for _, secret := range []string{readerPW, tokens.Access, tokens.Refresh, next.json.AccessToken, next.json.RefreshToken, strings.Repeat("s", 32)} {
		text, err := os.ReadFile(path)
		o.must(err)
		if strings.Contains(string(text)+receiver.all(), secret) {
			t.Errorf("T-2: %.12s… left the program", secret)
		}
	}
}

// Each setting of the audit log that cannot be meant is refused at the start, by
// its name.
func TestAuditSettingsAreChecked(t *testing.T) {
	dir := t.TempDir()
	secret, short := filepath.Join(dir, "secret"), filepath.Join(dir, "short")
	if err := errors.Join(os.WriteFile(secret, []byte(strings.Repeat("s", 32)), 0o600), os.WriteFile(short, []byte("s"), 0o600)); err != nil {
		t.Fatal(err)
	}
	hooked := func(url, file string) func(*server.AuditSettings) {
		return func(a *server.AuditSettings) { a.Webhook.URL, a.Webhook.SecretFile = url, file }
	}
	duration := func(d time.Duration) session.Duration { return session.Duration(d) }
	for name, c := range map[string]struct {
		set   func(*server.AuditSettings)
		fault string
	}{
		"all defaults":         {func(*server.AuditSettings) {}, ""},
		"sealed too often":     {func(a *server.AuditSettings) { a.SealEvery = duration(time.Millisecond) }, "audit.seal_every"},
		"sealed too seldom":    {func(a *server.AuditSettings) { a.SealEvery = duration(time.Hour) }, "audit.seal_every"},
		"signed too often":     {func(a *server.AuditSettings) { a.CheckpointEvery = duration(time.Millisecond) }, "audit.checkpoint_every"},
		"signed too seldom":    {func(a *server.AuditSettings) { a.CheckpointEvery = duration(48 * time.Hour) }, "audit.checkpoint_every"},
		"kept too short":       {func(a *server.AuditSettings) { a.Keep = duration(24 * time.Hour) }, "audit.keep"},
		"files too small":      {func(a *server.AuditSettings) { a.File.MaxBytes = 100 }, "audit.file.max_bytes"},
		"OTLP elsewhere":       {func(a *server.AuditSettings) { a.OTLP.URL = "http://collector.example.org/v1/logs" }, "audit.otlp.url"},
		"OTLP, no such file":   {func(a *server.AuditSettings) { a.OTLP.AuthorizationFile = dir + "/none" }, "audit.otlp.authorization_file"},
		"https":                {hooked("https://siem.example.org/hook", secret), ""},
		"http on loopback":     {hooked("http://127.0.0.1:8080/hook", secret), ""},
		"http elsewhere":       {hooked("http://siem.example.org/hook", secret), "audit.webhook.url"},
		"cloud's credentials":  {hooked("http://169.254.169.254/latest", secret), "audit.webhook.url"},
		"the same in IPv6":     {hooked("https://[::ffff:169.254.169.254]/", secret), "audit.webhook.url"},
		"anywhere":             {hooked("https://0.0.0.0/", secret), "audit.webhook.url"},
		"another scheme":       {hooked("file:///etc/passwd", secret), "audit.webhook.url"},
		"a user":               {hooked("https://u:p@siem.example.org/", secret), "audit.webhook.url"},
		"a secret without URL": {hooked("", secret), "audit.webhook"},
		"no secret":            {hooked("https://siem.example.org/", ""), "audit.webhook.secret_file"},
		"a short secret":       {hooked("https://siem.example.org/", short), "audit.webhook.secret_file"},
		"a secret that is not": {hooked("https://siem.example.org/", filepath.Join(dir, "none")), "audit.webhook.secret_file"},
	} {
		config := &server.Config{Data: dir}
		config.SetDefaults()
		c.set(&config.Audit)
		err := errors.Join(config.Check()...)
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v, want a fault of %q", name, err, c.fault)
		}
	}
}
