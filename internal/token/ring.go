package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The defaults of Config.
const (
	defaultPublishFor    = 65 * time.Minute
	defaultAccessRetire  = time.Hour + time.Minute
	defaultModuleRetire  = time.Hour + time.Minute
	defaultRefreshRetire = 25 * 24 * time.Hour
	// auditRetire is longer than anybody keeps an audit log: what a key has
	// signed is to be verified for so long.
	auditRetire = 20 * 365 * 24 * time.Hour
)

// Config says how a ring works. Store, Master, Issuer, Audience and Now are
// needed.
type Config struct {
	Store KeyStore
	// Master has 32 bytes and seals the secrets in the store, unless Wrapper does.
	Master  []byte
	Wrapper KeyWrapper
	// Signers keep the private keys of access tokens; nil keeps them in the store.
	Signers Signers
	// Algorithm chooses in which algorithm the access tokens of a session are
	// signed, and Algorithms are all that it chooses. Nil is EdDSA. One that has
	// no active key yet is passed over for EdDSA, whose key everybody knows.
	Algorithm  func(tenant, client, userID string) string
	Algorithms func() []string
	// Issuer and Audience are written into every JWT and demanded of it.
	Issuer, Audience string
	// Now is the clock for the states of keys.
	Now func() time.Time
	// PublishFor is how long an access key is pending. Default 65 min: the
	// sidecars of FOLIO's Eureka platform keep a JWKS for 60 min, and what
	// they fetched may have been in an HTTP cache for 5 min before that.
	PublishFor time.Duration
	RetireFor  RetireFor
}

// RetireFor is how long retired keys still verify: at least the longest
// lifetime of a token they signed, or rotation cuts tokens short. A retired
// derive key is removed at once, since nothing asks for an older sub-key.
type RetireFor struct {
	// Access is the longest lifetime of an access or elevated token in any
	// policy, and a minute for clocks that differ. Default 61 min.
	Access time.Duration
	// Module is the same for module and dummy tokens. Default 61 min.
	Module time.Duration
	// Refresh is the longest absolute lifetime of a session and a day. A
	// used token that comes back later than that counts as forged instead of
	// as reused. Default 25 days.
	Refresh time.Duration
}

// Ring holds the keys and makes and opens tokens with them. Its methods are
// safe for concurrent use; those without a context never wait for a change of
// keys or for the store.
type Ring struct {
	store            KeyStore
	vault            vault
	algorithm        func(tenant, client, userID string) string
	algorithms       func() []string
	issuer, audience string
	now              func() time.Time
	publishFor       time.Duration
	retireFor        map[string]time.Duration // by purpose

	changing sync.Mutex  // held over the store's answer; orders changes
	behind   atomic.Bool // something was heard while a change was made
	state    atomic.Pointer[snapshot]
}

// snapshot is the keys at one time, arranged for those who look them up. It
// is never changed once it is in Ring.state.
type snapshot struct {
	keys    []*key             // all, removed ones too; by purpose, then age
	active  map[string]*key    // by purpose, of its default algorithm
	mint    map[Kind]*header   // of the active keys
	others  map[string]*key    // active access keys of other algorithms, by algorithm
	chosen  map[choice]*header // of these
	headers map[string]*header // of all living keys, by segment
	refresh [256]*key          // living refresh keys by number
	jwks    []byte
	version uint64
}

// choice is a kind of token, signed in another algorithm than the default.
type choice struct {
	kind      Kind
	algorithm string
}

