// Package apikey says what an API key is: how a secret is written, what of it
// is kept, and for what and until when it is good.
//
// A key stands for the institutional user of a partner, such as a bookseller
// that sends orders. There are two sorts of secrets. Counterfoil's own are
// drawn here and shown once. Those of FOLIO's edge modules were given to
// partners long ago, name tenant and user in the clear, and hold a salt that
// nobody else knows: the salt is the secret.
//
// Of neither is anything kept but an HMAC under a key that is not in the
// database. A slow hash is for secrets that people choose; these are drawn, so
// nobody tries them all, and a request must not wait for a hash. The HMAC also
// keeps whoever can write to the database from inventing a key.
package apikey

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Kind is a sort of secret.
type Kind string

// The sorts of secrets.
const (
	Own  Kind = "own"  // drawn by Counterfoil
	Edge Kind = "edge" // of a FOLIO edge module
)

// Key is what is kept of a key.
type Key struct {
	// ID is a UUID. It is no secret.
	ID string
	// Tenant and UserID name the institutional user that the key stands for.
	Tenant, UserID string
	// Name is what operators call it: the partner, 1 to 100 characters.
	Name string
	Kind Kind
	// Hash is of the secret, and OldHash of the one before it, which holds
	// until OldUntil; zero is none.
	Hash, OldHash Hash
	OldUntil      time.Time
	Scope
	CreatedAt time.Time
	// ExpiresAt is when the key ends; zero is never.
	ExpiresAt time.Time
	// RevokedAt is when an operator ended the key for good; zero is not.
	RevokedAt time.Time
	// StoppedAt is when somebody ended the key's session, which keeps the key
	// out until an operator resumes it; zero is not.
	StoppedAt time.Time
	// Session is the UUID of the key's session; empty before its first use.
	Session string
}

// The ways in which a key is refused where an operator makes it.
var (
	ErrInvalid = errors.New("invalid")
	// ErrForm is a secret that is written in neither way.
	ErrForm = fmt.Errorf("%w: this is no API key", ErrInvalid)
)

// State is where a key stands, for operators.
type State string

// The states of a key.
const (
	Active  State = "active"
	Stopped State = "stopped"
	Expired State = "expired"
	Revoked State = "revoked"
)

// State tells where the key stands at a time.
func (k *Key) State(now time.Time) State {
	switch {
	case !k.RevokedAt.IsZero():
		return Revoked
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return Expired
	case !k.StoppedAt.IsZero():
		return Stopped
	}
	return Active
}

// Accepts is whether a secret of this hash opens the key at a time.
func (k *Key) Accepts(h Hash, now time.Time) bool {
	if h.IsZero() || k.State(now) != Active {
		return false
	}
	return h == k.Hash || h == k.OldHash && now.Before(k.OldUntil)
}

// Rotate gives the key a new secret. The one before holds for overlap, and one
// from before that ends now.
func (k *Key) Rotate(h Hash, now time.Time, overlap time.Duration) {
	k.OldHash, k.OldUntil, k.Hash = k.Hash, now.Add(overlap), h
	if overlap <= 0 {
		k.OldHash, k.OldUntil = Hash{}, time.Time{}
	}
}

// Check tells what cannot be right about a key that is to be kept.
func (k *Key) Check(now time.Time) error {
	fault := ""
	switch {
	case k.ID == "" || k.Tenant == "" || k.UserID == "" || k.Hash.IsZero():
		fault = "a key needs an id, a tenant, a user and a secret"
	case k.Name == "" || utf8.RuneCountInString(k.Name) > 100 || !utf8.ValidString(k.Name) || strings.ContainsFunc(k.Name, unicode.IsControl):
		fault = "the name of a key has 1 to 100 characters"
	case !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(now):
		fault = "the key would have expired already"
	}
	if fault != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, fault)
	}
	return k.Scope.Check()
}

// Equal is whether nothing differs.
func (k *Key) Equal(o *Key) bool {
	a, b := *k, *o
	a.Scope, b.Scope = Scope{}, Scope{}
	sameTimes := a.OldUntil.Equal(b.OldUntil) && a.CreatedAt.Equal(b.CreatedAt) && a.ExpiresAt.Equal(b.ExpiresAt) &&
		a.RevokedAt.Equal(b.RevokedAt) && a.StoppedAt.Equal(b.StoppedAt)
	return sameTimes && k.Tenant == o.Tenant && k.UserID == o.UserID && k.ID == o.ID && k.Name == o.Name && k.Kind == o.Kind &&
		k.Hash == o.Hash && k.OldHash == o.OldHash && k.Session == o.Session &&
		slices.Equal(k.Routes, o.Routes) && slices.Equal(k.Permissions, o.Permissions)
}

// Hash is what is kept of a secret.
type Hash [sha256.Size]byte

// IsZero is whether there is none.
func (h Hash) IsZero() bool { return h == Hash{} }

// Hasher makes hashes. It is safe for concurrent use.
type Hasher struct{ key []byte }

// NewHasher derives the hasher's key from the master key, which is not in the
// database and never changes while there are keys.
func NewHasher(master []byte) (*Hasher, error) {
	key, err := hkdf.Key(sha256.New, master, nil, "counterfoil api keys 1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("api keys: %w", err)
	}
	return &Hasher{key}, nil
}

// Hash is of what counts of a secret. An edge key's padding, and how its JSON
// was written, do not count.
func (h *Hasher) Hash(s Secret) Hash {
	m := hmac.New(sha256.New, h.key)
	if s.Kind == Own {
		m.Write([]byte("own\x00" + s.text))
	} else {
		for _, field := range []string{"edge", s.text, s.Tenant, s.Username} {
			m.Write([]byte(field))
			m.Write([]byte{0}) // no field holds one
		}
	}
	return Hash(m.Sum(nil))
}

// NewID draws an id for a key.
func NewID() string { return uuid.NewString() }

// clientPrefix is how the sessions of keys name their client.
const clientPrefix = "api-key/"

// Client is what a session of a key has as its client.
func Client(id string) string { return clientPrefix + id }

// FromClient is the key that a session belongs to.
func FromClient(client string) (id string, ok bool) { return strings.CutPrefix(client, clientPrefix) }
