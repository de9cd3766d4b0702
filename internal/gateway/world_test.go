package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	alice    = "9eb67301-6f6e-468f-9b1a-6134dc39a684" // of diku
	operator = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11" // of supertenant
	password = "correct horse battery staple"
	origin   = "https://ui.example.org"
)

// clock goes on by itself and can be put forward.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// world is the program around the gateway, with a real store, and its three
// listeners. Tenant diku has the user alice, who may echo.get.
type world struct {
	*clock
	t        testing.TB
	db       *store.SQLite
	ring     *token.Ring
	sessions *session.Service
	gateway  *gateway.Gateway
	counted  *prometheus.Registry
	log      *lockedBuffer

	public, internal, admin string // base URLs
}

// newWorld builds a world; change, if not nil, changes the gateway and the
// service before they start.
func newWorld(t testing.TB, change func(*gateway.Gateway, *session.Service)) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{clock: &clock{}, t: t, counted: prometheus.NewRegistry(), log: &lockedBuffer{}}
	var err error
	w.db, err = store.Open(ctx, store.Config{Path: filepath.Join(t.TempDir(), "counterfoil.db"), Now: w.Now})
	w.must(err)
	t.Cleanup(func() { w.must(w.db.Close()) })
	people := &directory.Cache{Source: w.db, Now: w.Now, TTL: -1}
	w.must(people.Load(ctx))
	w.ring, err = token.OpenRing(ctx, token.Config{
		Store: w.db, Master: bytes.Repeat([]byte{7}, 32), Issuer: "https://folio.example.org", Audience: "folio", Now: w.Now,
	})
	w.must(err)
	w.sessions = &session.Service{
		Store: w.db, Feed: w.db, Cluster: w.db, Accounts: w.db, Credentials: w.db, Events: w.db, Users: w.db, Tokens: w.ring, Directory: people,
		Passwords: &credential.Hasher{Memory: 8, Time: 1}, Limits: &credential.Regulator{},
		Policies: &session.Policies{Default: session.DefaultPolicy()}, Now: w.Now,
	}
	hasher, err := apikey.NewHasher(bytes.Repeat([]byte{7}, 32))
	w.must(err)
	w.sessions.Keys = &session.APIKeys{Store: w.db, Hasher: hasher}
	w.gateway = &gateway.Gateway{
		Sessions: w.sessions, Directory: people, Tokens: w.ring, Store: w.db, Prefix: "/okapi", Origins: []string{origin},
		Version: "1.2.3", Now: w.Now, Registerer: w.counted, Log: w.log.logger(),
	}
	// The internal listener's address is in the gateway, whose handler it serves.
	internal := httptest.NewUnstartedServer(nil)
	w.gateway.InternalURL = "http://" + internal.Listener.Addr().String() + "/"
	if change != nil {
		change(w.gateway, w.sessions)
	}
	w.db.OnChange(func(changes []session.Change) {
		for _, c := range changes {
			switch c.Kind {
			case session.TenantsChanged, session.ModulesChanged:
				if err := errors.Join(people.ReloadTenants(ctx), w.gateway.Reload(ctx)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	w.must(w.sessions.Start(ctx))
	t.Cleanup(func() { w.must(w.sessions.Close(ctx)) })
	w.must(w.gateway.Reload(ctx))
	t.Cleanup(w.gateway.Close)
	internal.Config.Handler = w.surface(true)
	internal.Start()
	t.Cleanup(internal.Close)
	w.internal = internal.URL
	w.public = w.listen(w.surface(false))
	w.admin = w.listen(observed(w.gateway.Management()))
	w.must(w.db.CreateTenant(ctx, directory.Tenant{ID: "diku"}, audit.Event{Kind: audit.TenantCreated}))
	w.must(w.db.CreateTenant(ctx, directory.Tenant{ID: "other"}, audit.Event{Kind: audit.TenantCreated}))
	w.user("diku", alice, "alice", directory.Grants{Permissions: []string{"echo.get"}})
	return w
}

// surface is what the server puts on the public and the internal listener.
func (w *world) surface(internal bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /guarded", w.gateway.Guard(internal)([]string{"guarded.get"}, func(rw http.ResponseWriter, r *http.Request, c session.Caller) {
		fmt.Fprintf(rw, "%s %s", c.Claims.Kind, c.Access.User.Username)
	}))
	mux.Handle("GET /self", w.gateway.Guard(internal)(nil, func(rw http.ResponseWriter, r *http.Request, c session.Caller) {
		fmt.Fprint(rw, c.Access.User.Username)
	}))
	sign := func(rw http.ResponseWriter, r *http.Request, c session.Caller) { fmt.Fprint(rw, c.Claims.Module) }
	mux.Handle("POST /token/sign", w.gateway.ModuleGuard(internal)("/token/sign", "auth.token.sign.post", sign))
	mux.Handle("POST /token/invalidate", w.gateway.ModuleGuard(internal)("/token/invalidate", "", sign))
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("fault of ours") })
	mux.Handle("/_/", w.gateway.PublicManagement(internal))
	mux.Handle("/", w.gateway.Routed(internal))
	if internal {
		return observed(w.gateway.Verify(gateway.CORS([]string{origin}, w.gateway.DelegatesCORS, w.gateway.CleanPath(mux))))
	}
	return observed(gateway.CORS([]string{origin}, w.gateway.DelegatesCORS, w.gateway.CleanPath(w.gateway.PartnerRoutes(mux))))
}

// observed does what the server's middleware does: it says who calls, and
// answers for panics.
func observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		actor := audit.Actor{Kind: "anonymous", Address: host}
		defer func() {
			if fault := recover(); fault == http.ErrAbortHandler {
				panic(fault)
			} else if fault != nil {
				http.Error(w, "internal error", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r.WithContext(audit.WithActor(r.Context(), &actor)))
	})
}

