package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// clusterKey is the master key that all nodes of a cluster must have.
var clusterKey = []byte("0123456789abcdef0123456789abcdef")

// openCluster starts nodes on one database. Their clocks are a minute and a half
// early, right, and late.
func openCluster(t *testing.T, n int, adjust ...func(*server.Config)) []*office {
	t.Helper()
	database := pgtest.Database(t)
	nodes := make([]*office, n)
	for i := range nodes {
		nodes[i] = emptyOffice(t, func(c *server.Config) {
			c.Store, c.MasterKey, c.Node = database, clusterKey, string(rune('a'+i))
			ahead, now := time.Duration(i-1)*90*time.Second, c.Now
			c.Now = func() time.Time { return now().Add(ahead) }
			for _, change := range adjust {
				change(c)
			}
		})
	}
	nodes[0].populate()
	nodes[0].enable("mod-orders-1.0.0", ordersHandlers, moduleThatAnswers(t))
	return nodes
}

const ordersHandlers = `[{"methods":["GET"],"pathPattern":"/orders","permissionsRequired":["orders.collection.get"]}]`

func moduleThatAnswers(t *testing.T) (url string) {
	t.Helper()
	module := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(module.Close)
	return module.URL
}

// reach waits until all nodes have heard of everything.
func (o *office) reach() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if reach, err := o.Store().Await(ctx); err != nil || reach.Reached != reach.Live {
		o.t.Fatalf("%+v, %v", reach, err)
	}
}

// orders calls the module through a node.
func (o *office) orders(access string) *reply {
	o.t.Helper()
	got, err := o.send(http.MethodGet, o.URL(server.Public)+"/orders", nil, "X-Okapi-Tenant", "diku", "X-Okapi-Token", access)
	o.must(err)
	return got
}

func TestANodeTakesTokensAndSessionsOfTheOthers(t *testing.T) {
	nodes := openCluster(t, 3)
	nodes[0].reach()
	var login struct{ AccessToken, RefreshToken string }
	answer := nodes[0].post("/authn/login", map[string]string{"username": "reader", "password": readerPW}, "X-Okapi-Tenant", "diku")
	if err := json.Unmarshal(answer.body, &login); err != nil || answer.status != 201 {
		t.Fatalf("%d %s", answer.status, answer.body)
	}
	for _, node := range nodes {
		if got := node.orders(login.AccessToken); got.status != 200 {
			t.Errorf("node %s: %d %s", node.config.Node, got.status, got.body)
		}
	}
	// The clocks of the nodes are minutes apart; the window of a retry is the
	// database's.
	first := nodes[1].refresh(login.RefreshToken)
	again := nodes[2].refresh(login.RefreshToken)
	if first.status != 201 || again.status != 201 || first.json.RefreshToken != again.json.RefreshToken {
		t.Errorf("%d and %d, with the same successor: %v", first.status, again.status, first.json.RefreshToken == again.json.RefreshToken)
	}
	for _, node := range nodes {
		if got := node.orders(again.json.AccessToken); got.status != 200 {
			t.Errorf("node %s: %d %s", node.config.Node, got.status, got.body)
		}
	}
}

