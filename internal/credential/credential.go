// Package credential is about what proves a caller and what stands in the way
// of guessing it: how passwords are stored and verified, which new ones are
// accepted, and how failed attempts slow down those that follow.
//
// It keeps nothing on disk and knows no user: hashes come from and go to the
// caller's store, and what a refusal means for a user is the caller's affair.
// It never asks for the time; every rule that depends on it takes now.
//
// Invariants:
//   - No fast hash has to stay at rest: a hash imported from FOLIO is wrapped
//     in argon2id at once, and replaced at the first login.
//   - Verifying costs the same work whatever is stored and whether anything is
//     stored at all, so that time tells nobody which users exist.
//   - Memory is bounded: passwords, hash parameters, hashes at work, hashes in
//     the queue, and everything that is counted.
//   - No error holds a password, a hash or a salt.
//   - Failed attempts delay, by a minute at most. They lock nobody out, unless
//     the operator asks for FOLIO's rule that does (Deactivation).
package credential

import "errors"

// maxPassword bounds the work of normalising and hashing, in bytes. NIST SP
// 800-63B-4 asks for at least 64 characters.
const maxPassword = 1024

var (
	// ErrBusy is a full queue of password hashes. Try again in a second.
	ErrBusy = errors.New("too many passwords are being verified, try again shortly")
	// ErrTooLong is a password of more than 1,024 bytes. It was not looked at.
	ErrTooLong = errors.New("the password is longer than 1,024 bytes")
	// ErrEncoding is a stored hash that cannot be read, or asks for more
	// memory or time than a hash of ours can.
	ErrEncoding = errors.New("stored password hash cannot be read, set a new password")
	// ErrParameters is a Hasher configured outside the accepted range.
	ErrParameters = errors.New("argon2id parameters out of range")
	// ErrPassword is a new password that the rules refuse. The error that
	// wraps it says why, in words for the person who chose it.
	ErrPassword = errors.New("password not accepted")
)
