package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
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

// Lineage makes and checks the refresh tokens of one session, one after the
// other. It keeps the key of their inner tags, because deriving that takes ten
// times as long as a tag. Not for use by several at once.
type Lineage struct {
	ring  *Ring
	bound Binding
	// inner makes the tags under key, the server's that was used last.
	key   *key
	inner hash.Hash
	// buffer is here because what is passed to hash.Hash moves to the heap.
	buffer [sha256.Size]byte
}

// Lineage begins the lineage of a session's tokens.
func (r *Ring) Lineage(b Binding) *Lineage { return &Lineage{ring: r, bound: b} }

// String keeps the secret out of logs.
func (l *Lineage) String() string { return l.bound.String() }

// MintRefresh writes one refresh token, as Lineage.Mint does.
func (r *Ring) MintRefresh(b Binding, gen uint64) string { return r.Lineage(b).Mint(gen) }

// Mint writes the refresh token of one generation. It is a pure function of the
// active refresh key, the binding and gen: giving the same token again needs
// nothing stored.
func (l *Lineage) Mint(gen uint64) string {
	k := l.ring.state.Load().active[PurposeRefresh]
	var raw [refreshSize]byte
	raw[0] = refreshVersion
	raw[1] = k.number
	copy(raw[2:], l.bound.Session[:])
	binary.BigEndian.PutUint64(raw[18:], gen)
	inner := l.tag(k, gen)
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

// RefreshMatches checks one refresh token, as Lineage.Matches does.
func (r *Ring) RefreshMatches(b Binding, t Refresh) bool { return r.Lineage(b).Matches(t) }

// Matches reports whether t was made for the binding, by the key that t names.
// False although OpenRefresh was content means that the session's row was
// altered or that a server key leaked: an alarm.
func (l *Lineage) Matches(t Refresh) bool {
	k := l.ring.state.Load().refresh[t.KeyID]
	if k == nil || t.Session != l.bound.Session {
		return false
	}
	inner := l.tag(k, t.Gen)
	return equal(inner[:], t.inner[:])
}

func (l *Lineage) tag(k *key, gen uint64) (tag [tagSize]byte) {
	if l.key != k {
		l.key, l.inner = k, hmac.New(sha256.New, innerKey(k, l.bound))
	}
	l.inner.Reset()
	binary.BigEndian.PutUint64(l.buffer[:8], gen)
	l.inner.Write(l.buffer[:8])
	copy(tag[:], l.inner.Sum(l.buffer[:0]))
	return tag
}

func innerKey(k *key, b Binding) []byte {
	info := make([]byte, 0, 192)
	info = append(info, labelInner...)
	info = append(info, b.Session[:]...)
	info = appendField(info, b.Tenant)
	info = appendField(info, b.UserID)
	info = binary.BigEndian.AppendUint64(info, uint64(b.AbsoluteExpiry.Unix()))
	return subkey(k.secret, b.Secret[:], string(info))
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