func (w *world) listen(h http.Handler) string {
	server := httptest.NewServer(h)
	w.t.Cleanup(server.Close)
	return server.URL
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(tenant, id, name string, g directory.Grants) {
	w.t.Helper()
	w.must(w.sessions.CreateUser(context.Background(), directory.User{ID: id, Tenant: tenant, Username: name, Active: true}, g, password))
}

func (w *world) grant(permissions ...string) {
	w.t.Helper()
	w.must(w.sessions.SetGrants(context.Background(), "diku", alice, directory.Grants{Permissions: permissions}))
}

// claims are those of an access token of alice; change them and mint.
func (w *world) claims() token.Claims {
	return token.Claims{
		Kind: token.KindAccess, Tenant: "diku", Subject: "alice", UserID: alice, ClientID: session.ClientWeb,
		Session: token.NewSessionID(), Gen: 1, IssuedAt: w.Now(), Expires: w.Now().Add(10 * time.Minute),
	}
}

func (w *world) mint(c token.Claims) string {
	w.t.Helper()
	text, err := w.ring.Mint(c)
	w.must(err)
	return text
}

// access is an access token of alice.
func (w *world) access() string { return w.mint(w.claims()) }

// moduleToken is one that mod-x got for a request of alice.
func (w *world) moduleToken(lent ...string) string {
	c := w.claims()
	c.Kind, c.Module, c.RequestID, c.Permissions, c.ClientID = token.KindModule, "mod-x-1.0.0", "000001/x", lent, ""
	return w.mint(c)
}

// module registers a module, lets handler serve it, and enables it for diku.
func (w *world) module(descriptor string, handler http.HandlerFunc) {
	w.t.Helper()
	w.moduleAt(descriptor, w.listen(handler))
}

func (w *world) moduleAt(descriptor, url string) {
	w.t.Helper()
	ctx := context.Background()
	d, err := gateway.ParseDescriptor([]byte(descriptor))
	w.must(err)
	w.must(w.gateway.Register(ctx, false, d))
	w.must(w.gateway.SaveInstance(ctx, directory.Instance{ID: "1 of " + d.ID, Module: d.ID, URL: url}))
	_, err = w.gateway.Install(ctx, "diku", []gateway.InstallEntry{{ID: d.ID, Action: "enable"}}, &gateway.InstallOptions{})
	w.must(err)
}

// echoDescriptor has one route of each sort.
const echoDescriptor = `{"id":"mod-echo-1.0.0","provides":[
	{"id":"echo","version":"1.0","handlers":[
		{"methods":["*"],"pathPattern":"/echo","permissionsRequired":["echo.get"]},
		{"methods":["*"],"pathPattern":"/open","permissionsRequired":[]},
		{"methods":["*"],"pathPattern":"/open/*","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/items/{id}","permissionsRequired":["echo.get"]},
		{"methods":["GET"],"pathPattern":"/wish","permissionsRequired":["echo.get"],"permissionsDesired":["wish.*","other.get"]},
		{"methods":["GET"],"pathPattern":"/lent","permissionsRequired":[],"modulePermissions":["lent.get"]},
		{"methods":["GET"],"pathPattern":"/own/{tenantId}","permissionsRequired":["own.any"],"permissionsRequiredTenant":[]}]}],
	"permissionSets":[{"permissionName":"echo.all","subPermissions":["echo.get"]}]}`

// seen is what a module saw of a request.
type seen struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
}

// echoing is a world with a module that answers what it saw.
func echoing(t testing.TB) *world {
	w := newWorld(t, nil)
	w.module(echoDescriptor, echo)
	return w
}

type answer struct {
	status int
	header http.Header
	body   string
}

// seen is what the module saw.
func (a answer) seen(t testing.TB) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("status %d, body %q: %v", a.status, a.body, err)
	}
	return s
}

// call sends a request; headers are name, value, name, value. Redirects are
// not followed.
func call(t testing.TB, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// get asks the public listener as a user of diku.
func (w *world) get(path string, headers ...string) answer {
	w.t.Helper()
	return call(w.t, "GET", w.public+path, "", append([]string{"X-Okapi-Tenant", "diku"}, headers...)...)
}

// want compares status and the beginning of the body.
func (a answer) want(t testing.TB, status int, body string) {
	t.Helper()
	if a.status != status || !strings.HasPrefix(a.body, body) {
		t.Errorf("got %d %q, want %d %q", a.status, a.body, status, body)
	}
}

// lockedBuffer takes the log of a gateway.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *lockedBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// operator is an access token of the supertenant's operator, who has the
// permissions.
func (w *world) operator(permissions ...string) string {
	w.t.Helper()
	ctx, g := context.Background(), directory.Grants{Permissions: permissions}
	if _, err := w.gateway.Directory.Access(ctx, directory.SuperTenant, operator); err != nil {
		w.user(directory.SuperTenant, operator, "operator", g)
	}
	w.must(w.sessions.SetGrants(ctx, directory.SuperTenant, operator, g))
	c := w.claims()
	c.Tenant, c.UserID, c.Subject = directory.SuperTenant, operator, "operator"
	return w.mint(c)
}

// raw sends bytes that no HTTP library would and reads the first answer.
func raw(t testing.TB, url, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var noEvent = audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}

var badModule = directory.Module{ID: "mod-bad-1.0.0", Descriptor: []byte("{")}

func instanceOf(module, url string) directory.Instance {
	return directory.Instance{ID: "1 of " + module, Module: module, URL: url}
}
