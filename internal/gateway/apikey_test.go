package gateway_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

var everything = apikey.Scope{Routes: []apikey.Route{{Method: "*", Path: "/*"}}, Permissions: []string{apikey.Everything}}

// key makes a key for alice and returns it with the header that presents it.
func (w *world) key(scope apikey.Scope) (apikey.Key, string) {
	w.t.Helper()
	k, text, err := w.sessions.Keys.Create(context.Background(), session.NewAPIKey{Tenant: "diku", UserID: alice, Name: "GOBI", Scope: scope})
	w.must(err)
	return k, "apikey " + text
}

// edgeKey is how a partner of an edge module has its key.
func edgeKey(salt, tenant, user string) string {
	return base64.URLEncoding.EncodeToString(fmt.Appendf(nil, `{"s":%q,"t":%q,"u":%q}`, salt, tenant, user))
}

const salt = "nZ56F3LeAaQ7rT2xW" // 17 letters and digits, as edge-common draws

func (w *world) imported(scope apikey.Scope) (apikey.Key, string) {
	w.t.Helper()
	text := edgeKey(salt, "diku", "alice")
	secret, err := apikey.Parse(text)
	w.must(err)
	k, err := w.sessions.Keys.Import(context.Background(), session.NewAPIKey{Name: "GOBI", Scope: scope}, secret)
	w.must(err)
	return k, text
}

func (w *world) keySessions(k apikey.Key) []session.Session {
	w.t.Helper()
	page, err := w.sessions.List(context.Background(), session.Filter{Tenant: "diku", Client: apikey.Client(k.ID)})
	w.must(err)
	return page.Sessions
}

func TestAKeyGivesItsRequestsTheIdentityOfItsUser(t *testing.T) {
	w := echoing(t)
	_, header := w.key(everything)
	bare := strings.TrimPrefix(header, "apikey ")
	_, edge := w.imported(everything)
	byToken := w.get("/echo", "X-Okapi-Token", w.access()).seen(t)
	for _, authorization := range []string{header, "APIKEY " + bare, "Bearer " + bare, bare, "apikey " + edge, edge, strings.TrimRight(edge, "=")} {
		got := call(t, "GET", w.public+"/echo?q=1", "", "Authorization", authorization).seen(t)
		for _, name := range []string{"X-Okapi-Tenant", "X-Okapi-User-Id", "X-Okapi-Permissions"} {
			if got.Header.Get(name) != byToken.Header.Get(name) || got.Header.Get(name) == "" {
				t.Errorf("%s: %q, with a token %q", name, got.Header.Get(name), byToken.Header.Get(name))
			}
		}
		claims, err := w.ring.Verify(got.Header.Get("X-Okapi-Token"), w.Now(), token.KindModule)
		if err != nil || claims.Subject != "alice" || claims.Module != "mod-echo-1.0.0" || claims.Session.IsZero() {
			t.Errorf("%+v, %v", claims, err)
		}
		if got.Header.Get("Authorization") != "" || got.URI != "/echo?q=1" {
			t.Errorf("the module saw %q at %s", got.Header.Get("Authorization"), got.URI)
		}
	}
}

func TestScopeOfAKey(t *testing.T) {
	w := echoing(t)
	w.grant("echo.get", "own.any", "wish.a", "wish.b")
	_, header := w.key(apikey.Scope{
		Routes: []apikey.Route{{Method: "GET", Path: "/echo"}, {Method: "GET", Path: "/wish"}, {Method: "GET", Path: "/own/{t}"}}, Permissions: []string{"echo.all", "wish.a"},
	})
	w.get("/echo", "Authorization", header).want(t, 200, "")
	call(t, "POST", w.public+"/echo", "", "Authorization", header).want(t, 403, "This API key is not for this route")
	w.get("/items/1", "Authorization", header).want(t, 403, "This API key is not for this route")
	w.get("/nowhere", "Authorization", header).want(t, 404, "")
	w.get("/own/other", "Authorization", header).want(t, 403, "Access for user 'alice' ("+alice+") requires permission: own.any")
	if got := w.get("/wish", "Authorization", header).seen(t).Header.Get("X-Okapi-Permissions"); got != `["echo.get","wish.a"]` {
		t.Errorf("of the permissions wished for, %s", got)
	}
	// What the user loses, the key loses.
	w.grant("wish.a")
	w.get("/echo", "Authorization", header).want(t, 403, "Access for user 'alice'")
	// What needs raised scope needs a password.
	w.must(w.sessions.SetGrants(context.Background(), "diku", alice, directory.Grants{Elevated: []string{"echo.get"}}))
	w.get("/echo", "Authorization", header).want(t, 403, "Access for user 'alice'")
}

