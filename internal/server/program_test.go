package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
)

// logged is a log that goroutines write and a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func testConfig(t *testing.T) *Config {
	t.Helper()
	c := &Config{Data: t.TempDir(), Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", LogTo: new(logged)}
	c.Log.Level = "debug"
	c.SetDefaults()
	return c
}

// running is a program that serves until stop.
type running struct {
	*Server
	t    *testing.T
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, c *Config) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s, err := Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{s, t, stop, make(chan error, 1)}
	go func() { r.done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// send makes a request, with headers as name and value in turn.
func (r *running) send(method, url, body string, headers ...string) (int, string) {
	r.t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// administer makes an operator's request.
func (r *running) administer(status int, method, path, body string) {
	r.t.Helper()
	if got, text := r.send(method, r.URL(Admin)+path, body, "Authorization", "Bearer "+r.admin.Token); got != status {
		r.t.Fatalf("%s %s answered %d %s", method, path, got, text)
	}
}

const readerLogin = `{"username":"reader","password":"correct horse battery"}`

// reader makes a user, logs in and returns the tokens.
func (r *running) reader() (access, refresh string) {
	r.t.Helper()
	r.administer(201, "POST", "/counterfoil/tenants", `{"id":"diku"}`)
	r.administer(201, "POST", "/counterfoil/tenants/diku/users", `{"username":"reader","password":"correct horse battery","permissions":["slow.get"]}`)
	return r.logIn()
}

func (r *running) logIn() (access, refresh string) {
	r.t.Helper()
	status, text := r.send("POST", r.URL(Public)+"/authn/login", readerLogin, "X-Okapi-Tenant", "diku")
	var got struct{ AccessToken, RefreshToken string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusCreated {
		r.t.Fatalf("login answered %d %s", status, text)
	}
	return got.AccessToken, got.RefreshToken
}

// module registers a module that answers at url.
func (r *running) module(descriptor, url string) {
	r.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	d, err := gateway.ParseDescriptor([]byte(descriptor))
	if err == nil {
		err = r.Gateway().Register(ctx, true, d)
	}
	if err == nil {
		_, err = r.Gateway().Install(ctx, "diku", []gateway.InstallEntry{{ID: d.ID, Action: "enable"}}, &gateway.InstallOptions{})
	}
	if err == nil {
		err = r.Store().SaveInstance(ctx, directory.Instance{ID: d.ID + "-1", Module: d.ID, URL: url}, audit.Event{Kind: audit.ModuleChanged})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// refused waits until a listener takes no connection any more.
func (r *running) refused(listener string) {
	r.t.Helper()
	address := strings.TrimPrefix(r.URL(listener), "http://")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
	}
	r.t.Fatalf("the %s listener still takes connections", listener)
}
