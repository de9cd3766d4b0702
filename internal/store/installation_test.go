package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// install fills a store with something of everything: rows in each table, and
// sessions in each state.
func install(t *testing.T, db DB, c *clock) {
	t.Helper()
	installDirectory(t, db)
	c.advance(time.Minute)
	installModules(t, db)
	keys := someKeys()
	must(t, db.SaveKeys(t.Context(), keys))
	keys[1].State, keys[1].Wrapped, keys[1].RemovedAt = token.StateRemoved, nil, c.Now()
	must(t, db.SaveKeys(t.Context(), keys[1:2]))
	c.advance(time.Minute)
	installSessions(t, db, c)
	installAPIKeys(t, db, c)
	must(t, db.AppendEvents(as(t.Context()), audit.Event{
		Kind: audit.LoginFailed, Tenant: "diku", UserID: bob, Reason: "wrong password", Detail: map[string]string{"left": "4", "ø": "<&>"},
	}))
	device := someDevice(7, c.Now())
	device.Answer, device.Session = session.DeviceLetIn, token.SessionID{1, 0xab, 15: 1}
	must(t, db.CreateDevice(t.Context(), device, 10))
	must(t, db.CreateClient(t.Context(), someClient("portal"), clientEvent))
	must(t, ignore(db.Spend(t.Context(), "dpop", []byte{0, 0xff}, c.Now().Add(time.Minute))))
	installTrail(t, db, c)
	must(t, db.AddUsage(t.Context(), kept(c.Now()), session.Usage{
		Live: 3, Refreshes: 4, Retries: 5, LateRecoveries: 6, Superseded: 7, Reuse: 8, Logins: 9, LoginsFailed: 10, Ended: 11, Behind: 12 * time.Microsecond,
	}))
}

// installMoving leaves a password that was mod-login's, and a refresh token that
// was mod-authtoken's.
func installMoving(t *testing.T, db DB) {
	t.Helper()
	ctx := as(t.Context())
	must(t, ignore(db.ImportCredential(ctx, session.ImportedCredential{Tenant: "diku", UserID: bob, Salt: "AA", Encoded: "imported"}, "", importEvent)))
	token := session.OldToken{ID: oldJTI, UserID: alice, Expires: kept(db.Now().Add(time.Hour)).Truncate(time.Second)}
	_, _, err := db.ImportOldTokens(ctx, "diku", []session.OldToken{token}, movedEvent)
	must(t, err)
}

// installTrail leaves a chain with a checkpoint, and a sink that refused one event.
func installTrail(t *testing.T, db DB, c *clock) {
	t.Helper()
	ctx := t.Context()
	for n := 1; n > 0; {
		var err error
		n, err = db.Seal(ctx, 100)
		must(t, err)
	}
	head, err := db.ChainHead(ctx)
	must(t, err)
	must(t, db.SaveCheckpoint(ctx, audit.Checkpoint{
		N: head.N, Seq: head.Seq, Hash: head.Hash, At: kept(c.Now()), Swept: kept(c.Now().Add(-time.Hour)), Key: "k", Signature: []byte{0, 0xff, '\''},
	}))
	_, _, err = db.LeaseSink(ctx, "webhook", "node", time.Minute)
	must(t, err)
	must(t, ignore(db.AdvanceSink(ctx, "webhook", "node", head.N, []audit.DeadLetter{{N: head.N, Why: "refused for good: status 422"}})))
}

