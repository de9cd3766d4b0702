package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	runToken = "the token of this run"
	password = "correct horse battery"
)

// world is the API over a real store, real keys and the real use cases.
type world struct {
	t        *testing.T
	store    *store.SQLite
	ring     *token.Ring
	sessions *session.Service
	handler  *admin.Handler
	mux      *http.ServeMux
	log      *bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), log: new(bytes.Buffer)}
	var err error
	w.store, err = store.Open(ctx, store.Config{Path: filepath.Join(t.TempDir(), "admin.db"), Now: w.Now})
	w.must(err)
	people := &directory.Cache{Source: w.store, Now: w.Now, TTL: -1}
	w.must(people.Load(ctx))
	w.ring, err = token.OpenRing(ctx, token.Config{
		Store: w.store, Master: []byte("0123456789abcdefghijklmnopqrstuv"), Issuer: "test", Audience: "folio", Now: w.Now,
	})
	w.must(err)
	policies := &session.Policies{Default: session.DefaultPolicy()}
	w.sessions = &session.Service{
		Store: w.store, Feed: w.store, Cluster: w.store, Accounts: w.store, Credentials: w.store, Events: w.store, Users: w.store, Directory: people, Tokens: w.ring,
		Passwords: &credential.Hasher{Memory: 64, Time: 1}, Limits: &credential.Regulator{}, Policies: policies, Now: w.Now,
	}
	hasher, err := apikey.NewHasher([]byte("0123456789abcdefghijklmnopqrstuv"))
	w.must(err)
	w.sessions.Keys = &session.APIKeys{Store: w.store, Hasher: hasher}
	w.store.OnChange(func(changes []session.Change) {
		for _, c := range changes {
			switch c.Kind {
			case session.TenantsChanged:
				w.must(people.ReloadTenants(ctx))
			case session.PoliciesChanged:
				w.must(policies.Load(ctx, w.store))
			}
		}
	})
	w.must(w.sessions.Start(ctx))
	t.Cleanup(func() {
		_ = w.sessions.Close(ctx) // fails where a test has closed the store
		w.must(w.store.Close())
	})
	w.handler = &admin.Handler{
		Sessions: w.sessions, Directory: people, Tokens: w.ring, Store: w.store, Now: w.Now, Token: runToken,
		Bootstrap: &admin.Bootstrap{File: filepath.Join(t.TempDir(), "bootstrap"), Now: w.Now},
		Log:       slog.New(slog.NewTextHandler(w.log, nil)),
	}
	w.mux = http.NewServeMux()
	w.handler.Mount(w.mux)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// send makes a request as a listener passes it on, with headers as name and
// value in turn.
func (w *world) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	actor := &audit.Actor{Kind: "anonymous", Address: "192.0.2.7"}
	answer := httptest.NewRecorder()
	w.mux.ServeHTTP(answer, r.WithContext(audit.WithActor(r.Context(), actor)))
	return answer
}

// call makes an operator's request, whose answer must have the status, and
// returns the answer.
func (w *world) call(status int, method, path, body string) map[string]any {
	w.t.Helper()
	answer := w.send(method, path, body, "Authorization", "Bearer "+runToken, "X-Counterfoil-Command", "test")
	if answer.Code != status {
		w.t.Fatalf("%s %s %s answered %d, want %d: %s", method, path, body, answer.Code, status, answer.Body)
	}
	if answer.Header().Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s %s may be stored", method, path)
	}
	if status == http.StatusNoContent {
		return nil
	}
	var got map[string]any
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Header().Get("Content-Type") != "application/json" {
		w.t.Fatalf("%s %s answered %q: %v", method, path, answer.Body, err)
	}
	if code, _ := got["code"].(string); status >= http.StatusBadRequest && (code == "" || got["message"] == "") {
		w.t.Errorf("%s %s answered %d without code and message: %v", method, path, status, got)
	}
	return got
}

// reader makes tenant diku with a user, and returns the user's id.
func (w *world) reader() string {
	w.t.Helper()
	w.call(201, "POST", "/counterfoil/tenants", `{"id":"diku","name":"Institut"}`)
	got := w.call(201, "POST", "/counterfoil/tenants/diku/users", `{"username":"reader","password":"`+password+`","permissions":["orders.get"]}`)
	return got["id"].(string)
}

func (w *world) logIn() *session.Tokens {
	w.t.Helper()
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "anonymous", Address: "198.51.100.1", UserAgent: "browser"})
	tokens, err := w.sessions.Login(ctx, session.LoginRequest{Tenant: "diku", Username: "reader", Password: password, Client: session.ClientAPI})
	w.must(err)
	return tokens
}

// holds is whether an access token is accepted.
func (w *world) holds(tokens *session.Tokens) bool {
	_, err := w.sessions.Check(context.Background(), tokens.Access, token.KindAccess)
	return err == nil
}

// refreshes is whether a refresh token is accepted.
func (w *world) refreshes(tokens *session.Tokens) bool {
	_, err := w.sessions.Refresh(context.Background(), session.RefreshRequest{Token: tokens.Refresh})
	return err == nil
}

// events lists the kinds of a tenant's events with their actors, oldest first.
func (w *world) events(tenant string) []string {
	w.t.Helper()
	list, err := w.store.Events(context.Background(), session.EventFilter{Tenant: tenant})
	w.must(err)
	var kinds []string
	for i := len(list) - 1; i >= 0; i-- {
		kinds = append(kinds, string(list[i].Kind)+" by "+list[i].Actor.Kind+" "+list[i].Actor.Name)
	}
	return kinds
}
