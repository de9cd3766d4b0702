package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// NewAPIKey is what an operator says of a key.
type NewAPIKey struct {
	Tenant, UserID, Name string
	apikey.Scope
	// ExpiresAt is zero for never.
	ExpiresAt time.Time
}

// maxOverlap is how long an old secret may hold beside its successor.
const maxOverlap = 90 * 24 * time.Hour

// Create makes a key. The second result is how its secret is written, which
// nobody can ask for again.
func (k *APIKeys) Create(ctx context.Context, in NewAPIKey) (apikey.Key, string, error) {
	secret, text := apikey.Generate()
	key, err := k.add(ctx, in, secret, "made by an operator")
	return key, text, err
}

// Import registers a key that a partner of FOLIO's edge modules has already.
// Tenant and user are what it says, which its holder then is: in is without.
func (k *APIKeys) Import(ctx context.Context, in NewAPIKey, secret apikey.Secret) (apikey.Key, error) {
	if err := secret.Importable(); err != nil {
		return apikey.Key{}, err
	}
	user, known, err := k.Sessions.find(ctx, secret.Tenant, secret.Username, "")
	if err != nil {
		return apikey.Key{}, err
	}
	if !known {
		return apikey.Key{}, fmt.Errorf("the tenant or user that the key names: %w", ErrNotFound)
	}
	in.Tenant, in.UserID = secret.Tenant, user.ID
	return k.add(ctx, in, secret, "imported from an edge module")
}

func (k *APIKeys) add(ctx context.Context, in NewAPIKey, secret apikey.Secret, reason string) (apikey.Key, error) {
	s := k.Sessions
	now := s.Now()
	key := apikey.Key{
		ID: apikey.NewID(), Tenant: in.Tenant, UserID: in.UserID, Name: in.Name, Kind: secret.Kind,
		Hash: k.Hasher.Hash(secret), Scope: in.Scope,
		CreatedAt: now.UTC().Truncate(time.Microsecond), ExpiresAt: in.ExpiresAt.UTC().Truncate(time.Second),
	}
	if in.ExpiresAt.IsZero() {
		key.ExpiresAt = time.Time{}
	}
	if err := key.Check(now); err != nil {
		return key, err
	}
	if err := k.checkPermissions(in.Permissions); err != nil {
		return key, err
	}
	user, known, err := s.find(ctx, in.Tenant, "", in.UserID)
	switch {
	case err != nil:
		return key, err
	case !known || !user.Active:
		return key, fmt.Errorf("active user: %w", ErrNotFound)
	}
	return key, k.Store.CreateAPIKey(ctx, key, k.event(ctx, audit.APIKeyCreated, &key, reason))
}

func (k *APIKeys) checkPermissions(names []string) error {
	for _, name := range names {
		if name == apikey.Everything {
			continue
		}
		if err := directory.ValidPermission(name); err != nil {
			return err
		}
	}
	return nil
}

func (k *APIKeys) event(ctx context.Context, kind audit.Kind, key *apikey.Key, reason string) audit.Event {
	e := account(ctx, kind, key.Tenant, key.UserID)
	e.Reason, e.Detail = reason, map[string]string{"apiKey": key.ID}
	if key.Name != "" {
		e.Detail["name"] = key.Name
	}
	return e
}

func (k *APIKeys) change(ctx context.Context, id string, kind audit.Kind, reason string, change func(*apikey.Key) error) (apikey.Key, error) {
	return k.Store.UpdateAPIKey(ctx, id, func(key *apikey.Key) error {
		if !key.RevokedAt.IsZero() {
			return fmt.Errorf("%w: the key was revoked; make another", ErrInvalid)
		}
		return change(key)
	}, k.event(ctx, kind, &apikey.Key{ID: id}, reason))
}

