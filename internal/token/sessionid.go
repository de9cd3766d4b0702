package token

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// ErrSessionID is text that is not a session id.
var ErrSessionID = errors.New("session id must be a UUID of 36 characters, such as 0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11")

// SessionID names one login on one device. It is a random UUID (RFC 9562,
// version 4) and no secret: it stands in access tokens, logs and URLs.
type SessionID [16]byte

// NewSessionID draws a session id.
func NewSessionID() SessionID {
	var id SessionID
	rand.Read(id[:]) // never fails; crypto/rand ends the program instead
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// dashes are the places of the four dashes in a UUID's text.
var dashes = [4]int{8, 13, 18, 23}

// ParseSessionID reads the form of 36 characters with hexadecimal digits in
// either case. Braces, URNs and digits without dashes are ErrSessionID, so
// that one session has one name in logs and caches.
func ParseSessionID(s string) (SessionID, error) {
	var id SessionID
	if len(s) != 36 {
		return SessionID{}, ErrSessionID
	}
	var digits [32]byte
	from, n := 0, 0
	for _, dash := range dashes {
		if s[dash] != '-' {
			return SessionID{}, ErrSessionID
		}
		n += copy(digits[n:], s[from:dash])
		from = dash + 1
	}
	copy(digits[n:], s[from:])
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return SessionID{}, ErrSessionID
	}
	return id, nil
}

// IsZero reports whether id is no session at all.
func (id SessionID) IsZero() bool { return id == SessionID{} }

// String is the UUID in lower case.
func (id SessionID) String() string {
	text := id.text()
	return string(text[:])
}

// MarshalText is String.
func (id SessionID) MarshalText() ([]byte, error) {
	text := id.text()
	return text[:], nil
}

// UnmarshalText is ParseSessionID.
func (id *SessionID) UnmarshalText(text []byte) error {
	parsed, err := ParseSessionID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

func (id SessionID) text() (text [36]byte) {
	hex.Encode(text[:8], id[:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:], id[10:])
	for _, dash := range dashes {
		text[dash] = '-'
	}
	return text
}
