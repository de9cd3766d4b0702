package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// A refresh token is "cfrt_" and base64url of 58 bytes:
//
//	version 1 │ key id 1 │ session id 16 │ generation 8 │ inner tag 16 │ outer tag 16
//
// The outer tag, under a key of the server, covers the 42 bytes before it. It
// is checked first and without the store, so garbage, truncated tokens and
// tokens of other kinds or makers cost one HMAC and no query. Because it covers
// the inner tag, nobody who holds a token can make another that fails at the
// inner tag only: that failure is an alarm, and it cannot be raised at will.
//
// The inner tag covers the generation, under a key made of the server's key
// and the session's own secret with tenant, user and absolute expiry. So a
// leaked database is not enough to forge a token and neither is a leaked
// server key, and a row whose user, tenant or expiry was altered stops
// matching its tokens.
const (
	refreshPrefix  = "cfrt_"
	refreshVersion = 1

	refreshNamed   = 1 + 1 + 16 + 8         // what says which token it is
	refreshSigned  = refreshNamed + tagSize // what the outer tag covers
	refreshSize    = refreshSigned + tagSize
	refreshEncoded = (refreshSize*8 + 5) / 6
)

// Labels of the keys that are derived from one refresh key or session secret.
// Each has one use; a label is never changed, but followed by another version.
const (
	labelOuter = "counterfoil refresh outer 1"
	labelInner = "counterfoil refresh inner 1"
	labelHeal  = "counterfoil heal 1"
)

// Refresh is an opened refresh token: genuine as far as the server's key goes,
// and not yet compared with its session (RefreshMatches).
type Refresh struct {
	KeyID   byte
	Session SessionID
	Gen     uint64
	inner   [tagSize]byte
}

// String names session and generation and keeps the tag out of logs.
func (t Refresh) String() string {
	return fmt.Sprintf("refresh token %d of session %s", t.Gen, t.Session)
}

// Binding is what the refresh tokens of a session are bound to. If any of it
// changes, all of them stop matching.
type Binding struct {
	Session SessionID
	// Secret is drawn at login and never leaves the session's row.
	Secret         [32]byte `json:"-"`
	Tenant, UserID string
	// AbsoluteExpiry counts in whole seconds.
	AbsoluteExpiry time.Time
}

// String keeps the secret out of logs.
func (b Binding) String() string {
	return fmt.Sprintf("session %s of user %s in tenant %s", b.Session, b.UserID, b.Tenant)
}

// MintRefresh writes the refresh token of one generation. It is a pure
// function of the active refresh key, b and gen: giving the same token again
// needs nothing stored.
func (r *Ring) MintRefresh(b Binding, gen uint64) string {
	k := r.state.Load().active[PurposeRefresh]
	var raw [refreshSize]byte
	raw[0] = refreshVersion
	raw[1] = k.number
	copy(raw[2:], b.Session[:])
	binary.BigEndian.PutUint64(raw[18:], gen)
	inner := innerTag(k, &b, gen)
	copy(raw[refreshNamed:], inner[:])
	outer := k.mac.short(raw[:refreshSigned])
	copy(raw[refreshSigned:], outer[:])

	var text [len(refreshPrefix) + refreshEncoded]byte
	segments.Encode(text[copy(text[:], refreshPrefix):], raw[:])
	return string(text[:])
}

// OpenRefresh reads a refresh token and checks its outer tag: ErrMalformed,
// ErrUnknownKey or ErrForged. It asks no store.
func (r *Ring) OpenRefresh(s string) (Refresh, error) {
	if len(s) != len(refreshPrefix)+refreshEncoded || s[:len(refreshPrefix)] != refreshPrefix {
		return Refresh{}, ErrMalformed
	}
	var text [refreshEncoded]byte
	copy(text[:], s[len(refreshPrefix):])
	var raw [refreshSize]byte
	// Unused bits that are set are an error; line breaks, which the decoder
	// skips, make the result too short. One token has one spelling.
	if n, err := segments.Decode(raw[:], text[:]); err != nil || n != refreshSize || raw[0] != refreshVersion {
		return Refresh{}, ErrMalformed
	}
	k := r.state.Load().refresh[raw[1]]
	if k == nil {
		return Refresh{}, ErrUnknownKey
	}
	outer := k.mac.short(raw[:refreshSigned])
	if !equal(outer[:], raw[refreshSigned:]) {
		return Refresh{}, ErrForged
	}
	return Refresh{
		KeyID:   raw[1],
		Session: SessionID(raw[2:18]),
		Gen:     binary.BigEndian.Uint64(raw[18:refreshNamed]),
		inner:   [tagSize]byte(raw[refreshNamed:refreshSigned]),
	}, nil
}

// RefreshMatches reports whether t was made for b, by the key that t names.
// False although OpenRefresh was content means that the session's row was
// altered or that a server key leaked: an alarm.
func (r *Ring) RefreshMatches(b Binding, t Refresh) bool {
	k := r.state.Load().refresh[t.KeyID]
	if k == nil || t.Session != b.Session {
		return false
	}
	inner := innerTag(k, &b, t.Gen)
	return equal(inner[:], t.inner[:])
}

func innerTag(k *key, b *Binding, gen uint64) (tag [tagSize]byte) {
	info := make([]byte, 0, 192)
	info = append(info, labelInner...)
	info = append(info, b.Session[:]...)
	info = appendField(info, b.Tenant)
	info = appendField(info, b.UserID)
	info = binary.BigEndian.AppendUint64(info, uint64(b.AbsoluteExpiry.Unix()))
	own := subkeyOnce(k.secret, &b.Secret, info)
	var message [8]byte
	binary.BigEndian.PutUint64(message[:], gen)
	sum := tagOnce(&own, message[:])
	copy(tag[:], sum[:])
	return tag
}

// A heal nonce is base64url of number 4 │ tag 16.
const healSize = 4 + tagSize

// HealNonce is the proof that strike n of a session was answered to whoever
// holds it. It rests on the session's secret alone, so it outlives a rotation
// of the server's keys, and it is worth nothing without the newest refresh
// token. It is a pure function of b and n.
func (r *Ring) HealNonce(b Binding, n uint32) string {
	var raw [healSize]byte
	binary.BigEndian.PutUint32(raw[:], n)
	tag := healTag(b, n)
	copy(raw[4:], tag[:])
	return segments.EncodeToString(raw[:])
}

// OpenHeal tells the strike's number of a genuine nonce of this session.
func (r *Ring) OpenHeal(b Binding, nonce string) (n uint32, ok bool) {
	if len(nonce) != segments.EncodedLen(healSize) {
		return 0, false
	}
	raw, ok := decodeSegment([]byte(nonce))
	if !ok {
		return 0, false
	}
	n = binary.BigEndian.Uint32(raw)
	tag := healTag(b, n)
	if !equal(tag[:], raw[4:]) {
		return 0, false
	}
	return n, true
}

func healTag(b Binding, n uint32) (tag [tagSize]byte) {
	h := hmac.New(sha256.New, b.Secret[:])
	message := append([]byte(labelHeal), b.Session[:]...)
	h.Write(binary.BigEndian.AppendUint32(message, n))
	copy(tag[:], h.Sum(nil))
	return tag
}