// A module that a key has called acts for the user, but not beyond the key.
func TestT45ScopeOfAKeyHoldsForNestedCalls(t *testing.T) {
	w := newWorld(t, nil)
	w.module(echoDescriptor, echo)
	w.module(`{"id":"mod-front-1.0.0","provides":[{"id":"front","version":"1.0","handlers":[
		{"methods":["GET"],"pathPattern":"/front","permissionsRequired":[]},
		{"methods":["GET"],"pathPattern":"/lends","permissionsRequired":[],"modulePermissions":["echo.get"]}]}]}`, func(rw http.ResponseWriter, r *http.Request) {
		got := call(t, "GET", r.Header.Get("X-Okapi-Url")+"/echo", "", "X-Okapi-Token", r.Header.Get("X-Okapi-Token"), "X-Okapi-Tenant", "diku")
		rw.WriteHeader(got.status)
	})
	w.grant("echo.get", "other.get")
	narrow, header := w.key(apikey.Scope{Routes: everything.Routes, Permissions: []string{"other.get"}})
	_, wide := w.key(everything)
	w.get("/front", "X-Okapi-Token", w.access()).want(t, 200, "")
	w.get("/front", "Authorization", wide).want(t, 200, "")
	w.get("/front", "Authorization", header).want(t, 403, "")
	w.get("/lends", "Authorization", header).want(t, 200, "")
	// The module goes on for a key that was revoked meanwhile with what it was lent.
	claims := w.claims()
	claims.Kind, claims.Module, claims.RequestID, claims.ClientID = token.KindModule, "mod-front-1.0.0", "000001/front", apikey.Client(narrow.ID)
	_, err := w.sessions.Keys.Rescope(context.Background(), narrow.ID, everything, time.Time{})
	w.must(err)
	nested := func() answer {
		return call(t, "GET", w.internal+"/echo", "", "X-Okapi-Token", w.mint(claims), "X-Okapi-Tenant", "diku")
	}
	nested().want(t, 200, "")
	_, err = w.sessions.Keys.Revoke(context.Background(), narrow.ID)
	w.must(err)
	nested().want(t, 403, "Access for user 'alice'")
}

func TestWhatEndsAKey(t *testing.T) {
	ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
	for name, test := range map[string]struct {
		end    func(w *world, k apikey.Key) error
		again  func(w *world, k apikey.Key) error // nil: never again
		refuse bool
	}{
		"revoked":                 {func(w *world, k apikey.Key) error { _, err := w.sessions.Keys.Revoke(ctx, k.ID); return err }, nil, true},
		"rotated without overlap": {func(w *world, k apikey.Key) error { _, _, err := w.sessions.Keys.Rotate(ctx, k.ID, 0); return err }, nil, true},
		"expired": {func(w *world, k apikey.Key) error {
			_, err := w.sessions.Keys.Rescope(ctx, k.ID, everything, w.Now().Add(time.Minute))
			w.advance(2 * time.Minute)
			return err
		}, nil, true},
		"session ended by an operator": {
			func(w *world, k apikey.Key) error {
				_, err := w.sessions.Revoke(ctx, w.keySessions(k)[0].ID)
				return err
			},
			func(w *world, k apikey.Key) error { _, err := w.sessions.Keys.Resume(ctx, k.ID); return err }, true,
		},
		"user deactivated": {
			func(w *world, _ apikey.Key) error {
				_, err := w.sessions.UpdateUser(ctx, directory.User{ID: alice, Tenant: "diku", Username: "alice"})
				return err
			},
			func(w *world, _ apikey.Key) error {
				_, err := w.sessions.UpdateUser(ctx, directory.User{ID: alice, Tenant: "diku", Username: "alice", Active: true})
				return err
			}, true,
		},
		"user deleted": {func(w *world, _ apikey.Key) error { _, err := w.sessions.DeleteUser(ctx, "diku", alice); return err }, nil, true},
		// These end sessions and not keys: the next request begins another.
		"all sessions of the user": {func(w *world, _ apikey.Key) error { return w.sessions.LogoutUser(ctx, "diku", alice) }, nil, false},
		"new password": {func(w *world, _ apikey.Key) error {
			_, err := w.sessions.SetPassword(ctx, "diku", alice, "another horse battery staple", token.SessionID{})
			return err
		}, nil, false},
		"idle for weeks": {func(w *world, _ apikey.Key) error { w.advance(20 * 24 * time.Hour); return nil }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := echoing(t)
			k, header := w.key(everything)
			w.get("/echo", "Authorization", header).want(t, 200, "")
			first := w.keySessions(k)
			if len(first) != 1 || first[0].Username != "alice" || first[0].UserAgent != "API key GOBI" {
				t.Fatalf("%+v", first)
			}
			w.must(test.end(w, k))
			if !test.refuse {
				w.get("/echo", "Authorization", header).want(t, 200, "")
				if all := w.keySessions(k); len(all) != 2 || w.sessions.StateOf(&all[1], w.Now()) == session.StateLive {
					t.Errorf("%d sessions", len(all))
				}
				return
			}
			w.get("/echo", "Authorization", header).want(t, 401, `{"message":"API key is not valid","code":"API_KEY_INVALID","type":"auth"}`)
			if test.again != nil {
				w.must(test.again(w, k))
				w.get("/echo", "Authorization", header).want(t, 200, "")
			}
		})
	}
}