// OpenRing reads the keys, makes those that are missing, as all are at the
// first start, and does what Tick does. A master key that does not fit is
// ErrMaster, and nothing is written then.
func OpenRing(ctx context.Context, c Config) (*Ring, error) {
	if c.Wrapper == nil {
		var err error
		if c.Wrapper, err = NewMasterWrapper(c.Master); err != nil {
			return nil, err
		}
	}
	if c.Store == nil || c.Now == nil || c.Issuer == "" || c.Audience == "" {
		return nil, errors.New("key ring: Store, Now, Issuer and Audience must be set")
	}
	if min(c.PublishFor, c.RetireFor.Access, c.RetireFor.Module, c.RetireFor.Refresh) < 0 {
		return nil, errors.New("key ring: PublishFor and RetireFor must not be negative")
	}
	r := &Ring{
		store: c.Store, vault: vault{c.Wrapper, c.Signers}, algorithm: c.Algorithm, algorithms: c.Algorithms, issuer: c.Issuer, audience: c.Audience, now: c.Now,
		publishFor: orDefault(c.PublishFor, defaultPublishFor),
		retireFor: map[string]time.Duration{
			PurposeAccess:  orDefault(c.RetireFor.Access, defaultAccessRetire),
			PurposeModule:  orDefault(c.RetireFor.Module, defaultModuleRetire),
			PurposeRefresh: orDefault(c.RetireFor.Refresh, defaultRefreshRetire),
			PurposeAudit:   auditRetire,
		},
	}
	if err := r.Tick(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func orDefault(value, standard time.Duration) time.Duration {
	if value == 0 {
		return standard
	}
	return value
}

// Version changes whenever a key is removed. Whoever caches verified tokens
// reads it before Verify, keeps it with the result, and drops the result once
// the two differ. Reading it takes no lock.
func (r *Ring) Version() uint64 { return r.state.Load().version }

// Keys tells about all keys, removed ones too, by purpose and age.
func (r *Ring) Keys() []KeyInfo {
	keys := r.state.Load().keys
	infos := make([]KeyInfo, len(keys))
	for i, k := range keys {
		infos[i] = r.info(k.StoredKey)
	}
	return infos
}

func (r *Ring) info(k StoredKey) KeyInfo {
	info := KeyInfo{
		ID: k.ID, Purpose: k.Purpose, State: k.State, Algorithm: k.Algorithm,
		CreatedAt: k.CreatedAt, ActivatedAt: k.ActivatedAt, RetiredAt: k.RetiredAt, RemovedAt: k.RemovedAt,
	}
	switch k.State {
	case StatePending:
		info.DueAt = k.CreatedAt.Add(r.publishFor)
	case StateRetired:
		info.DueAt = k.RetiredAt.Add(r.retireFor[k.Purpose])
	}
	return info
}

// JWKS is the JWK set (RFC 7517) of the pending, active and retired access
// keys, the active one first. The caller must not change the bytes.
func (r *Ring) JWKS() []byte { return r.state.Load().jwks }

// Derive makes a key of 32 bytes for what the label names, such as "device
// cookie": the same on every node and at every start, until the derive key is
// rotated or removed.
func (r *Ring) Derive(label string) [32]byte {
	k := r.state.Load().active[PurposeDerive]
	return [32]byte(subkey(k.secret, nil, "counterfoil derive 1 "+label))
}

// known is a key that was opened before, in the state that it has now: opening
// one may take a while, and a KMS.
func known(s *snapshot, row StoredKey) *key {
	if s == nil || row.State == StateRemoved {
		return nil
	}
	for _, k := range s.keys {
		if k.live() && k.Purpose == row.Purpose && k.ID == row.ID && k.Algorithm == row.Algorithm &&
			bytes.Equal(k.Wrapped, row.Wrapped) && bytes.Equal(k.Public, row.Public) {
			again := *k
			again.StoredKey = row
			return &again
		}
	}
	return nil
}

func (r *Ring) openKeys(stored []StoredKey) ([]*key, error) {
	var keys []*key
	for _, row := range stored {
		k := known(r.state.Load(), row)
		if k == nil {
			var err error
			if k, err = openKey(row, r.vault); err != nil {
				return nil, err
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// open makes a snapshot of stored keys, to follow on prev, which may be nil.
func (r *Ring) open(stored []StoredKey, prev *snapshot) (*snapshot, error) {
	keys, err := r.openKeys(stored)
	if err != nil {
		return nil, err
	}
	s := &snapshot{
		keys:    keys,
		active:  make(map[string]*key),
		mint:    make(map[Kind]*header),
		headers: make(map[string]*header),
		others:  make(map[string]*key),
		chosen:  make(map[choice]*header),
	}
	slices.SortFunc(s.keys, func(a, b *key) int {
		if order := slices.Index(purposes, a.Purpose) - slices.Index(purposes, b.Purpose); order != 0 {
			return order
		}
		return byAge(a.StoredKey, b.StoredKey)
	})
	for _, k := range s.keys {
		s.add(k)
	}
	for _, purpose := range purposes {
		k := s.active[purpose]
		if k == nil {
			return nil, fmt.Errorf("the store holds no active %s key", purpose)
		}
		for _, h := range headersOf(k) {
			s.mint[h.kind] = h
		}
	}
	for _, k := range s.others {
		for _, h := range headersOf(k) {
			s.chosen[choice{h.kind, k.Algorithm}] = h
		}
	}
	s.jwks = jwks(s.keys)
	if prev != nil {
		s.version = prev.version
		if s.lacksKeyOf(prev) {
			s.version++
		}
	}
	return s, nil
}

func (s *snapshot) add(k *key) {
	if !k.live() {
		return
	}
	for _, h := range headersOf(k) {
		s.headers[h.segment] = h
	}
	if k.Purpose == PurposeRefresh {
		s.refresh[k.number] = k
	}
	// Two nodes that rotate at the same moment leave two active keys; all
	// nodes choose the same one, and Tick retires the other.
	place, name := s.active, k.Purpose
	if k.Algorithm != algorithms[k.Purpose][0] {
		place, name = s.others, k.Algorithm
	}
	if other := place[name]; k.State == StateActive && (other == nil || laterActive(k.StoredKey, other.StoredKey)) {
		place[name] = k
	}
}

// signing is the header under which a token of these claims is written.
func (r *Ring) signing(c *Claims) *header {
	s := r.state.Load()
	if len(s.chosen) > 0 && r.algorithm != nil && c.Kind != KindModule && c.Kind != KindDummy {
		if h := s.chosen[choice{c.Kind, r.algorithm(c.Tenant, c.ClientID, c.UserID)}]; h != nil {
			return h
		}
	}
	return s.mint[c.Kind]
}

// lacksKeyOf reports whether a key that lived in prev does not any more.
func (s *snapshot) lacksKeyOf(prev *snapshot) bool {
	return slices.ContainsFunc(prev.keys, func(old *key) bool {
		return old.live() && !slices.ContainsFunc(s.keys, func(k *key) bool {
			return k.live() && k.Purpose == old.Purpose && k.ID == old.ID
		})
	})
}

func byAge(a, b StoredKey) int {
	if order := a.CreatedAt.Compare(b.CreatedAt); order != 0 {
		return order
	}
	return strings.Compare(a.ID, b.ID)
}

func laterActive(a, b StoredKey) bool {
	if order := a.ActivatedAt.Compare(b.ActivatedAt); order != 0 {
		return order > 0
	}
	return a.ID > b.ID
}

// jwks writes the JWK set (RFC 7517).
func jwks(keys []*key) []byte {
	text := []byte(`{"keys":[`)
	for _, state := range []string{StateActive, StatePending, StateRetired} {
		for _, k := range keys {
			if k.Purpose != PurposeAccess || k.State != state {
				continue
			}
			if text[len(text)-1] == '}' {
				text = append(text, ',')
			}
			text = append(text, `{"use":"sig","alg":"`+k.Algorithm+`","kid":"`+k.ID+`",`+k.jwk+`}`...)
		}
	}
	return append(text, "]}"...)
}

// JWKSAge is how long others may keep the JWK set: a small part of the time for
// which a key is published before it signs.
func (r *Ring) JWKSAge() time.Duration {
	return min(r.publishFor/13, 5*time.Minute).Truncate(time.Second)
}
