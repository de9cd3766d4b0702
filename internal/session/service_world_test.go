package session_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/store"
	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	readerID = "5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"
	writerID = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	// password is everybody's.
	password = "correct horse battery"
	home     = "192.0.2.17"
)

// world is the service over a real store and real keys, in a bubble of
// testing/synctest: sleep lets timers run, jump only moves what the clock says.
type world struct {
	t      *testing.T
	path   string
	offset atomic.Int64

	db       *store.SQLite
	store    *faulty
	ring     *token.Ring
	people   *directory.Cache
	policies *session.Policies
	limits   *credential.Regulator
	hasher   *credential.Hasher
	service  *session.Service
	seen     *observed
	// populated is how many events there were before the test began.
	populated int

	// What open takes over.
	policy     session.Policy
	flushEvery time.Duration
	noCache    bool
	old        *session.OldTokens
	// cluster makes of the store's own news what a test needs.
	cluster func(session.Cluster) session.Cluster
}

// inWorld runs test in a world of its own, with the default policy but for its
// jitter, as adjust changes it.
func inWorld(t *testing.T, adjust func(*world), test func(*world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, path: filepath.Join(dir, "session.db"), policy: session.DefaultPolicy()}
		w.policy.Jitter = 0 // lifetimes are compared
		w.hasher = &credential.Hasher{Memory: 64, Time: 1, Queue: 1000}
		w.limits = &credential.Regulator{}
		if adjust != nil {
			adjust(w)
		}
		w.open()
		w.populate()
		defer w.close()
		test(w)
	})
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.offset.Load())) }

func (w *world) sleep(d time.Duration) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
}

func (w *world) jump(d time.Duration) { w.offset.Add(int64(d)) }

func (w *world) open() {
	w.t.Helper()
	ctx := context.Background()
	var err error
	w.db, err = store.Open(ctx, store.Config{Path: w.path, Now: w.now})
	w.must(err)
	w.store = &faulty{Store: w.db}
	w.people = &directory.Cache{Source: w.db, Now: w.now, TTL: -1}
	w.must(w.people.Load(ctx))
	w.ring, err = token.OpenRing(ctx, token.Config{
		Store: w.db, Master: []byte("0123456789abcdefghijklmnopqrstuv"), Issuer: "https://folio.example.org",
		Audience: "folio", Now: w.now,
	})
	w.must(err)
	w.policies = &session.Policies{Default: w.policy}
	w.must(w.policies.Load(ctx, w.db))
	w.seen = &observed{}
	var cluster session.Cluster = w.db
	if w.cluster != nil {
		cluster = w.cluster(w.db)
	}
	w.service = &session.Service{
		Moving: w.db, Old: w.old,
		Store: w.store, Feed: w.db, Cluster: cluster, Accounts: w.db, Credentials: w.db, Events: w.db, Users: w.db, Directory: w.people, Tokens: w.ring,
		Passwords: w.hasher, Limits: w.limits, Policies: w.policies, Now: w.now, Observe: w.seen, FlushEvery: w.flushEvery,
	}
	if w.noCache {
		w.service.VerifiedTokens = -1
	}
	w.db.OnChange(func(changes []session.Change) {
		for _, c := range changes {
			switch c.Kind {
			case session.TenantsChanged:
				w.must(w.people.ReloadTenants(ctx))
			case session.PoliciesChanged:
				w.must(w.policies.Load(ctx, w.db))
			}
		}
	})
	w.must(w.service.Start(ctx))
	synctest.Wait()
}

