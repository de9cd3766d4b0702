package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a key is for. A key never serves a second purpose.
const (
	// PurposeAccess keys sign access and elevated tokens; the
	// public halves are in the JWKS.
	PurposeAccess = "access"
	// PurposeModule keys (HMAC) sign module and dummy tokens, which nobody
	// but Counterfoil verifies.
	PurposeModule = "module"
	// PurposeRefresh keys (HMAC) make refresh tokens.
	PurposeRefresh = "refresh"
	// PurposeDerive keys are what Derive makes sub-keys of.
	PurposeDerive = "derive"
	// PurposeAudit keys (Ed25519) sign the checkpoints of the audit log.
	PurposeAudit = "audit"
)

var purposes = []string{PurposeAccess, PurposeModule, PurposeRefresh, PurposeDerive, PurposeAudit}

// The states of a key, in the order in which it passes through them.
const (
	// StatePending keys are published and verify, but do not sign yet, so
	// that everybody who caches the JWKS knows them before they are used.
	StatePending = "pending"
	// StateActive is the one key of its purpose that signs.
	StateActive = "active"
	// StateRetired keys only verify, until the last token they signed is over.
	StateRetired = "retired"
	// StateRemoved keys have no secret any more and verify nothing.
	StateRemoved = "removed"
)

// algorithms are the algorithms of each purpose, the default first. A key has
// one of them (RFC 8725 section 3.1).
var algorithms = map[string][]string{
	PurposeAccess:  AccessAlgorithms(),
	PurposeModule:  {"HS256"},
	PurposeRefresh: {"HMAC-SHA-256"},
	PurposeDerive:  {"HKDF-SHA-256"},
	PurposeAudit:   {EdDSA},
}

// secretSize is the length of a secret in bytes, but for the handles of Signers.
const secretSize = 32

// ErrNoKey is a purpose or an id that names no key.
var ErrNoKey = errors.New("no such key")

// StoredKey is a key as it rests in the store. It holds nothing secret in the
// clear.
type StoredKey struct {
	// ID is unique within the purpose: of access and audit keys the first 16
	// characters of the RFC 7638 thumbprint, of refresh keys the number 1 to 255 that is
	// in their tokens, of others random text.
	ID string
	// Purpose, State and Algorithm are of the constants above.
	Purpose, State, Algorithm string
	// Public is the public half of access and audit keys: 32 bytes of Ed25519, a
	// point of P-256 uncompressed, or RSA in PKCS #1.
	Public []byte
	// Wrapped is the secret, or the handle of a Signer, under the master key;
	// empty once removed.
	Wrapped []byte
	// The times at which the key entered its states, zero if it did not yet;
	// whole milliseconds, UTC.
	CreatedAt, ActivatedAt, RetiredAt, RemovedAt time.Time
}

// KeyStore keeps the keys.
type KeyStore interface {
	// Keys returns all keys, removed ones too, in any order.
	Keys(ctx context.Context) ([]StoredKey, error)
	// SaveKeys inserts or replaces keys by (Purpose, ID), all or none. A
	// wrapped secret that is replaced by an empty one must not stay readable
	// in the store.
	SaveKeys(ctx context.Context, keys []StoredKey) error
}

// KeyInfo is what may be told about a key.
type KeyInfo struct {
	ID, Purpose, State, Algorithm                string
	CreatedAt, ActivatedAt, RetiredAt, RemovedAt time.Time
	// DueAt is when the key enters its next state by itself, if Tick is
	// called then; zero if it does not.
	DueAt time.Time
}

// key is an opened key. It never changes, so snapshots share it.
type key struct {
	StoredKey
	secret []byte // nil if removed
	signer Signer // access, audit
	public crypto.PublicKey
	jwk    string // the members of the public half
	mac    *mac   // module: the JWT's signature; refresh: the outer tag
	number byte   // refresh: the id in the token
}

func (k *key) live() bool { return k.State != StateRemoved }

func (k *key) signatureSize() int {
	if k.signer != nil {
		return signatureSizeOf(k.public)
	}
	return sha256.Size
}

func (k *key) sign(message []byte) ([]byte, error) {
	if k.signer != nil {
		return signAs(k.signer, k.public, message)
	}
	sum := k.mac.sum(message)
	return sum[:], nil
}

