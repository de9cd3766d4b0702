package token

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// start is a whole second, as FOLIO's own examples have it.
var start = time.Unix(1704067200, 0).UTC()

var master = []byte("0123456789abcdefghijklmnopqrstuv")

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
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

// memory is a KeyStore that behaves: all or none, and what it gives out is
// not what it keeps.
type memory struct {
	mu    sync.Mutex
	rows  map[[2]string]StoredKey
	saves int
	fail  error // returned by SaveKeys instead of saving
}

func (m *memory) Keys(ctx context.Context) ([]StoredKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []StoredKey
	for _, k := range m.rows { // in any order
		keys = append(keys, clone(k))
	}
	return keys, ctx.Err()
}

func (m *memory) SaveKeys(ctx context.Context, keys []StoredKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.fail, ctx.Err()); err != nil {
		return err
	}
	if m.rows == nil {
		m.rows = make(map[[2]string]StoredKey)
	}
	for _, k := range keys {
		m.rows[[2]string{k.Purpose, k.ID}] = clone(k)
	}
	m.saves++
	return nil
}

func clone(k StoredKey) StoredKey {
	k.Public, k.Wrapped = slices.Clone(k.Public), slices.Clone(k.Wrapped)
	return k
}

// bundle is a ring and what it stands on.
type bundle struct {
	*Ring
	clock *clock
	store *memory
}

func setup(t testing.TB) bundle {
	t.Helper()
	b := bundle{clock: &clock{now: start}, store: &memory{}}
	b.Ring = b.restart(t)
	return b
}

func (b bundle) config() Config {
	return Config{
		Store: b.store, Master: master, Now: b.clock.Now,
		Issuer: "https://folio.example.org", Audience: "folio",
	}
}

// restart opens another ring on the same store.
func (b bundle) restart(t testing.TB) *Ring {
	t.Helper()
	r, err := OpenRing(t.Context(), b.config())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b bundle) activeID(purpose string) string { return b.state.Load().active[purpose].ID }

func (b bundle) mint(t testing.TB, c Claims) string {
	t.Helper()
	s, err := b.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// forge signs any payload with the genuine key of a kind: what a faulty or
// older program of ours could have written.
func (b bundle) forge(kind Kind, payload string) string {
	h := b.state.Load().mint[kind]
	text := h.segment + "." + segments.EncodeToString([]byte(payload))
	signature, err := h.key.sign([]byte(text))
	if err != nil {
		panic(err)
	}
	return text + "." + segments.EncodeToString(signature)
}

var allKinds = []Kind{KindAccess, KindElevated, KindModule, KindDummy}

// claims are a complete token of a kind, valid from start for ten minutes.
func claims(kind Kind) Claims {
	c := Claims{
		Kind: kind, Issuer: "https://folio.example.org", Audience: "folio",
		Tenant: "diku", Subject: "diku_admin", TenantEpoch: 2,
		IssuedAt: start, Expires: start.Add(10 * time.Minute),
	}
	session := SessionID{0x0d, 0x5f, 0x4b, 0x5e, 0x5f, 0x0b, 0x4f, 0x0c, 0x8a, 0x50, 0x1b, 0x7d, 0x3c, 0x3f, 0x9c, 0x11}
	switch kind {
	case KindElevated:
		c.Permissions = []string{"users.item.delete"}
		fallthrough
	case KindAccess:
		c.UserID, c.ClientID, c.Session = "9eb67301-6f6e-468f-9b1a-6134dc39a684", "stripes", session
		c.Gen, c.UserEpoch, c.ID, c.AuthTime = 7, 3, "JTI4YR6ZPTM2KQJ5WX3CDGHN7B", start.Add(-time.Hour)
	case KindModule:
		c.UserID, c.Session, c.UserEpoch = "9eb67301-6f6e-468f-9b1a-6134dc39a684", session, 3
		c.Module, c.RequestID, c.Permissions = "mod-users-19.4.0", "123456/users", []string{"perms.users.get"}
	case KindDummy:
		c.Subject, c.Permissions = "UNDEFINED_USER__5b9c", []string{"users-bl.password-reset-link.validate"}
	}
	return c
}

func binding() Binding {
	return Binding{
		Session: claims(KindAccess).Session, Secret: [32]byte{31: 1},
		Tenant: "diku", UserID: "9eb67301-6f6e-468f-9b1a-6134dc39a684", AbsoluteExpiry: start.Add(24 * 24 * time.Hour),
	}
}

// states lists the keys of a purpose by age.
func states(r *Ring, purpose string) []string {
	var list []string
	for _, k := range r.Keys() {
		if k.Purpose == purpose {
			list = append(list, k.State)
		}
	}
	return list
}

func rotate(t *testing.T, r *Ring, purpose string, now bool) KeyInfo {
	t.Helper()
	k, err := r.Rotate(t.Context(), purpose, "", now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// seal is how a row's secret is stored.
func seal(w KeyWrapper, k StoredKey, secret []byte) []byte {
	wrapped, err := w.Wrap(secret, sealedWith(k))
	if err != nil {
		panic(err)
	}
	return wrapped
}
