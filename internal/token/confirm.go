package token

import "strings"

// Confirmation is the key that a token is bound to (RFC 7800), empty for none.
// It is kept as one text, because a session has one or none.
type Confirmation string

const (
	confirmKey         = "jkt:"
	confirmCertificate = "x5t#S256:"
)

// ConfirmKey binds to a key by its thumbprint (RFC 7638), as RFC 9449 section 6.1.
func ConfirmKey(thumbprint string) Confirmation { return Confirmation(confirmKey + thumbprint) }

// ConfirmCertificate binds to a certificate by its SHA-256 in base64url, as RFC
// 8705 section 3.1.
func ConfirmCertificate(hash string) Confirmation { return Confirmation(confirmCertificate + hash) }

// Key is the thumbprint, if it is a key.
func (c Confirmation) Key() (string, bool) { return strings.CutPrefix(string(c), confirmKey) }

// Certificate is the hash, if it is a certificate.
func (c Confirmation) Certificate() (string, bool) {
	return strings.CutPrefix(string(c), confirmCertificate)
}
