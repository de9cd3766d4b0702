// Package token makes and opens everything that Counterfoil signs: access,
// elevated, module and dummy tokens (JWT, RFC 7519), refresh tokens and heal
// nonces. It owns the keys they rest on, and nothing outside it ever holds a
// private key or a signing secret.
//
// It says whether a token is one of ours, of which kind and still in time. It
// refuses to say whether a caller may go on: sessions, epochs and permissions
// are looked up by package session, on every request, with what a token
// tells. It reads no token of anybody else and no algorithm but its own.
//
// Invariants:
//   - A key serves one purpose with one algorithm. Each kind of token has a
//     header of its own, so that no kind passes where another is asked for.
//   - What Verify accepts is, byte for byte, what Mint can have written.
//   - Nothing verifies by a key that the master key did not seal: somebody who
//     can write to the store cannot slip in a key of his own.
//   - Readers never wait: a change of keys swaps one immutable snapshot.
package token

import (
	"errors"
	"fmt"
)

// The ways in which a token is refused. All but ErrExpired are ErrInvalid too,
// by errors.Is; which one it was is for logs and never for the caller, who
// could learn from it how far a forgery got.
var (
	ErrInvalid = errors.New("invalid token")
	// ErrExpired is a genuine token whose time is over. A token that was not
	// signed by us is never reported as expired.
	ErrExpired = errors.New("token has expired")

	// ErrMalformed is wrong in length, in the number of its parts or in
	// their encoding.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrInvalid)
	// ErrUnknownKey names no key of ours, or one that was removed.
	ErrUnknownKey = fmt.Errorf("%w: unknown header or key", ErrInvalid)
	// ErrKind is a token of a kind that is not accepted in this place. It is
	// told by the header, before the signature was looked at.
	ErrKind = fmt.Errorf("%w: kind not accepted here", ErrInvalid)
	// ErrSignature is a JWT whose signature does not hold.
	ErrSignature = fmt.Errorf("%w: wrong signature", ErrInvalid)
	// ErrClaims is signed by us and yet not a token that Mint writes, or is
	// meant for another issuer or audience.
	ErrClaims = fmt.Errorf("%w: wrong claims", ErrInvalid)
	// ErrForged is a refresh token whose outer tag does not hold.
	ErrForged = fmt.Errorf("%w: forged", ErrInvalid)
)
