package token

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"sync"
)

// tagSize is the length of a truncated tag: 128 bits, as strong against
// guessing as the session ids beside it.
const tagSize = 16

// mac is HMAC-SHA-256 under one key, safe for concurrent use. It keeps the
// hash states in which the key was already taken in, which halves the work of
// a short message.
type mac struct{ states sync.Pool }

// macState owns the buffers too: what is passed to hash.Hash moves to the heap
// otherwise.
type macState struct {
	hash hash.Hash
	in   [64]byte
	sum  [sha256.Size]byte
}

func newMAC(key []byte) *mac {
	return &mac{states: sync.Pool{New: func() any {
		return &macState{hash: hmac.New(sha256.New, key)}
	}}}
}

// sum is the whole tag over message.
func (m *mac) sum(message []byte) [sha256.Size]byte {
	s := m.states.Get().(*macState)
	defer m.states.Put(s)
	s.hash.Reset()
	s.hash.Write(message)
	s.hash.Sum(s.sum[:0])
	return s.sum
}

// short is the truncated tag over a message of at most 64 bytes; it allocates
// nothing.
func (m *mac) short(message []byte) (tag [tagSize]byte) {
	s := m.states.Get().(*macState)
	defer m.states.Put(s)
	s.hash.Reset()
	s.hash.Write(s.in[:copy(s.in[:], message)])
	s.hash.Sum(s.sum[:0])
	copy(tag[:], s.sum[:])
	return tag
}

// tagOnce is HMAC-SHA-256 (RFC 2104) under a key that is used once. It exists
// because crypto/hmac makes two hashes for each key, which take longer than the
// tag. It allocates nothing for messages of up to 256 bytes.
func tagOnce(key *[32]byte, message []byte) [sha256.Size]byte {
	inner := make([]byte, sha256.BlockSize, sha256.BlockSize+256)
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(inner, key[:])
	copy(outer[:], key[:])
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	sum := sha256.Sum256(append(inner, message...))
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}

// subkeyOnce is subkey with a salt for a key that is used once. Of what RFC 5869
// section 2.3 chains to the length that is asked for, 32 bytes take one link.
func subkeyOnce(secret []byte, salt *[32]byte, info []byte) [32]byte {
	extracted := tagOnce(salt, secret)
	return tagOnce(&extracted, append(info, 1))
}

// equal compares two tags in a time that does not depend on where they differ.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// subkey is HKDF-SHA-256 (RFC 5869) with a result of 32 bytes.
func subkey(secret, salt []byte, info string) []byte {
	sub, err := hkdf.Key(sha256.New, secret, salt, info, 32)
	if err != nil {
		// Only a result of more than 8,160 bytes or, in FIPS mode, a secret
		// of less than 14 bytes fails; ours have 32.
		panic("token: " + err.Error())
	}
	return sub
}

// appendField writes text with its length before it, so that two fields
// cannot be cut in another place and mean the same bytes.
func appendField(dst []byte, text string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	return append(dst, text...)
}