func (w *world) close() {
	w.t.Helper()
	w.must(w.service.Close(context.Background()))
	w.must(w.db.Close())
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) populate() {
	w.t.Helper()
	ctx := w.as("operator", "test")
	for _, id := range []string{"diku", "other"} {
		w.must(w.db.CreateTenant(ctx, directory.Tenant{ID: id}, audit.Event{Kind: audit.TenantCreated, Tenant: id}))
	}
	set := directory.PermissionSet{Name: "orders.collection.delete", ElevatedOnly: true}
	w.must(w.db.SavePermissionSet(ctx, "diku", set, audit.Event{Kind: audit.PermissionChanged, Tenant: "diku"}))
	for _, u := range []directory.User{
		{ID: readerID, Tenant: "diku", Username: "reader", Active: true},
		{ID: writerID, Tenant: "diku", Username: "writer", Active: true},
		{ID: readerID, Tenant: "other", Username: "reader", Active: true},
	} {
		g := directory.Grants{Permissions: []string{"orders.collection.get", "orders.collection.delete"}, Elevated: []string{"orders.item.put"}}
		w.must(w.service.CreateUser(ctx, u, g, password))
	}
	w.populated = len(w.told())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// as is the context of a request by whoever.
func (w *world) as(kind, name string) context.Context {
	return audit.WithActor(context.Background(), &audit.Actor{Kind: kind, Name: name, Address: home})
}

// from is the context of a stranger's request.
func from(address string) context.Context {
	return audit.WithActor(context.Background(), &audit.Actor{Kind: "anonymous", Address: address, UserAgent: "test"})
}

func loginOf(username string) session.LoginRequest {
	return session.LoginRequest{Tenant: "diku", Username: username, Password: password, Client: session.ClientAPI}
}

func (w *world) login(username string) *session.Tokens {
	w.t.Helper()
	tokens, err := w.service.Login(from(home), loginOf(username))
	w.must(err)
	return tokens
}

func (w *world) present(raw string, heals ...string) (*session.Tokens, error) {
	return w.service.Refresh(from(home), session.RefreshRequest{Token: raw, Heals: heals})
}

// refresh must succeed.
func (w *world) refresh(raw string, heals ...string) *session.Tokens {
	w.t.Helper()
	tokens, err := w.present(raw, heals...)
	if err != nil {
		w.t.Fatalf("refresh: %v, counted as %s", err, w.seen.last())
	}
	return tokens
}

// refused must be refused.
func (w *world) refused(raw string, heals ...string) *session.Refused {
	w.t.Helper()
	return w.refusal(w.present(raw, heals...))
}

func (w *world) refusal(_ *session.Tokens, err error) *session.Refused {
	w.t.Helper()
	var r *session.Refused
	if !errors.As(err, &r) {
		w.t.Fatalf("error is %v, want a refusal", err)
	}
	return r
}

// outcome fails unless the last refresh was counted so.
func (w *world) outcome(want string) {
	w.t.Helper()
	if got := w.seen.last(); got != want {
		w.t.Fatalf("the last refresh was counted as %q, want %q", got, want)
	}
}

func (w *world) check(raw string, accept ...token.Kind) (session.Caller, error) {
	if len(accept) == 0 {
		accept = []token.Kind{token.KindAccess, token.KindElevated}
	}
	return w.service.Check(context.Background(), raw, accept...)
}

func (w *world) holds(raw string) {
	w.t.Helper()
	if _, err := w.check(raw); err != nil {
		w.t.Fatalf("access token: %v, want it to hold", err)
	}
}

func (w *world) dead(raw string, want error) {
	w.t.Helper()
	if _, err := w.check(raw); !errors.Is(err, want) {
		w.t.Fatalf("access token: %v, want %v", err, want)
	}
}

func (w *world) row(id token.SessionID) *session.Session {
	w.t.Helper()
	row, err := w.db.Session(context.Background(), id)
	w.must(err)
	return row
}

// story is the events of one session, oldest first.
func (w *world) story(id token.SessionID) []string {
	w.t.Helper()
	events, err := w.service.Timeline(context.Background(), w.row(id))
	w.must(err)
	return tell(events)
}

// told is all events since the test began, oldest first.
func (w *world) told() []string {
	w.t.Helper()
	events, err := w.db.Events(context.Background(), session.EventFilter{Limit: 1000})
	w.must(err)
	for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
		events[i], events[j] = events[j], events[i]
	}
	return tell(events)[w.populated:]
}

func tell(events []audit.Event) []string {
	list := make([]string, len(events))
	for i, e := range events {
		list[i] = fmt.Sprintf("%s by %s", e.Kind, cmp.Or(e.Actor.Name, e.Actor.Kind))
		if e.Reason != "" {
			list[i] += ": " + e.Reason
		}
	}
	return list
}

// faulty is a store of which calls fail as a test wants it: the fault is the
// point, everything else is real.
type faulty struct {
	session.Store
	mu     sync.Mutex
	before func() error
	after  func() error
	// twice makes the next update be decided on a copy first, as a store may do
	// that guesses, and is called in between.
	twice func()
	// deaf makes merging what was seen fail, and nothing else.
	deaf atomic.Bool
}

// fail makes calls fail before or after they reach the store.
func (f *faulty) fail(before, after func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

func (f *faulty) around(call func() error) error {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	err := call()
	if err == nil && after != nil {
		return after()
	}
	return err
}

func (f *faulty) CreateSession(ctx context.Context, s *session.Session, limit int, events ...audit.Event) error {
	return f.around(func() error { return f.Store.CreateSession(ctx, s, limit, events...) })
}

func (f *faulty) UpdateSession(ctx context.Context, id token.SessionID, decide func(time.Time, *session.Session) session.Effects) error {
	return f.around(func() error {
		if between := f.twice; between != nil {
			f.twice = nil
			row, err := f.Session(ctx, id)
			if err != nil {
				return err
			}
			if made := decide(time.Now(), row).Meanwhile; made != nil {
				made()
			}
			between()
		}
		var meanwhile func()
		err := f.Store.UpdateSession(ctx, id, func(now time.Time, s *session.Session) session.Effects {
			effects := decide(now, s)
			meanwhile = effects.Meanwhile
			return effects
		})
		if meanwhile != nil {
			meanwhile()
		}
		return err
	})
}

func (f *faulty) MergeSeen(ctx context.Context, seen []session.Seen) error {
	if f.deaf.Load() {
		return fmt.Errorf("%w: test", session.ErrUnavailable)
	}
	return f.Store.MergeSeen(ctx, seen)
}

// observed remembers what was counted.
type observed struct {
	mu        sync.Mutex
	refreshes []string
	logins    []string
	hits      int
	ended     map[session.Reason]int
}

func (o *observed) Refreshed(outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refreshes = append(o.refreshes, outcome)
}

func (o *observed) LoggedIn(result string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.logins = append(o.logins, result)
}

func (o *observed) SessionsEnded(reason session.Reason, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = make(map[session.Reason]int)
	}
	o.ended[reason] += n
}

func (o *observed) TokenCache(hit bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if hit {
		o.hits++
	}
}

func (o *observed) FeedFlushed(time.Time, int, error) {}
func (o *observed) OldToken(string, string)           {}

func (o *observed) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.refreshes) == 0 {
		return ""
	}
	return o.refreshes[len(o.refreshes)-1]
}