// behind is a store that still has a session as it was, as after a restore that
// nobody has noticed yet.
type behind struct {
	session.Store
	was session.Session
}

func (b *behind) Session(ctx context.Context, id token.SessionID) (*session.Session, error) {
	if id == b.was.ID {
		was := b.was
		return &was, nil
	}
	return b.Store.Session(ctx, id)
}

func TestT50KeyDoesNotGoOnWithASessionThatEnded(t *testing.T) {
	w := echoing(t)
	k, header := w.key(everything)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	was := w.keySessions(k)[0]
	w.must(w.sessions.LogoutUser(t.Context(), "diku", alice))
	w.sessions.Store = &behind{w.sessions.Store, was}
	w.get("/echo", "Authorization", header).want(t, 200, "")
	if all := w.keySessions(k); len(all) != 2 {
		t.Errorf("%d sessions, want one that began anew", len(all))
	}
}

func TestOldSecretHoldsForTheOverlap(t *testing.T) {
	w := echoing(t)
	k, old := w.key(everything)
	_, text, err := w.sessions.Keys.Rotate(context.Background(), k.ID, time.Hour)
	w.must(err)
	w.get("/echo", "Authorization", old).want(t, 200, "")
	w.get("/echo", "Authorization", "apikey "+text).want(t, 200, "")
	if all := w.keySessions(k); len(all) != 1 {
		t.Errorf("%d sessions for two secrets of one key", len(all))
	}
	w.advance(time.Hour)
	w.get("/echo", "Authorization", old).want(t, 401, "")
	w.get("/echo", "Authorization", "apikey "+text).want(t, 200, "")
}

// One token or one key, from one source.
func TestT25KeysAndTokensDoNotMix(t *testing.T) {
	w := echoing(t)
	_, header := w.key(everything)
	_, other := w.key(everything)
	w.get("/echo", "Authorization", header, "X-Okapi-Token", w.access()).want(t, 400, "Use either an API key or a token")
	w.get("/echo", "Authorization", header, "Cookie", "folioAccessToken="+w.access()).want(t, 400, "Use either an API key or a token")
	w.get("/echo", "Authorization", header, "Authorization", other).want(t, 400, "Different tokens")
	// Elsewhere a key is a token that does not hold.
	w.get("/echo", "X-Okapi-Token", strings.TrimPrefix(header, "apikey ")).want(t, 401, `{"message":"Invalid token"`)
	w.get("/self", "Authorization", header).want(t, 401, "API keys are for the routes of modules alone")
	call(t, "GET", w.internal+"/echo", "", "Authorization", header, "X-Okapi-Tenant", "diku").want(t, 401, `{"message":"API key`)
	call(t, "GET", w.admin+"/_/proxy/modules", "", "Authorization", header).want(t, 401, "")
}