func installDirectory(t *testing.T, db DB) {
	t.Helper()
	ctx := as(t.Context())
	for _, one := range []directory.Tenant{{ID: "diku", Name: "Datalogisk Institut", Description: "på Københavns Universitet"}, {ID: "college"}, {ID: "closed"}} {
		must(t, db.CreateTenant(ctx, one, audit.Event{Kind: audit.TenantCreated, Tenant: one.ID}))
	}
	must(t, db.DeleteTenant(ctx, "closed", audit.Event{Kind: audit.TenantDeleted, Tenant: "closed"}))
	for _, one := range []struct {
		directory.User
		directory.Grants
		encoded string
	}{
		{
			directory.User{ID: alice, Username: "Ålice", Active: true, FirstName: "Alice", LastName: "O'Neil \\ ;", Email: "a@example.org"},
			directory.Grants{Permissions: []string{"orders.all", "users.item.get"}, Elevated: []string{"orders.item.delete"}},
			"$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA",
		},
		{directory.User{ID: bob, Username: "bob"}, directory.Grants{}, ""},
	} {
		one.Tenant = "diku"
		must(t, db.CreateUser(ctx, one.User, one.Grants, one.encoded, audit.Event{Kind: audit.UserCreated, Tenant: "diku", UserID: one.User.ID}))
	}
	installPasswords(t, db)
	installMoving(t, db)
	set := directory.PermissionSet{Name: "librarian", DisplayName: "Librarian", Description: "at the desk", Sub: []string{"orders.all", "x"}, ElevatedOnly: true}
	must(t, db.SavePermissionSet(ctx, "diku", set, audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}))
	ttl, n := session.Duration(5*time.Minute), 7
	for _, o := range []session.PolicyOverride{
		{Tenant: "diku", Scope: "tenant", Patch: session.PolicyPatch{AccessTTL: &ttl}},
		{Tenant: "diku", Scope: "user", Name: alice, Patch: session.PolicyPatch{SessionsPerUser: &n}},
	} {
		must(t, db.SavePolicy(ctx, o, audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}))
	}
}

// installAPIKeys makes a key that was rotated and used, and an edge key that was
// revoked.
func installAPIKeys(t *testing.T, db DB, c *clock) {
	t.Helper()
	ctx, e := as(t.Context()), audit.Event{Kind: audit.APIKeyCreated, Tenant: "diku", UserID: alice}
	own, edge := someAPIKey(1, c.Now()), someAPIKey(2, c.Now())
	edge.Kind, edge.Name, edge.Permissions = apikey.Edge, "bøger \\ '", []string{apikey.Everything}
	must(t, db.CreateAPIKey(ctx, own, e))
	must(t, db.CreateAPIKey(ctx, edge, e))
	must(t, ignore(db.UpdateAPIKey(ctx, own.ID, func(k *apikey.Key) error {
		k.Rotate(apikey.Hash{3, 31: 0xff}, c.Now(), time.Hour)
		return nil
	}, e)))
	must(t, ignore(db.UpdateAPIKey(ctx, edge.ID, func(k *apikey.Key) error {
		k.RevokedAt, k.StoppedAt = c.Now(), c.Now()
		return nil
	}, e)))
	s := newSession("diku", alice, c.Now())
	s.ID, s.Client = token.SessionID{0xee, 6: 0x40, 8: 0x80}, apikey.Client(own.ID)
	must(t, ignore(db.BeginKeySession(ctx, own.ID, "", s, audit.Event{Kind: audit.Login, Tenant: "diku", UserID: alice, Session: s.ID.String()})))
}

func someAPIKey(n byte, now time.Time) apikey.Key {
	return apikey.Key{
		ID: fmt.Sprintf("0000000%d-0000-4000-8000-000000000000", n), Tenant: "diku", UserID: alice, Name: "GOBI", Kind: apikey.Own,
		Hash: apikey.Hash{n, 0, '\'', 31: 0xff}, CreatedAt: kept(now), ExpiresAt: kept(now.Add(time.Hour)),
		Scope: apikey.Scope{Routes: []apikey.Route{{Method: "POST", Path: "/gobi/orders"}}, Permissions: []string{"gobi.all", "x"}},
	}
}

// installPasswords leaves a former password, the right to set another one, and
// wrong ones.
func installPasswords(t *testing.T, db DB) {
	t.Helper()
	ctx := as(t.Context())
	const former = "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$b2xk"
	who := session.Scope{Tenant: "college", UserID: bob}
	for _, encoded := range []string{former, "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$bmV3"} {
		must(t, ignore(db.ChangePassword(ctx, who, encoded, audit.Event{Kind: audit.PasswordChanged, Tenant: "college", UserID: bob})))
	}
	must(t, ignore(db.SaveAction(ctx, session.PasswordAction{
		Tenant: "college", ID: "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11", UserID: bob, Expires: kept(db.Now().Add(time.Hour)), Secret: [32]byte{0xff, 31: 1},
	}, audit.Event{Kind: audit.PasswordLink, Tenant: "college", UserID: bob})))
	must(t, ignore(db.FailAttempt(ctx, "college", bob, time.Minute)))
}

