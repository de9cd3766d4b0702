package token

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The longest tokens, in bytes of text. What is longer is refused before
// anything else is done with it, which bounds the work for a stranger's input,
// and Mint refuses to write it.
const (
	maxLength       = 8 << 10
	maxAccessLength = 4 << 10
)

// segments is how RFC 7515 writes the parts of a JWT: base64url, no padding.
// Strict refuses unused bits that are set, which would give one token several
// spellings.
var segments = base64.RawURLEncoding.Strict()

// header is the first segment of every token of one kind under one key.
type header struct {
	kind    Kind
	key     *key
	segment string // base64url of {"alg":…,"kid":…,"typ":…}
}

// newHeader writes the header of one kind under k. The names of algorithm,
// key and type need no escaping: they are ours, from a small alphabet.
func newHeader(k *key, kind Kind, typ string) *header {
	text := `{"alg":"` + k.Algorithm + `","kid":"` + k.ID + `","typ":"` + typ + `"}`
	return &header{kind: kind, key: k, segment: segments.EncodeToString([]byte(text))}
}

// headersOf are the headers under which k signs. The types are explicit and
// exclude each other (RFC 8725 sections 3.11 and 3.12; at+jwt: RFC 9068).
func headersOf(k *key) []*header {
	switch k.Purpose {
	case PurposeAccess:
		return []*header{
			newHeader(k, KindAccess, "at+jwt"),
			newHeader(k, KindElevated, "counterfoil-elevated+jwt"),
			newHeader(k, kindID, "JWT"),
			newHeader(k, kindLogout, "logout+jwt"),
			newHeader(k, kindIntrospection, "token-introspection+jwt"),
		}
	case PurposeModule:
		return []*header{
			newHeader(k, KindModule, "folio-module+jwt"),
			newHeader(k, KindDummy, "folio-dummy+jwt"),
		}
	}
	return nil
}

func lengthLimit(kind Kind) int {
	if kind == KindAccess {
		return maxAccessLength
	}
	return maxLength
}

// Mint signs c with the active key of its kind and of the algorithm of its tenant. It fails if c lacks a claim
// that its kind needs, holds text that is not UTF-8 or makes a token of more
// than 8 KiB (access tokens 4 KiB); such an error is a fault of the caller of
// Mint and never ErrInvalid.
func (r *Ring) Mint(c Claims) (string, error) {
	h := r.signing(&c)
	if h == nil {
		return "", fmt.Errorf("mint: unknown kind of token %q", c.Kind)
	}
	c.Issuer, c.Audience = r.issuer, r.audience
	if c.ID == "" && h.key.Purpose == PurposeAccess {
		c.ID = rand.Text()
	}
	if err := c.check(); err != nil {
		return "", fmt.Errorf("mint: %w", err)
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	payload, err := c.appendTo(s.payload[:0])
	if err != nil {
		return "", fmt.Errorf("mint: %w", err)
	}
	s.payload = payload
	length := len(h.segment) + 1 + segments.EncodedLen(len(payload)) + 1 + segments.EncodedLen(h.key.signatureSize())
	if limit := lengthLimit(c.Kind); length > limit {
		return "", fmt.Errorf("mint: %s token of %d bytes, at most %d are allowed: give it fewer permissions or shorter names", c.Kind, length, limit)
	}
	text := append(s.text[:0], h.segment...)
	text = append(text, '.')
	text = segments.AppendEncode(text, payload)
	signature, err := h.key.sign(text)
	if err != nil {
		return "", fmt.Errorf("mint: sign with key %s: %w", h.key.ID, err)
	}
	text = append(text, '.')
	text = segments.AppendEncode(text, signature)
	s.text = text
	return string(text), nil
}

// scratch is where a token is put together. What leaves is a copy.
type scratch struct{ payload, text []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Verify opens a JWT of one of the accepted kinds; without a kind it accepts
// nothing. The claims of a token that is refused are not handed out.
//
// A token is good until, and not including, the second of exp: unlike FOLIO's
// mod-authtoken there is no leeway, since issuer and verifier are the same
// program. iat is not compared with the clock, so that a node whose clock is
// a little behind takes the tokens of the others.
//
// Before caching the result, read Version first and drop what was cached
// under another one.
func (r *Ring) Verify(s string, now time.Time, accept ...Kind) (Claims, error) {
	if len(s) > maxLength {
		return Claims{}, ErrMalformed
	}
	first, last := strings.IndexByte(s, '.'), strings.LastIndexByte(s, '.')
	if first < 1 || last-first < 2 || last == len(s)-1 || strings.IndexByte(s[first+1:last], '.') >= 0 {
		return Claims{}, ErrMalformed
	}

	// The header is never parsed. It has to be, byte for byte, one that we
	// write ourselves under a key that we hold, and that entry decides on key,
	// algorithm and kind. So nothing that the sender puts there has any
	// effect: "none" and other algorithms (a public key taken for an HMAC
	// secret), key ids that are paths or SQL, keys brought along (jwk, jku,
	// x5u, x5c), crit, zip and b64 all are just unknown headers.
	h := r.state.Load().headers[s[:first]]
	if h == nil {
		return Claims{}, ErrUnknownKey
	}
	if !slices.Contains(accept, h.kind) {
		return Claims{}, ErrKind
	}
	if len(s) > lengthLimit(h.kind) {
		return Claims{}, ErrMalformed
	}

	text := []byte(s)
	signature, ok := decodeSegment(text[last+1:])
	if !ok {
		return Claims{}, ErrMalformed
	}
	if !h.key.verify(text[:last], signature) {
		return Claims{}, ErrSignature
	}
	payload, ok := decodeSegment(text[first+1 : last])
	if !ok {
		return Claims{}, ErrMalformed
	}
	c, err := parseClaims(payload)
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrClaims, err)
	}
	switch {
	case c.Kind != h.kind:
		return Claims{}, fmt.Errorf("%w: type and header differ", ErrClaims)
	case c.Issuer != r.issuer:
		return Claims{}, fmt.Errorf("%w: another issuer", ErrClaims)
	case c.Audience != r.audience:
		return Claims{}, fmt.Errorf("%w: another audience", ErrClaims)
	case now.Unix() >= c.Expires.Unix():
		return Claims{}, ErrExpired
	}
	return c, nil
}

// decodeSegment is strict base64url. Go's decoder skips line breaks wherever
// they stand; the length of what was decoded gives them away.
func decodeSegment(text []byte) ([]byte, bool) {
	decoded, err := segments.AppendDecode(make([]byte, 0, segments.DecodedLen(len(text))), text)
	return decoded, err == nil && segments.EncodedLen(len(decoded)) == len(text)
}