// A key in a URL reaches nobody, and its owner hears why.
func TestT30KeysInURLs(t *testing.T) {
	var served atomic.Int32
	w := newWorld(t, nil)
	w.module(echoDescriptor, func(http.ResponseWriter, *http.Request) { served.Add(1) })
	_, own := w.key(everything)
	own = strings.TrimPrefix(own, "apikey ")
	_, edge := w.imported(everything)
	for path, want := range map[string]string{
		"/echo?apikey=" + own:                           "Keys of Counterfoil's own",
		"/echo?x=1&token=" + own:                        "Keys of Counterfoil's own",
		"/open/" + own:                                  "Keys of Counterfoil's own",
		"/echo?apikey=" + edge:                          "An API key must not stand in this URL",
		"/echo?apiKey=" + edge:                          "An API key must not stand in this URL",
		"/echo?%61pikey=x":                              "An API key must not stand in this URL",
		"/echo?other=" + edge + "&y=1":                  "An API key must not stand in this URL",
		"/open/" + edge + "/x":                          "An API key must not stand in this URL",
		"/open/" + strings.ReplaceAll(edge, "=", "%3D"): "An API key must not stand in this URL",
	} {
		w.get(path, "X-Okapi-Token", w.access()).want(t, 400, want)
	}
	if served.Load() != 0 {
		t.Errorf("the module was called %d times", served.Load())
	}
	w.get("/echo?query=cql.allRecords%3D1&keyed=eyre&x=ey", "X-Okapi-Token", w.access()).want(t, 200, "")
	if log := w.log.String(); strings.Contains(log, own) || strings.Contains(log, edge) || strings.Contains(log, salt) {
		t.Error("a key is in the log")
	}
}

// asked counts what is wanted of the store about keys and sessions.
type asked struct {
	session.APIKeyStore
	session.Store
	reads, begun atomic.Int32
	away         atomic.Bool
}

func (c *asked) APIKeys(ctx context.Context) ([]apikey.Key, error) {
	c.reads.Add(1)
	if c.away.Load() {
		return nil, session.ErrUnavailable
	}
	return c.APIKeyStore.APIKeys(ctx)
}

func (c *asked) Session(ctx context.Context, id token.SessionID) (*session.Session, error) {
	c.reads.Add(1)
	return c.Store.Session(ctx, id)
}

func (c *asked) BeginKeySession(ctx context.Context, id, before string, s *session.Session, e audit.Event) (token.SessionID, error) {
	c.begun.Add(1)
	return c.APIKeyStore.BeginKeySession(ctx, id, before, s, e)
}

func counted(t *testing.T) (*world, *asked) {
	c := &asked{}
	w := newWorld(t, func(_ *gateway.Gateway, s *session.Service) {
		c.APIKeyStore, c.Store = s.Keys.Store, s.Store
		s.Keys.Store, s.Store = c, c
	})
	w.module(echoDescriptor, echo)
	return w, c
}

// stampede calls all at once and returns how many were answered how.
func (w *world) stampede(n int, header string) map[int]int {
	answers := make(map[int]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			got := call(w.t, "GET", w.public+"/echo", "", "Authorization", header)
			mu.Lock()
			defer mu.Unlock()
			answers[got.status]++
		})
	}
	all.Wait()
	return answers
}

func TestFirstRequestsOfAKeyMakeOneLogin(t *testing.T) {
	w, c := counted(t)
	k, header := w.key(everything)
	const n = 200
	if got := w.stampede(n, header); got[200] != n {
		t.Errorf("%v", got)
	}
	events, err := w.db.Events(context.Background(), session.EventFilter{Tenant: "diku", Kind: audit.Login})
	w.must(err)
	if c.begun.Load() != 1 || len(w.keySessions(k)) != 1 || len(events) != 1 || events[0].Detail["apiKey"] != k.ID {
		t.Errorf("%d logins, %d sessions, events %+v", c.begun.Load(), len(w.keySessions(k)), events)
	}
	// When the ticket has expired, the session goes on; when the session has, one
	// other begins.
	for _, test := range []struct {
		after         time.Duration
		begun, logins int32
	}{{time.Hour, 0, 1}, {10 * 24 * time.Hour, 1, 2}} {
		w.advance(test.after)
		before := c.begun.Load()
		if got := w.stampede(n, header); got[200] != n {
			t.Errorf("after %s: %v", test.after, got)
		}
		if c.begun.Load() != before+test.begun || len(w.keySessions(k)) != int(test.logins) {
			t.Errorf("after %s: %d logins, %d sessions", test.after, c.begun.Load()-before, len(w.keySessions(k)))
		}
	}
}