func installModules(t *testing.T, db DB) {
	t.Helper()
	ctx, e := as(t.Context()), audit.Event{Kind: audit.ModuleChanged, Tenant: "supertenant"}
	must(t, db.SaveModules(ctx, e,
		directory.Module{ID: "mod-orders-1.0.0", Descriptor: []byte(`{"id":"mod-orders-1.0.0"}`)},
		directory.Module{ID: "mod-users-2.1.0", Descriptor: []byte{0xff, 0, '\''}}))
	sets := []directory.PermissionSet{{Name: "orders.all", Module: "mod-orders-1.0.0", Sub: []string{"orders.item.get"}}}
	must(t, db.Enable(ctx, "diku", "mod-orders-1.0.0", "", sets, e))
	must(t, db.SaveInstance(ctx, directory.Instance{ID: "orders-1", Module: "mod-orders-1.0.0", URL: "http://192.0.2.1:8081"}, e))
	must(t, db.SaveTimer(ctx, directory.Timer{Tenant: "diku", ID: "mod-orders_0", Unit: "minute", Delay: 5}, e))
}

// installSessions makes sessions that are fresh, refreshed, struck, healed,
// bound, ended by their owner, by an operator, by the epoch of the user and by
// that of the tenant.
func installSessions(t *testing.T, db DB, c *clock) {
	t.Helper()
	n := byte(0)
	begin := func(tenant, user string) *session.Session {
		n++
		s := newSession(tenant, user, c.Now())
		s.ID = token.SessionID{n, 0xab, 6: 0x40, 8: 0x80, 15: n}
		s.Secret = [32]byte{n, 0, 0xff, '\'', 31: n}
		must(t, db.CreateSession(as(t.Context()), s, 0, audit.Event{Kind: audit.Login, Tenant: tenant, UserID: user, Session: s.ID.String()}))
		c.advance(time.Second)
		return s
	}
	strike := func(open uint32) func(time.Time, *session.Session) session.Effects {
		return func(now time.Time, s *session.Session) session.Effects {
			s.StrikeNo, s.StrikeOpen[1], s.StrikeAt = 1, open, now
			return session.Effects{Save: true, Events: []audit.Event{{Kind: audit.Superseded, Tenant: s.Tenant, Session: s.ID.String(), UserID: s.UserID}}}
		}
	}
	ended := begin("diku", bob)
	must(t, ignore(db.EndSessions(as(t.Context()), session.Scope{Tenant: "diku", UserID: bob}, session.RevokedByAdmin, audit.Event{Kind: audit.SessionRevoked, Tenant: "diku", UserID: bob})))
	begin("diku", bob)
	begin("college", alice)
	must(t, ignore(db.EndSessions(as(t.Context()), session.Scope{Tenant: "college"}, session.TenantEnded, audit.Event{Kind: audit.TenantEnded, Tenant: "college"})))
	begin("diku", alice)
	refreshed, struck, healed, loggedOut := begin("diku", alice), begin("diku", alice), begin("diku", alice), begin("diku", alice)
	for range 300 {
		must(t, db.UpdateSession(as(t.Context()), refreshed.ID, rotate))
	}
	must(t, db.MergeSeen(t.Context(), []session.Seen{{Session: refreshed.ID, Gen: 300, At: c.Now().Add(time.Second), Retries: 3}}))
	must(t, db.UpdateSession(as(t.Context()), struck.ID, strike(1)))
	must(t, db.UpdateSession(as(t.Context()), healed.ID, strike(1)))
	must(t, db.UpdateSession(as(t.Context()), healed.ID, strike(0)))
	must(t, db.UpdateSession(as(t.Context()), loggedOut.ID, revoke))
	bound := newSession("diku", alice, c.Now())
	bound.ID, bound.Device, bound.Client, bound.LoginAddress = token.SessionID{0xff}, [32]byte{1, 31: 0xff}, session.ClientAPI, "2001:db8::1"
	bound.Scope, bound.Confirm = "orders.item.get users.item.get", token.ConfirmKey("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I")
	must(t, db.CreateSession(t.Context(), bound, 0))
	if got, err := db.Session(t.Context(), ended.ID); err != nil || got.RevokedWhy != session.RevokedByAdmin {
		t.Fatalf("%+v, %v", got, err)
	}
}

