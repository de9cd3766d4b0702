package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// ClientKey is what policies call the sessions of all API keys. Each has a
// client of its own, by which they are told apart.
const ClientKey = "api-key"

// ErrKeyInvalid is an API key that does not hold now, whatever the reason: an
// operator sees the reason in the list of keys, a stranger must not.
var ErrKeyInvalid = errors.New("API key is not valid")

// APIKeyStore keeps API keys.
type APIKeyStore interface {
	// APIKeys lists all keys, the newest first.
	APIKeys(ctx context.Context) ([]apikey.Key, error)
	// CreateAPIKey stores a new key. It fails with directory.ErrExists for a
	// secret that another key has or had until lately.
	CreateAPIKey(ctx context.Context, k apikey.Key, event audit.Event) error
	// UpdateAPIKey lets change change the secrets, scope and times of a key
	// under its lock, perhaps several times. Its error leaves the key as it is.
	UpdateAPIKey(ctx context.Context, id string, change func(*apikey.Key) error, event audit.Event) (apikey.Key, error)
	// DeleteAPIKey forgets a key that was revoked; another is ErrInvalid.
	DeleteAPIKey(ctx context.Context, id string, event audit.Event) error
	// BeginKeySession stores the session of a key in place of before, the one
	// that the caller knows of, empty for none, and fills in its epochs. Where
	// the key has another by now, nothing is stored and that is returned.
	BeginKeySession(ctx context.Context, id, before string, s *Session, event audit.Event) (token.SessionID, error)
}

// APIKeys are the keys of partners, all of them in memory, so that neither a
// good key nor an invented one makes a request ask the store. Fill in the
// fields and call Load. Its methods are safe for concurrent use.
type APIKeys struct {
	Store    APIKeyStore
	Hasher   *apikey.Hasher
	Sessions *Service

	loading sync.Mutex
	known   atomic.Pointer[knownKeys]
	// stale is set while memory is behind a change that could not be read.
	stale  atomic.Bool
	logins singleflight.Group
}

type knownKeys struct {
	byHash map[apikey.Hash]*heldKey
	byID   map[string]*heldKey
}

// heldKey is a key in memory, with what was worked out for it. It is made anew
// whenever the key changes.
type heldKey struct {
	apikey.Key
	ticket atomic.Pointer[ticket]
	scoped atomic.Pointer[scopedAccess]
}

// ticket is what an access token would say that was given out to the key's
// session. It is looked at on every request as a token is, and expires as one.
type ticket struct {
	claims token.Claims
	noted  atomic.Int64 // minute in which a use was last noted
}

// scopedAccess is what is left of what a user may do.
type scopedAccess struct{ of, left *directory.Access }

// Load reads all keys again. It is called before a change is acknowledged. If
// it fails, no key holds until it succeeds: one may have been revoked.
func (k *APIKeys) Load(ctx context.Context) error {
	k.loading.Lock()
	defer k.loading.Unlock()
	list, err := k.Store.APIKeys(ctx)
	if err != nil {
		k.stale.Store(true)
		return fmt.Errorf("read API keys: %w", err)
	}
	before := k.known.Load()
	now := &knownKeys{byHash: make(map[apikey.Hash]*heldKey), byID: make(map[string]*heldKey)}
	for _, one := range list {
		held := &heldKey{Key: one}
		if before != nil {
			if old, known := before.byID[one.ID]; known && old.Equal(&one) {
				held = old
			}
		}
		now.byID[one.ID] = held
		for _, hash := range []apikey.Hash{one.Hash, one.OldHash} {
			if !hash.IsZero() {
				now.byHash[hash] = held
			}
		}
	}
	k.known.Store(now)
	k.stale.Store(false)
	return nil
}

func (k *APIKeys) current(ctx context.Context) (*knownKeys, error) {
	if k.stale.Load() {
		if _, err, _ := k.logins.Do("", func() (any, error) { return nil, k.Load(context.WithoutCancel(ctx)) }); err != nil {
			return nil, errors.Join(ErrUnavailable, err)
		}
	}
	return k.known.Load(), nil
}

// FoundKey is a key that a presented secret opens.
type FoundKey struct{ held *heldKey }

// Tenant is the key's, known before anything is checked.
func (p *FoundKey) Tenant() string { return p.held.Tenant }

