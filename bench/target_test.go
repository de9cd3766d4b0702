package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// moody is a server in Dex's words that fails the first refresh with every
// tenth token, closes the connection on that with every hundredth, and never lets
// one session in.
type moody struct {
	mu      sync.Mutex
	current map[string]int // how often it was presented
	n       int
	// what it answered
	good, failed, closed, refused int
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	token := r.FormValue("refresh_token")
	id, secret, _ := r.BasicAuth()
	times, known := m.current[token]
	switch m.current[token]++; {
	case id != "app" || secret != "secret" || !known:
		delete(m.current, token)
		m.refused++
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
	case times == 0 && strings.HasSuffix(token, "50"):
		m.closed++
		panic(http.ErrAbortHandler)
	case times == 0 && strings.HasSuffix(token, "7"):
		m.failed++
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, `{"error":"server_error"}`)
	default:
		m.good++
		delete(m.current, token)
		m.n++
		next := fmt.Sprintf("token-%d", m.n)
		m.current[next] = 0
		_ = json.NewEncoder(w).Encode(map[string]string{"padding": strings.Repeat("x", 3000), "refresh_token": next})
	}
}

func TestErrorsOfAnotherServerAreCountedAndShown(t *testing.T) {
	m := &moody{current: make(map[string]int)}
	server := httptest.NewServer(m)
	defer server.Close()
	dir := t.TempDir()
	tokens, client := filepath.Join(dir, "tokens"), filepath.Join(dir, "client")
	text := "nobody knows this one\n"
	for i := range 8 {
		text += fmt.Sprintf("first-%d\n", i)
		m.current[fmt.Sprintf("first-%d", i)] = 0
	}
	for file, content := range map[string]string{tokens: text, client: "app:secret\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := openOther("dex", server.URL, tokens, client, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	o.refusals = make(map[string]int)
	got, err := o.run(3, closedLoop(0, 200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := o.report(newTable(&out)); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if got.requests != m.good || o.refusals["500 server_error"] != m.failed || o.refusals["400 invalid_grant"] != m.refused || m.failed == 0 || m.refused != mayFail || o.dead != 1 {
		t.Errorf("%d were counted, the server answered %+v:\n%s", got.requests, m, out.String())
	}
	broken := 0
	for what, n := range o.refusals {
		if strings.HasPrefix(what, "connection: ") {
			broken += n
		}
	}
	if broken != m.closed || strings.Contains(out.String(), "first-") || strings.Contains(out.String(), "token-") {
		t.Errorf("%d connections broke, the server closed %d:\n%s", broken, m.closed, out.String())
	}
	if err := o.save(tokens); err != nil {
		t.Fatal(err)
	}
	again, err := openOther("dex", server.URL, tokens, client, "", nil)
	if err != nil || len(again.chains) != 8 {
		t.Fatalf("%d chains were saved: %v", len(again.chains), err)
	}
	for _, c := range again.chains {
		if _, ok := m.current[c.token]; !ok {
			t.Errorf("%s was saved, which is not current", c.token)
		}
	}
}

// An open loop counts the time that a request waited for a free worker.
func TestAnOpenLoopCountsWaiting(t *testing.T) {
	s := openLoop(1000, 0, 100*time.Millisecond)
	slow := func(int) (task, error) {
		return task{
			prepare: func() error { return nil },
			act:     func() error { time.Sleep(10 * time.Millisecond); return nil },
			done:    func() {},
		}, nil
	}
	got, err := drive(1, s, slow)
	if err != nil {
		t.Fatal(err)
	}
	if got.requests != 100 || got.p99 < 500*time.Millisecond {
		t.Errorf("one worker of 100/s had %d arrivals of 1000/s, the slowest waited %s", got.requests, got.p99)
	}
}

// The adapters of this program are tested on this program.
func TestCounterfoilIsATargetLikeOthers(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	b.binary = filepath.Join(b.dir, "counterfoil")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", b.binary, "../cmd/counterfoil").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	h, err := b.newHome(t.Context(), "target")
	if err != nil {
		t.Fatal(err)
	}
	current, err := fresh(t.Context(), h, 4)
	if err != nil {
		t.Fatal(err)
	}
	p, err := startCounterfoil(t.Context(), b.binary, h, folioExact)
	if err != nil {
		t.Fatal(err)
	}
	tokens := filepath.Join(b.dir, "tokens")
	if err := os.WriteFile(tokens, []byte(strings.Join(current, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, adapter := range []string{"counterfoil", "counterfoil-cookie", "mod-login"} {
		o, err := openOther(adapter, "http://"+p.address, tokens, "", tenant, nil)
		if err != nil {
			t.Fatal(err)
		}
		o.refusals = make(map[string]int)
		got, err := o.run(2, closedLoop(0, 50*time.Millisecond))
		if err != nil || len(o.refusals) > 0 || o.kept > 0 || got.requests < 4 {
			t.Errorf("%s: %d refreshes, %d kept, refused %v: %v", adapter, got.requests, o.kept, o.refusals, err)
		}
		if err := o.save(tokens); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}