// inventory reads everything through the public interface, a line for each row.
func inventory(t *testing.T, db DB) string {
	t.Helper()
	var b strings.Builder
	ctx := t.Context()
	tell := func(what string, row any) { fmt.Fprintf(&b, "%s %+v\n", what, row) }
	tenants, err := db.Tenants(ctx)
	each(t, tenants, err, func(one directory.Tenant) {
		tell("tenant", one)
		users, err := db.ListUsers(ctx, one.ID, "", 1000)
		each(t, users, err, func(u directory.User) {
			tell("user", u)
			grants, err := db.Grants(ctx, one.ID, u.ID)
			must(t, err)
			tell("grants", grants)
			if encoded, err := db.Credential(ctx, one.ID, u.ID); err == nil {
				tell("credential", encoded)
			}
			named, err := db.UserByName(ctx, one.ID, u.Username)
			must(t, err)
			wantEqual(t, named, u)
		})
		sets, err := db.PermissionSets(ctx, one.ID)
		each(t, sets, err, func(set directory.PermissionSet) { tell("set", set) })
	})
	former, err := db.FormerPasswords(ctx, "college", bob, 10)
	each(t, former, err, func(encoded string) { tell("former", encoded) })
	if action, err := db.Action(ctx, "college", "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"); err == nil {
		tell("action", action)
	}
	if count, err := db.Attempts(ctx, "college", bob); err == nil {
		tell("attempts", count)
	}
	policies, err := db.Policies(ctx)
	each(t, policies, err, func(o session.PolicyOverride) {
		text, err := json.Marshal(o)
		must(t, err)
		tell("policy", string(text))
	})
	modules, err := db.Modules(ctx)
	each(t, modules, err, func(m directory.Module) { tell("module", m) })
	enabled, err := db.Enabled(ctx)
	each(t, enabled, err, func(e directory.Enabled) { tell("enabled", e) })
	timers, err := db.Timers(ctx)
	each(t, timers, err, func(d directory.Timer) { tell("timer", d) })
	instances, err := db.Instances(ctx)
	each(t, instances, err, func(i directory.Instance) { tell("instance", i) })
	keys, err := db.Keys(ctx)
	each(t, keys, err, func(k token.StoredKey) { tell("key", k) })
	if device, err := db.DeviceByCode(ctx, someDevice(7, time.Time{}).UserCode); err == nil {
		tell("device", device)
	}
	clients, err := db.OAuthClients(ctx)
	each(t, clients, err, func(c session.Client) { tell("client", c) })
	apiKeys, err := db.APIKeys(ctx)
	each(t, apiKeys, err, func(k apikey.Key) { tell("API key", k) })
	epochs, err := db.Epochs(ctx, time.Time{})
	each(t, epochs, err, func(c session.Change) { tell("epoch", c) })
	ended, err := db.EndedSince(ctx, time.Time{})
	each(t, ended, err, func(e session.EndedSession) { tell("ended", e) })
	struck, err := db.Struck(ctx)
	each(t, struck, err, func(s session.Struck) { tell("struck", s) })
	page, err := db.ListSessions(ctx, session.Filter{Limit: 1000})
	each(t, page.Sessions, err, func(s session.Session) { tell("session", s) })
	events, err := db.Events(ctx, session.EventFilter{Limit: 1000})
	each(t, events, err, func(e audit.Event) { tell("event", e) })
	return b.String()
}

func each[T any](t *testing.T, all []T, err error, do func(T)) {
	t.Helper()
	must(t, err)
	for _, one := range all {
		do(one)
	}
}