// Covers is whether the key is for a request. path is as the module gets it.
func (p *FoundKey) Covers(method, path string) bool { return p.held.Covers(method, path) }

// Find finds the key of a secret. It fails with ErrKeyInvalid for one that
// opens none now, and asks the store for nothing.
func (k *APIKeys) Find(ctx context.Context, s apikey.Secret) (*FoundKey, error) {
	known, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	hash := k.Hasher.Hash(s)
	held, ok := known.byHash[hash]
	if !ok || !held.Accepts(hash, k.Sessions.Now()) {
		return nil, ErrKeyInvalid
	}
	return &FoundKey{held}, nil
}

// Check tells whether the user and the session of a key hold that was found just
// now, and who calls with it: the user, with what the key's scope leaves of what
// the user may do. It is to keys what Service.Check is to tokens, and asks the
// store only when the key's session is to begin or its ticket has expired. It
// fails with ErrKeyInvalid or ErrUnavailable.
func (k *APIKeys) Check(ctx context.Context, p *FoundKey) (Caller, error) {
	s, held := k.Sessions, p.held
	now := s.Now()
	if !s.Trusted(now) {
		return Caller{}, fmt.Errorf("%w: this node has not heard of revocations for too long", ErrUnavailable)
	}
	access, err := s.Directory.Access(ctx, held.Tenant, held.UserID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return Caller{}, ErrKeyInvalid
	case err != nil:
		return Caller{}, errors.Join(ErrUnavailable, err)
	case !access.User.Active:
		return Caller{}, ErrKeyInvalid
	}
	t := held.ticket.Load()
	if !k.good(t, now) {
		if t, err = k.renew(ctx, held); err != nil {
			return Caller{}, err
		}
	}
	left, err := k.narrow(ctx, held, access)
	if err != nil {
		return Caller{}, err
	}
	if minute := now.Unix() / 60; t.noted.Swap(minute) != minute {
		s.seen.note(t.claims.Session, t.claims.Gen, now, 0)
	}
	return Caller{Claims: t.claims, Access: left}, nil
}

// good is whether a ticket holds, by the rules for access tokens.
func (k *APIKeys) good(t *ticket, now time.Time) bool {
	if t == nil {
		return false
	}
	s, c := k.Sessions, &t.claims
	return now.Before(c.Expires) && now.Before(c.IssuedAt.Add(s.Policies.MaxAccessTTL())) && !s.undone(c.IssuedAt) &&
		!s.memory.over(c.Session, c.Tenant, c.UserID, c.TenantEpoch, c.UserEpoch)
}

