package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	readerID = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	readerPW = "correct horse, canary battery"
)

// office is the whole program on ports of its own, with a clock that can be
// set, tenant diku and user reader.
type office struct {
	*server.Server
	t      *testing.T
	config *server.Config
	offset atomic.Int64
	client *http.Client
	close  func()
}

// openOffice starts the program; adjust may change its configuration.
func openOffice(t *testing.T, adjust func(*server.Config)) *office {
	t.Helper()
	o := emptyOffice(t, adjust)
	o.populate()
	return o
}

// emptyOffice is an office without tenant and user.
func emptyOffice(t *testing.T, adjust func(*server.Config)) *office {
	t.Helper()
	o := &office{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}}
	o.config = &server.Config{
		Data: filepath.Join(t.TempDir(), "data"), Demo: true, LogTo: io.Discard,
		Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
		Now: func() time.Time { return time.Now().Add(time.Duration(o.offset.Load())) },
	}
	if adjust != nil {
		adjust(o.config)
	}
	o.config.SetDefaults()
	o.start()
	t.Cleanup(func() { o.close() })
	return o
}

func (o *office) populate() {
	o.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	err := o.Store().CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"})
	if !errors.Is(err, directory.ErrExists) {
		o.must(err)
	}
	reader := directory.User{ID: readerID, Tenant: "diku", Username: "reader", Active: true}
	o.must(o.Sessions().CreateUser(ctx, reader, directory.Grants{
		Permissions: []string{"orders.collection.get"}, Elevated: []string{"orders.collection.delete"},
	}, readerPW))
}

func (o *office) start() {
	o.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var err error
	o.Server, err = server.Open(ctx, o.config)
	o.must(err)
	served := make(chan error, 1)
	go func() { served <- o.Serve(ctx) }()
	o.close = sync.OnceFunc(func() {
		o.client.CloseIdleConnections()
		stop()
		if err := errors.Join(<-served, o.Server.Close(context.Background())); err != nil {
			o.t.Errorf("the program ended with: %v", err)
		}
	})
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

// wait moves the program's clock.
func (o *office) wait(d time.Duration) { o.offset.Add(int64(d)) }

// enable makes a module known, lets diku use it and says where it answers.
func (o *office) enable(id, handlers, url string) {
	o.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	d, err := gateway.ParseDescriptor([]byte(`{"id":"` + id + `","provides":[{"id":"` + id + `","version":"1.0","handlers":` + handlers + `}]}`))
	o.must(err)
	o.must(o.Gateway().Register(ctx, true, d))
	_, err = o.Gateway().Install(ctx, "diku", []gateway.InstallEntry{{ID: id, Action: "enable"}}, &gateway.InstallOptions{})
	o.must(err)
	instance := directory.Instance{ID: id + "-1", Module: id, URL: url}
	o.must(o.Store().SaveInstance(ctx, instance, audit.Event{Kind: audit.ModuleChanged}))
}

// reply is an answer, with what the body may hold.
type reply struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    []byte
	json    struct {
		AccessToken, RefreshToken, Token string
		Errors                           []struct {
			Code       string
			Parameters []struct{ Key, Value string }
		}
	}
}

// heal is the nonce of a superseded answer.
func (r *reply) heal() string {
	for _, e := range r.json.Errors {
		for _, p := range e.Parameters {
			if p.Key == "heal" {
				return p.Value
			}
		}
	}
	return ""
}

// send sends body, if there is one, as JSON. Names and values of the header
// take turns.
func (o *office) send(method, target string, body any, header ...string) (*reply, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequest(method, target, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	answer, err := o.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got := &reply{status: answer.StatusCode, header: answer.Header, cookies: answer.Cookies()}
	if got.body, err = io.ReadAll(answer.Body); err != nil {
		return nil, err
	}
	_ = json.Unmarshal(got.body, &got.json) // some bodies are text
	return got, nil
}

// post is send to the public listener, which must answer.
func (o *office) post(path string, body any, header ...string) *reply {
	o.t.Helper()
	got, err := o.send(http.MethodPost, o.URL(server.Public)+path, body, header...)
	o.must(err)
	return got
}

func (o *office) refresh(raw string) *reply {
	o.t.Helper()
	return o.post("/authn/refresh", map[string]string{"refreshToken": raw})
}

// login begins a session without the work of a password.
func (o *office) login() *session.Tokens {
	o.t.Helper()
	tokens, err := o.Sessions().SignFor(context.Background(), "diku", readerID, "reader")
	o.must(err)
	return tokens
}