func TestARequestThatLeavesDoesNotEndTheLoginOfOthers(t *testing.T) {
	w := echoing(t)
	_, header := w.key(everything)
	secret, err := apikey.Parse(strings.TrimPrefix(header, "apikey "))
	w.must(err)
	found, err := w.sessions.Keys.Find(context.Background(), secret)
	w.must(err)
	// Whoever comes first is gone before the store can answer.
	gone, leave := context.WithCancel(context.Background())
	leave()
	if _, err := w.sessions.Keys.Check(gone, found); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := w.sessions.Keys.Check(context.Background(), found); err != nil {
		t.Error(err)
	}
}

// Nobody makes the store work by inventing keys, and whoever goes on is told to
// wait, as after failed logins.
func TestT31InventedKeysCostNothingAndAreLimited(t *testing.T) {
	w, c := counted(t)
	_, header := w.key(everything)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	before := c.reads.Load()
	limited := 0
	for i := range 60 {
		_, invented := apikey.Generate()
		authorization := "apikey " + invented
		switch i % 3 {
		case 1:
			authorization = edgeKey(fmt.Sprintf("%s%d", salt, i), "diku", "alice")
		case 2:
			authorization = "apikey nonsense"
		}
		got := w.get("/echo", "Authorization", authorization)
		switch {
		case got.status == 429 && got.header.Get("Retry-After") != "":
			limited++
		case got.status != 401:
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if c.reads.Load() != before {
		t.Errorf("%d reads of the store", c.reads.Load()-before)
	}
	if limited < 30 {
		t.Errorf("%d of 60 were limited", limited)
	}
	// The partner behind the same address goes on.
	w.get("/echo", "Authorization", header).want(t, 200, "")
}

func TestT8AKeyIsOfOneTenant(t *testing.T) {
	w := echoing(t)
	_, header := w.key(everything)
	call(t, "GET", w.public+"/echo", "", "Authorization", header, "X-Okapi-Tenant", "other").want(t, 404, "") // no module there
	call(t, "GET", w.public+"/echo", "", "Authorization", header, "X-Okapi-Tenant", "nowhere").want(t, 400, "No such Tenant")
	call(t, "GET", w.public+"/echo", "", "Authorization", edgeKey(salt, "nowhere", "alice")).want(t, 400, "No such Tenant")
}

// A node that could not read what changed does not know which keys were revoked.
func TestKeysThatCannotBeReadAgainAreNotTrusted(t *testing.T) {
	w, c := counted(t)
	_, header := w.key(everything)
	other, _ := w.key(everything)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	c.away.Store(true)
	_, err := w.sessions.Keys.Revoke(context.Background(), other.ID)
	w.must(err)
	got := w.get("/echo", "Authorization", header)
	if got.want(t, 503, "Not available"); got.header.Get("Retry-After") == "" {
		t.Error("nobody is told to try again")
	}
	w.get("/echo", "X-Okapi-Token", w.access()).want(t, 200, "")
	c.away.Store(false)
	w.get("/echo", "Authorization", header).want(t, 200, "")
}

// An old session of a key is not the key's any more.
func TestEndingASessionThatIsOverStopsNoKey(t *testing.T) {
	w := echoing(t)
	k, header := w.key(everything)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	w.advance(20 * 24 * time.Hour)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	all := w.keySessions(k)
	if len(all) != 2 {
		t.Fatalf("%d sessions", len(all))
	}
	_, err := w.sessions.Revoke(context.Background(), all[1].ID)
	w.must(err)
	w.get("/echo", "Authorization", header).want(t, 200, "")
	_, err = w.sessions.Revoke(context.Background(), all[0].ID)
	w.must(err)
	w.get("/echo", "Authorization", header).want(t, 401, "")
}
