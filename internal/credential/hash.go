package credential

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// The defaults are the least that the OWASP password storage cheat sheet
// accepts for argon2id.
const (
	defaultMemory      = 19_456
	defaultTime        = 2
	defaultParallelism = 1
	defaultQueue       = 64

	saltSize = 16
	tagSize  = 32
)

// Hasher turns passwords into hashes and verifies them, only so many at once:
// each takes Memory of its own, and a flood of logins must not take the
// machine. The zero value is ready to use and safe for concurrent use; its
// fields are not changed after the first call.
type Hasher struct {
	// Memory is in KiB, Time in passes, Parallelism in lanes (RFC 9106).
	// 0 is 19,456, 2 and 1.
	Memory, Time, Parallelism int
	// Concurrent is how many hashes are computed at once; 0 is GOMAXPROCS.
	Concurrent int
	// Queue is how many callers may wait for one of those; 0 is 64, a
	// negative number is none.
	Queue int

	once    sync.Once
	broken  error
	today   params
	queue   int
	slots   chan struct{}
	waiting atomic.Int64
	// ran is told of each run of argon2id, before it starts. Tests count work
	// with it instead of measuring time.
	ran func(params)
}

// Result is the outcome of Verify.
type Result struct {
	OK bool
	// Rehash asks for the stored hash to be replaced by Hash of the same
	// password: it is FOLIO's, or was not made with the parameters of today.
	Rehash bool
}

// Check says whether the parameters can be used. It fails with ErrParameters,
// as every other method then does.
func (h *Hasher) Check() error {
	h.once.Do(h.start)
	return h.broken
}

func (h *Hasher) start() {
	h.today, h.broken = newParams(
		cmp.Or(h.Memory, defaultMemory), cmp.Or(h.Time, defaultTime), cmp.Or(h.Parallelism, defaultParallelism))
	concurrent := cmp.Or(h.Concurrent, runtime.GOMAXPROCS(0))
	if concurrent < 0 {
		h.broken = fmt.Errorf("%w: concurrent must not be negative", ErrParameters)
		return
	}
	h.queue = max(0, cmp.Or(h.Queue, defaultQueue))
	h.slots = make(chan struct{}, concurrent)
}

// Hash returns the PHC string of argon2id over password in Unicode normal form
// C, with a new salt. It fails with ErrPassword if password is empty, with
// ErrTooLong, ErrBusy, or the error of ctx.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if password == "" {
		return "", fmt.Errorf("%w: it must not be empty", ErrPassword)
	}
	if err := h.enter(ctx, password); err != nil {
		return "", err
	}
	defer h.leave()
	e := encoding{scheme: schemeArgon2id, params: h.today, salt: newSalt()}
	e.tag = h.derive([]byte(norm.NFC.String(password)), e.salt, e.params, tagSize)
	return e.String(), nil
}

// ImportFOLIO takes a hash and a salt as mod-login keeps them (hexadecimal, in
// either case) and returns argon2id over that hash: a thousand rounds of
// SHA-1 can be guessed at a rate that makes them worth stealing. The password
// still proves itself, and the hash still does not.
func (h *Hasher) ImportFOLIO(ctx context.Context, hashHex, saltHex string) (string, error) {
	legacy, err := parseFOLIO(hashHex, saltHex)
	if err != nil {
		return "", err
	}
	if err := h.enter(ctx, ""); err != nil {
		return "", err
	}
	defer h.leave()
	e := encoding{scheme: schemeWrapped, params: h.today, folioSalt: legacy.folioSalt, salt: newSalt()}
	e.tag = h.derive(legacy.tag, e.salt, e.params, tagSize)
	return e.String(), nil
}

// Verify compares password with a stored hash. It fails with ErrTooLong,
// ErrBusy, the error of ctx, or, after the work of any other attempt, with
// ErrEncoding.
func (h *Hasher) Verify(ctx context.Context, encoded, password string) (Result, error) {
	if err := h.enter(ctx, password); err != nil {
		return Result{}, err
	}
	defer h.leave()
	e, broken := parse(encoded)
	ok := 0
	for _, spelling := range spellings(password) {
		match, err := h.try(e, spelling)
		if err != nil {
			return Result{}, err
		}
		ok |= match
	}
	if broken != nil {
		return Result{}, broken
	}
	return Result{OK: ok == 1, Rehash: ok == 1 && (e.scheme != schemeArgon2id || e.params != h.today)}, nil
}

// VerifyNothing does the work of Verify for a user who does not exist or has
// no password, and fails as Verify does.
func (h *Hasher) VerifyNothing(ctx context.Context, password string) error {
	if err := h.enter(ctx, password); err != nil {
		return err
	}
	defer h.leave()
	for _, spelling := range spellings(password) {
		if _, err := h.try(encoding{}, spelling); err != nil {
			return err
		}
	}
	return nil
}

// spellings are the bytes to try. FOLIO hashed what the client sent, we hash
// the composed form; one person's keyboard writes "é" as one character, the
// next as two. How many there are depends on what was typed alone, so that
// their work tells nothing of what is stored.
func spellings(password string) []string {
	if composed := norm.NFC.String(password); composed != password {
		return []string{password, composed}
	}
	return []string{password}
}

// try is 1 if password is what e was made of. An empty encoding is nobody's,
// and costs as much: FOLIO's fast hash is computed for everybody, and argon2id
// is run up to the work of today's parameters.
func (h *Hasher) try(e encoding, password string) (int, error) {
	legacy, err := folioHash([]byte(password), e.folioSalt)
	if err != nil {
		return 0, err
	}
	var tag []byte
	switch e.scheme {
	case schemeArgon2id:
		tag = h.derive([]byte(password), e.salt, e.params, len(e.tag))
	case schemeWrapped:
		tag = h.derive(legacy, e.salt, e.params, len(e.tag))
	case schemeFOLIO:
		tag = legacy
	}
	if rest, ok := h.today.without(e.params); ok {
		h.derive([]byte(password), make([]byte, saltSize), rest, tagSize)
	}
	if len(e.tag) == 0 {
		return 0, nil // two empty tags would be equal
	}
	return subtle.ConstantTimeCompare(tag, e.tag), nil
}

func (h *Hasher) derive(password, salt []byte, p params, size int) []byte {
	if h.ran != nil {
		h.ran(p)
	}
	return argon2.IDKey(password, salt, p.time, p.memory, p.lanes, uint32(size))
}

// enter takes one of the slots, waiting for it in a queue of bounded length.
// What can be refused without work is refused here.
func (h *Hasher) enter(ctx context.Context, password string) error {
	if err := h.Check(); err != nil {
		return err
	}
	if len(password) > maxPassword {
		return ErrTooLong
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.queue) {
		return ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hasher) leave() { <-h.slots }

func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	return salt
}
