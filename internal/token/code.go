package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// An authorization code is "cfac_" and base64url of 57 bytes:
//
//	key id 1 │ session id 16 │ expiry 8 │ tag 32
//
// The tag, under a key made of the server's key and the session's secret,
// covers the expiry and what the code is bound to: client, redirect URI and PKCE
// challenge. They are not in the code, so whoever redeems it must know them, and
// nothing of a code is stored.
const (
	codePrefix = "cfac_"
	codeNamed  = 1 + 16 + 8
	codeSize   = codeNamed + sha256.Size
	labelCode  = "counterfoil code 1"
)

// Code is an authorization code that was read and not yet compared with its
// session (CodeMatches).
type Code struct {
	Session SessionID
	// Expires counts in whole seconds.
	Expires time.Time
	key     byte
	tag     [sha256.Size]byte
}

// String names the session and keeps the tag out of logs.
func (c Code) String() string { return "code of session " + c.Session.String() }

// MintCode writes the code of a session that is good for whoever knows bound.
func (r *Ring) MintCode(b Binding, expires time.Time, bound ...string) string {
	k := r.state.Load().active[PurposeRefresh]
	raw := append([]byte{k.number}, b.Session[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(expires.Unix()))
	tag := codeTag(k, b, expires, bound)
	return codePrefix + segments.EncodeToString(append(raw, tag[:]...))
}

// OpenCode reads a code, or fails with ErrMalformed. It verifies nothing.
func (r *Ring) OpenCode(s string) (Code, error) {
	if len(s) != len(codePrefix)+segments.EncodedLen(codeSize) || s[:len(codePrefix)] != codePrefix {
		return Code{}, ErrMalformed
	}
	raw, ok := decodeSegment([]byte(s[len(codePrefix):]))
	if !ok || len(raw) != codeSize {
		return Code{}, ErrMalformed
	}
	return Code{
		key: raw[0], Session: SessionID(raw[1:17]),
		Expires: time.Unix(int64(binary.BigEndian.Uint64(raw[17:codeNamed])), 0),
		tag:     [sha256.Size]byte(raw[codeNamed:]),
	}, nil
}

// CodeMatches reports whether c was made for b and bound.
func (r *Ring) CodeMatches(b Binding, c Code, bound ...string) bool {
	k := r.state.Load().refresh[c.key]
	if k == nil || c.Session != b.Session {
		return false
	}
	tag := codeTag(k, b, c.Expires, bound)
	return equal(tag[:], c.tag[:])
}

func codeTag(k *key, b Binding, expires time.Time, bound []string) (tag [sha256.Size]byte) {
	info := append([]byte(labelCode), b.Session[:]...)
	info = appendField(info, b.Tenant)
	info = appendField(info, b.UserID)
	h := hmac.New(sha256.New, subkey(k.secret, b.Secret[:], string(info)))
	message := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	for _, text := range bound {
		message = appendField(message, text)
	}
	h.Write(message)
	copy(tag[:], h.Sum(nil))
	return tag
}
