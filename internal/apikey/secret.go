package apikey

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"log/slog"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	// Prefix is how Counterfoil's own keys begin, so that scanners find them
	// in what should not hold them: cfak_[0-9A-Za-z]{49}.
	Prefix = "cfak_"

	alphabet  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	drawn     = 43 // 62^43 > 2^256
	checksum  = 6  // 62^6 > 2^32
	ownLength = len(Prefix) + drawn + checksum

	// maxEdge bounds an edge key in bytes, before anything is decoded.
	maxEdge = 1024
	// minSalt is the shortest salt that can be imported: 10 letters and digits
	// are 59 bits, which nobody guesses over a network.
	minSalt = 10
)

// Secret is a secret as it was presented, taken apart. Printing it shows
// nothing.
type Secret struct {
	Kind Kind
	// Tenant and Username are what an edge key says of itself, unverified;
	// empty for Counterfoil's own.
	Tenant, Username string
	// text is the whole key, or the salt.
	text string
}

// String hides the secret.
func (s Secret) String() string { return "API key" }

// GoString hides the secret.
func (s Secret) GoString() string { return "API key" }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue("API key") }

// IsZero is whether there is none.
func (s Secret) IsZero() bool { return s.Kind == "" }

// Generate draws one of Counterfoil's own keys and returns how it is written,
// which is the only time that anybody sees it.
func Generate() (Secret, string) {
	var b strings.Builder
	b.WriteString(Prefix)
	var buf [1]byte
	for b.Len() < len(Prefix)+drawn {
		_, _ = rand.Read(buf[:]) // never fails since Go 1.24
		if n := buf[0] & 63; n < 62 {
			b.WriteByte(alphabet[n])
		}
	}
	text := b.String() + sum(b.String())
	return Secret{Kind: Own, text: text}, text
}

// sum is the checksum by which a scanner, and whoever mistyped, tells a key
// from what only looks like one. It protects nothing.
func sum(text string) string {
	n := crc32.ChecksumIEEE([]byte(text))
	var digits [checksum]byte
	for i := range digits {
		digits[checksum-1-i] = alphabet[n%62]
		n /= 62
	}
	return string(digits[:])
}

// Parse reads a key of either sort. It fails with ErrForm, which repeats
// nothing of what was given.
func Parse(text string) (Secret, error) {
	if strings.HasPrefix(text, Prefix) {
		return parseOwn(text)
	}
	return parseEdge(text)
}

// Looks is whether a text begins as a key does. It is cheap, and what looks
// like one need not be one.
func Looks(text string) bool {
	return strings.HasPrefix(text, Prefix) || strings.HasPrefix(text, "ey")
}

func parseOwn(text string) (Secret, error) {
	if len(text) != ownLength {
		return Secret{}, ErrForm
	}
	for _, c := range []byte(text[len(Prefix):]) {
		if strings.IndexByte(alphabet, c) < 0 {
			return Secret{}, ErrForm
		}
	}
	if body := text[:len(text)-checksum]; sum(body) != text[len(body):] {
		return Secret{}, ErrForm
	}
	return Secret{Kind: Own, text: text}, nil
}

// parseEdge reads what edge-common's ApiKeyUtils writes: URL-safe base64, with
// padding or without, of {"s":salt,"t":tenant,"u":user}.
func parseEdge(text string) (Secret, error) {
	if len(text) > maxEdge || !strings.HasPrefix(text, "ey") { // {" or { and white space
		return Secret{}, ErrForm
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return Secret{}, ErrForm
	}
	var fields struct {
		Salt     string `json:"s"`
		Tenant   string `json:"t"`
		Username string `json:"u"`
	}
	if err := json.Unmarshal(decoded, &fields, json.RejectUnknownMembers(true)); err != nil {
		return Secret{}, ErrForm // err would repeat it
	}
	for _, field := range []string{fields.Salt, fields.Tenant, fields.Username} {
		if field == "" || bytes.IndexByte([]byte(field), 0) >= 0 {
			return Secret{}, ErrForm
		}
	}
	return Secret{Kind: Edge, Tenant: fields.Tenant, Username: fields.Username, text: fields.Salt}, nil
}

// Importable tells what keeps an edge key from being registered. Counterfoil's
// own are made by Generate alone: one that came from elsewhere was seen there.
func (s Secret) Importable() error {
	switch {
	case s.Kind != Edge:
		return fmt.Errorf("%w: only keys of FOLIO's edge modules can be imported; make one of Counterfoil's own with create", ErrInvalid)
	case len(s.text) < minSalt:
		return fmt.Errorf("%w: the salt of this key has fewer than %d characters and could be guessed: give the partner a new key", ErrInvalid, minSalt)
	}
	return nil
}

// hidden stands for a key in what is logged.
const hidden = "(key)"

// Redact is a path without the keys that partners put into it, for logs.
func Redact(path string) string {
	if !strings.Contains(path, "/ey") && !strings.Contains(path, "/"+Prefix) {
		return path
	}
	segments := strings.Split(path, "/")
	for i, one := range segments {
		// What is no key may be one that was cut or mistyped.
		if Looks(one) && len(one) > 2*minSalt {
			segments[i] = hidden
		}
	}
	return strings.Join(segments, "/")
}