// renew gives the key a new ticket, once for all requests that wait for it. It
// goes on where one of them leaves.
func (k *APIKeys) renew(ctx context.Context, held *heldKey) (*ticket, error) {
	// The actor is of whoever came first, as a copy: its request may end earlier.
	actor := *audit.ActorFrom(ctx)
	flight := k.logins.DoChan(held.ID, func() (any, error) {
		within, cancel := context.WithTimeout(audit.WithActor(context.WithoutCancel(ctx), &actor), patience)
		defer cancel()
		if t := held.ticket.Load(); k.good(t, k.Sessions.Now()) {
			return t, nil // of the flight before
		}
		row, err := k.session(within, held)
		if err != nil {
			return nil, err
		}
		t := k.issue(row)
		held.ticket.Store(t)
		return t, nil
	})
	select {
	case done := <-flight:
		if done.Err != nil {
			return nil, done.Err
		}
		t := done.Val.(*ticket)
		if !k.good(t, k.Sessions.Now()) {
			return nil, fmt.Errorf("%w: the session of the API key ended just now", ErrUnavailable)
		}
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// session finds the live session of a key, or begins one. Whichever node comes
// first begins it, and the others take that.
func (k *APIKeys) session(ctx context.Context, held *heldKey) (row *Session, err error) {
	s, last := k.Sessions, held.Session
	if t := held.ticket.Load(); t != nil {
		last = t.claims.Session.String()
	}
	err = s.retry(ctx, func() error {
		for before, n := last, 0; n < 3; n++ {
			if before != "" {
				id, err := token.ParseSessionID(before)
				if err != nil {
					return fmt.Errorf("session of API key %s: %w", held.ID, err)
				}
				row, err = s.Store.Session(ctx, id)
				if err == nil && s.StateOf(row, s.Now()) == StateLive && !s.memory.overRow(row) {
					return nil
				}
				if err != nil && !errors.Is(err, ErrNotFound) { // swept long after it ended
					return err
				}
			}
			if row, err = k.newSession(ctx, held); err != nil {
				return err
			}
			e := event(ctx, audit.Login, row, "with an API key")
			e.Detail = map[string]string{"apiKey": held.ID}
			current, err := k.Store.BeginKeySession(ctx, held.ID, before, row, e)
			if err != nil {
				return err
			}
			if current == row.ID {
				s.Observe.LoggedIn(loginResult(nil))
				return nil
			}
			before = current.String()
		}
		return fmt.Errorf("%w: sessions of API key %s end as fast as they begin", ErrUnavailable, held.ID)
	})
	if errors.Is(err, ErrNotFound) { // the key is gone
		err = ErrKeyInvalid
	}
	return row, err
}

// newSession is a session that nobody holds a refresh token of.
func (k *APIKeys) newSession(ctx context.Context, held *heldKey) (*Session, error) {
	s, actor := k.Sessions, audit.ActorFrom(ctx)
	user, err := s.Users.User(ctx, held.Tenant, held.UserID)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return nil, ErrKeyInvalid
	case err != nil:
		return nil, errors.Join(ErrUnavailable, err)
	case !user.Active:
		return nil, ErrKeyInvalid
	}
	actor.Kind, actor.Name, actor.UserID = "user", user.Username, user.ID
	now, client := s.Now(), apikey.Client(held.ID)
	policy := s.Policies.For(held.Tenant, client, held.UserID)
	row := &Session{
		ID: token.NewSessionID(), Tenant: held.Tenant, UserID: held.UserID, Username: user.Username, Client: client,
		Family:    Family{Gen: 1, RotatedAt: now},
		CreatedAt: now, LastActivity: now, AbsoluteExpiry: now.Add(policy.Absolute).Truncate(time.Second),
		LoginAddress: actor.Address, LastAddress: actor.Address, UserAgent: "API key " + held.Name,
	}
	_, _ = rand.Read(row.Secret[:]) // never fails since Go 1.24
	return row, nil
}

func (k *APIKeys) issue(row *Session) *ticket {
	s := k.Sessions
	now, policy := s.Now(), s.Policies.For(row.Tenant, row.Client, row.UserID)
	return &ticket{claims: token.Claims{
		Kind: token.KindAccess, Tenant: row.Tenant, Subject: row.Username, UserID: row.UserID,
		ClientID: row.Client, Session: row.ID, Gen: row.Gen,
		TenantEpoch: row.TenantEpoch, UserEpoch: row.UserEpoch,
		// And no AuthTime: nobody gave a password.
		IssuedAt: now, Expires: accessExpiry(policy, row.AbsoluteExpiry, now),
	}}
}

// narrow is what a key's scope leaves of what its user may do. Raised scope
// needs a password, which a key is not.
func (k *APIKeys) narrow(ctx context.Context, held *heldKey, access *directory.Access) (*directory.Access, error) {
	if known := held.scoped.Load(); known != nil && known.of == access {
		return known.left, nil
	}
	left := &directory.Access{User: access.User, Ordinary: access.Ordinary}
	if !held.All() {
		// After access was read: permission sets that changed since make another.
		allowed, err := k.Sessions.Directory.Expand(ctx, held.Tenant, held.Permissions)
		if err != nil {
			return nil, errors.Join(ErrUnavailable, err)
		}
		left.Ordinary = access.Ordinary.Intersect(allowed)
	}
	held.scoped.Store(&scopedAccess{access, left})
	return left, nil
}

// nested is what a module may use of its user's permissions in a request that
// began with a key: no more than the key. With a key that is gone it has what it
// was lent, and may finish with that.
func (k *APIKeys) nested(ctx context.Context, client string, access *directory.Access) (*directory.Access, error) {
	nothing := &directory.Access{User: access.User}
	id, ok := apikey.FromClient(client)
	if !ok || k == nil {
		return nothing, nil
	}
	known, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	if held, ok := known.byID[id]; ok && held.State(k.Sessions.Now()) == apikey.Active {
		return k.narrow(ctx, held, access)
	}
	return nothing, nil
}