// Rotate gives a key a new secret, one of Counterfoil's own also where an edge
// key was imported, and returns how it is written. The old one holds for
// overlap, 90 days at most.
func (k *APIKeys) Rotate(ctx context.Context, id string, overlap time.Duration) (apikey.Key, string, error) {
	if overlap < 0 || overlap > maxOverlap {
		return apikey.Key{}, "", fmt.Errorf("%w: the overlap is between 0 and %d days", ErrInvalid, int(maxOverlap.Hours()/24))
	}
	secret, text := apikey.Generate()
	hash, now := k.Hasher.Hash(secret), k.Sessions.Now().UTC().Truncate(time.Microsecond)
	key, err := k.change(ctx, id, audit.APIKeyRotated, "the old secret holds for "+overlap.String(), func(key *apikey.Key) error {
		key.Rotate(hash, now, overlap)
		return nil
	})
	return key, text, err
}

// Rescope changes what a key is good for, and until when.
func (k *APIKeys) Rescope(ctx context.Context, id string, scope apikey.Scope, expires time.Time) (apikey.Key, error) {
	if err := k.checkPermissions(scope.Permissions); err != nil {
		return apikey.Key{}, err
	}
	now := k.Sessions.Now()
	return k.change(ctx, id, audit.APIKeyChanged, "", func(key *apikey.Key) error {
		key.Scope, key.ExpiresAt = scope, expires.UTC().Truncate(time.Second)
		if expires.IsZero() {
			key.ExpiresAt = time.Time{}
		}
		if err := key.Check(now); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err) // in words that stores pass on
		}
		return nil
	})
}

// Revoke ends a key for good, and then its session. The next request with it is
// refused by every node that has heard, which is what acknowledges the change
// here.
func (k *APIKeys) Revoke(ctx context.Context, id string) (apikey.Key, error) {
	now := k.Sessions.Now().UTC().Truncate(time.Microsecond)
	key, err := k.change(ctx, id, audit.APIKeyRevoked, "", func(key *apikey.Key) error {
		key.RevokedAt = now
		return nil
	})
	if err != nil || key.Session == "" {
		return key, err
	}
	session, err := token.ParseSessionID(key.Session)
	if err != nil {
		return key, err
	}
	_, err = k.Sessions.end(ctx, session, func(*Session) bool { return true }, RevokedByAdmin, audit.SessionRevoked)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return key, err
}

// stop keeps a key out because its session is being ended.
func (k *APIKeys) stop(ctx context.Context, id string) error {
	now := k.Sessions.Now().UTC().Truncate(time.Microsecond)
	_, err := k.Store.UpdateAPIKey(ctx, id, func(key *apikey.Key) error {
		if key.StoppedAt.IsZero() {
			key.StoppedAt = now
		}
		return nil
	}, k.event(ctx, audit.APIKeyStopped, &apikey.Key{ID: id}, "its session was ended"))
	if errors.Is(err, ErrNotFound) { // deleted: nobody can begin another session with it
		return nil
	}
	return err
}

// Resume lets a key in again whose session was ended.
func (k *APIKeys) Resume(ctx context.Context, id string) (apikey.Key, error) {
	return k.change(ctx, id, audit.APIKeyResumed, "", func(key *apikey.Key) error {
		key.StoppedAt = time.Time{}
		return nil
	})
}

// Delete forgets a key that was revoked.
func (k *APIKeys) Delete(ctx context.Context, id string) error {
	return k.Store.DeleteAPIKey(ctx, id, k.event(ctx, audit.APIKeyDeleted, &apikey.Key{ID: id}, ""))
}

// List reads all keys, the newest first.
func (k *APIKeys) List(ctx context.Context) ([]apikey.Key, error) { return k.Store.APIKeys(ctx) }

// LastUsed is when a key was last used, to a minute, as its session tells; zero
// if it has none that is still kept.
func (k *APIKeys) LastUsed(ctx context.Context, key *apikey.Key) (time.Time, error) {
	if key.Session == "" {
		return time.Time{}, nil
	}
	id, err := token.ParseSessionID(key.Session)
	if err != nil {
		return time.Time{}, err
	}
	row, err := k.Sessions.Store.Session(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, err
	}
	return row.LastActivity, nil
}