func (k *key) verify(message, signature []byte) bool {
	if k.signer != nil {
		return verifyAs(k.public, message, signature)
	}
	sum := k.mac.sum(message)
	return equal(sum[:], signature)
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// openKey checks what the store gave and unseals its secret. A row that was
// altered, or given another key's secret, is an error: the id, the purpose and
// the algorithm are sealed with the secret, the public half follows from it.
func openKey(stored StoredKey, v vault) (*key, error) {
	k := &key{StoredKey: stored}
	if !slices.Contains(algorithms[k.Purpose], k.Algorithm) || !idPattern.MatchString(k.ID) {
		return nil, fmt.Errorf("stored key %q for %q has a purpose, algorithm or id that this version does not know", k.ID, k.Purpose)
	}
	switch k.State {
	case StateRemoved:
		return k, nil
	case StatePending, StateActive, StateRetired:
	default:
		return nil, fmt.Errorf("stored %s key %s has the unknown state %q", k.Purpose, k.ID, k.State)
	}
	var err error
	if k.secret, err = v.open(stored); err != nil {
		return nil, err
	}
	switch k.Purpose {
	case PurposeAccess, PurposeAudit:
		if k.signer, err = v.signersOf(k.Purpose).Open(k.Algorithm, k.secret); err != nil {
			return nil, fmt.Errorf("stored %s key %s: %w", k.Purpose, k.ID, err)
		}
		k.public = k.signer.Public()
		public, jwk, err := publicKey(k.Algorithm, k.public)
		k.jwk = jwk
		if err != nil || !equal(public, k.Public) {
			return nil, fmt.Errorf("stored %s key %s has a public half that is not its own: the store was altered", k.Purpose, k.ID)
		}
	case PurposeModule:
		k.mac = newMAC(k.secret)
	case PurposeRefresh:
		number, err := strconv.ParseUint(k.ID, 10, 8)
		if err != nil || number == 0 {
			return nil, fmt.Errorf("stored refresh key %s: the id must be a number from 1 to 255", k.ID)
		}
		k.number = byte(number)
		k.mac = newMAC(subkey(k.secret, nil, labelOuter))
	}
	return k, nil
}

// newKey draws a key for a purpose and an algorithm of it; others are the keys
// that exist.
func newKey(purpose, algorithm string, others []StoredKey, v vault) (StoredKey, error) {
	k := StoredKey{Purpose: purpose, Algorithm: algorithm}
	secret := make([]byte, secretSize)
	rand.Read(secret)
	switch purpose {
	case PurposeAccess, PurposeAudit:
		var err error
		if secret, err = v.newSigner(&k); err != nil {
			return StoredKey{}, fmt.Errorf("new %s key for %s: %w", purpose, algorithm, err)
		}
		if strings.HasPrefix(k.ID, "-") {
			return newKey(purpose, algorithm, others, v) // a command line would take the id for a flag
		}
	case PurposeRefresh:
		number, err := freeNumber(others)
		if err != nil {
			return StoredKey{}, err
		}
		k.ID = strconv.Itoa(number)
	default:
		k.ID = rand.Text()
	}
	var err error
	k.Wrapped, err = v.wrapper.Wrap(secret, sealedWith(k))
	return k, err
}

// freeNumber is the number after the newest refresh key's that no living key
// has, going round at 255, so that a number comes back as late as possible.
func freeNumber(keys []StoredKey) (int, error) {
	var taken [256]bool
	var newest StoredKey
	for _, k := range keys {
		number, err := strconv.Atoi(k.ID)
		if k.Purpose != PurposeRefresh || err != nil || number < 1 || number > 255 {
			continue
		}
		taken[number] = k.State != StateRemoved
		if !k.CreatedAt.Before(newest.CreatedAt) {
			newest = k
		}
	}
	last, _ := strconv.Atoi(newest.ID)
	for i := range 255 {
		if number := (last+i)%255 + 1; !taken[number] {
			return number, nil
		}
	}
	return 0, errors.New("255 refresh keys are in use: remove some that are retired")
}

// thumbprint is RFC 7638 (for Ed25519: RFC 8037 appendix A.3).
func thumbprint(jwk string) string {
	sum := sha256.Sum256([]byte("{" + jwk + "}"))
	return segments.EncodeToString(sum[:])
}
