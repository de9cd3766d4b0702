package store

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	// Finer than a microsecond, which is what a store keeps.
	return &clock{now: time.Date(2026, 11, 23, 12, 0, 0, 123_456_789, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// kept is a time as a store keeps it.
func kept(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// bench is a fresh store with a tenant, two users and a clock.
type bench struct {
	DB
	*clock
	heard *recorder
}

// Now is the clock that the test sets, which the store's follows.
func (b bench) Now() time.Time { return b.clock.Now() }

const (
	alice = "9eb67301-6f6e-468f-9b1a-6134dc39a684"
	bob   = "0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"
)

func newBench(t *testing.T, e engine) bench {
	t.Helper()
	c := newClock()
	b := bench{DB: e.open(t, c.Now), clock: c, heard: &recorder{}}
	b.OnChange(b.heard.listen)
	ctx := t.Context()
	must(t, b.CreateTenant(ctx, directory.Tenant{ID: "diku", Name: "Datalogisk Institut"}, audit.Event{Kind: audit.TenantCreated, Tenant: "diku"}))
	for id, name := range map[string]string{alice: "alice", bob: "bob"} {
		u := directory.User{ID: id, Tenant: "diku", Username: name, Active: true}
		must(t, b.CreateUser(ctx, u, directory.Grants{}, "", audit.Event{Kind: audit.UserCreated, Tenant: "diku", UserID: id}))
	}
	b.heard.take()
	return b
}

// login stores a session of a user of diku and returns it as it is kept.
func (b bench) login(t *testing.T, userID string) *session.Session {
	t.Helper()
	s := newSession("diku", userID, b.Now())
	must(t, b.CreateSession(t.Context(), s, 0))
	return b.session(t, s.ID)
}

func (b bench) session(t *testing.T, id token.SessionID) *session.Session {
	t.Helper()
	s, err := b.Session(t.Context(), id)
	must(t, err)
	return s
}

// events reads the events of a kind in diku, newest first.
func (b bench) events(t *testing.T, kind audit.Kind) []audit.Event {
	t.Helper()
	all, err := b.Events(t.Context(), session.EventFilter{Tenant: "diku", Kind: kind})
	must(t, err)
	return all
}

func newSession(tenant, userID string, now time.Time) *session.Session {
	return &session.Session{
		ID: token.NewSessionID(), Tenant: tenant, UserID: userID, Username: "diku_admin", Client: session.ClientWeb,
		Secret: [32]byte{1, 2, 3}, Family: session.Family{Gen: 1, RotatedAt: now},
		CreatedAt: now, AbsoluteExpiry: now.Add(24 * 24 * time.Hour), LastActivity: now,
		LoginAddress: "192.0.2.7", LastAddress: "192.0.2.7",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	}
}

// rotate is what a refresh does to a row.
func rotate(now time.Time, s *session.Session) session.Effects {
	s.SeenGen = s.Gen
	s.Gen++
	s.RotatedAt, s.WindowAt, s.LastActivity = now, now, now
	return session.Effects{Save: true}
}

// revoke is what a logout does to a row.
func revoke(now time.Time, s *session.Session) session.Effects {
	if !s.RevokedAt.IsZero() {
		return session.Effects{}
	}
	s.RevokedAt, s.RevokedWhy, s.RevokedBy = now, session.LoggedOut, "alice"
	return session.Effects{Save: true, Events: []audit.Event{{Kind: audit.Logout, Tenant: s.Tenant, Session: s.ID.String(), UserID: s.UserID}}}
}

// recorder keeps the changes that it heard.
type recorder struct {
	mu  sync.Mutex
	all []session.Change
}

func (r *recorder) listen(changes []session.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, changes...)
}

// take returns what was heard since the last call.
func (r *recorder) take() []session.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// kinds returns the kinds of what was heard since the last call.
func (r *recorder) kinds() []session.ChangeKind {
	var kinds []session.ChangeKind
	for _, c := range r.take() {
		kinds = append(kinds, c.Kind)
	}
	return kinds
}

func openSQLite(t testing.TB, path string, now func() time.Time) *SQLite {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path, Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func databasePath(t testing.TB) string { return filepath.Join(t.TempDir(), "counterfoil.db") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check is must for goroutines that must not end the test.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func wantError(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("error is %v, want %v", err, target)
		}
	}
}

func wantEqual[T any](t testing.TB, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("not as wanted (-want +got):\n%s", diff)
	}
}

// as returns a context of a request that alice makes.
func as(ctx context.Context) context.Context { return audit.WithActor(ctx, &actorAlice) }

var actorAlice = audit.Actor{
	Kind: "user", Name: "alice", UserID: alice, Address: "192.0.2.7", UserAgent: "curl/8", RequestID: "123456/authn",
}