func TestWhatEndsOnOneNodeIsRefusedByAll(t *testing.T) {
	nodes := openCluster(t, 3)
	nodes[0].reach()
	ctx := audit.WithActor(t.Context(), &audit.Actor{Kind: "operator", Name: "test"})
	for name, end := range map[string]func(o *office, tokens *session.Tokens) error{
		"logout": func(o *office, tokens *session.Tokens) error { return o.Sessions().Logout(ctx, tokens.Refresh) },
		"revocation": func(o *office, tokens *session.Tokens) error {
			_, err := o.Sessions().Revoke(ctx, tokens.Session)
			return err
		},
		"all of the user": func(o *office, _ *session.Tokens) error { return o.Sessions().LogoutUser(ctx, "diku", readerID) },
		"the tenant": func(o *office, _ *session.Tokens) error {
			_, err := o.Sessions().EndUser(ctx, session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
			return err
		},
		"deactivation": func(o *office, _ *session.Tokens) error {
			u := directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
			if _, err := o.Sessions().UpdateUser(ctx, u); err != nil {
				return err
			}
			u.Active = true
			_, err := o.Sessions().UpdateUser(ctx, u)
			return err
		},
		"removal of the key": func(o *office, _ *session.Tokens) error {
			for _, k := range o.Tokens().Keys() {
				if k.Purpose == token.PurposeAccess && k.State != token.StateRemoved {
					if err := o.Tokens().Remove(ctx, k.Purpose, k.ID); err != nil {
						return err
					}
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			tokens := nodes[0].login()
			for _, node := range nodes { // so that each has it in its cache
				if got := node.orders(tokens.Access); got.status != 200 {
					t.Fatalf("node %s before: %d %s", node.config.Node, got.status, got.body)
				}
			}
			if err := end(nodes[1], tokens); err != nil {
				t.Fatal(err)
			}
			if got := nodes[1].orders(tokens.Access); got.status != 401 {
				t.Errorf("on the node that ended it: %d", got.status)
			}
			nodes[1].reach()
			for _, node := range nodes {
				if got := node.orders(tokens.Access); got.status != 401 {
					t.Errorf("node %s: %d", node.config.Node, got.status)
				}
			}
			nodes[1].reach()
		})
	}
}

func TestChangesOfPermissionsPoliciesAndModulesReachAllNodes(t *testing.T) {
	nodes := openCluster(t, 2)
	nodes[0].reach()
	ctx := audit.WithActor(t.Context(), &audit.Actor{Kind: "operator", Name: "test"})
	tokens := nodes[0].login()
	if got := nodes[1].orders(tokens.Access); got.status != 200 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	none := audit.Event{Kind: audit.PermissionChanged, Tenant: "diku", UserID: readerID}
	nodes[0].must(nodes[0].Store().SetGrants(ctx, "diku", readerID, directory.Grants{}, none))
	ttl := session.Duration(5 * time.Minute)
	nodes[0].must(nodes[0].Store().SavePolicy(ctx, session.PolicyOverride{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{AccessTTL: &ttl}},
		audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}))
	_, err := nodes[0].Store().DeleteInstances(ctx, "mod-orders-1.0.0", "", audit.Event{Kind: audit.ModuleChanged})
	nodes[0].must(err)
	nodes[0].reach()
	if got := nodes[1].orders(tokens.Access); got.status != 403 {
		t.Errorf("without the permission: %d %s", got.status, got.body)
	}
	if got := nodes[1].Sessions().Policies.For("diku", session.ClientAPI, readerID).AccessTTL; got != 5*time.Minute {
		t.Errorf("access_ttl is %s", got)
	}
	nodes[0].must(nodes[0].Store().SetGrants(ctx, "diku", readerID, directory.Grants{Permissions: []string{"orders.collection.get"}}, none))
	nodes[0].reach()
	if got := nodes[1].orders(tokens.Access); got.status != 404 || !strings.Contains(string(got.body), "No running module instance") {
		t.Errorf("without an instance: %d %s", got.status, got.body)
	}
}

func TestNodesThatStartTogetherAgreeOnTheirKeys(t *testing.T) {
	database := pgtest.Database(t)
	opened := make(chan *server.Server)
	const n = 5
	for range n {
		c := &server.Config{
			Data: t.TempDir(), Demo: true, LogTo: t.Output(), Store: database, MasterKey: clusterKey,
			Listen: "127.0.0.1:0", InternalListen: "127.0.0.1:0", AdminListen: "127.0.0.1:0",
		}
		c.Log.Level = "error"
		c.SetDefaults()
		go func() {
			s, err := server.Open(context.Background(), c)
			if err != nil {
				t.Error(err)
			}
			opened <- s
		}()
	}
	var nodes []*server.Server
	for range n {
		if s := <-opened; s != nil {
			nodes = append(nodes, s)
			t.Cleanup(func() {
				if err := s.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, s := range nodes {
		if _, err := s.Store().Await(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, maker := range nodes {
		raw, err := maker.Tokens().Mint(token.Claims{
			Kind: token.KindModule, Tenant: "diku", Subject: "x", Module: "mod-x-1", RequestID: "1/x", IssuedAt: time.Now(), Expires: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		b := token.Binding{Session: token.NewSessionID(), Tenant: "diku", UserID: readerID, AbsoluteExpiry: time.Now().Add(time.Hour)}
		refresh := maker.Tokens().MintRefresh(b, 1)
		for _, reader := range nodes {
			if _, err := reader.Tokens().Verify(raw, time.Now(), token.KindModule); err != nil {
				t.Errorf("module token: %v", err)
			}
			if opened, err := reader.Tokens().OpenRefresh(refresh); err != nil || !reader.Tokens().RefreshMatches(b, opened) {
				t.Errorf("refresh token: %v", err)
			}
		}
	}
}
