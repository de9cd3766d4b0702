package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// The grants of RFC 6749 that a client may be allowed.
const (
	GrantCode        = "authorization_code"
	GrantRefresh     = "refresh_token"
	GrantCredentials = "client_credentials"
	GrantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
	GrantDevice      = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628
)

// Grants are all of them.
var Grants = []string{GrantCode, GrantRefresh, GrantCredentials, GrantDevice, GrantExchange}

// Client is a program that gets tokens by OAuth. Its tags are for the
// configuration.
type Client struct {
	// ID is the client_id, and the client by which policies name its sessions.
	ID     string `yaml:"id" json:"id"`
	Tenant string `yaml:"tenant" json:"tenant"`
	// Name is what people see at the login.
	Name string `yaml:"name" json:"name,omitzero"`
	// SecretHash is what `counterfoil client secret` prints; empty for a public
	// client, which cannot keep a secret.
	SecretHash string `yaml:"secret_hash" json:"secret_hash,omitzero"`
	// OldSecretHash is of the secret before, which is taken until OldSecretUntil.
	OldSecretHash  string    `yaml:"-" json:"old_secret_hash,omitzero"`
	OldSecretUntil time.Time `yaml:"-" json:"old_secret_until,omitzero"`
	Grants         []string  `yaml:"grants" json:"grants"`
	// Keys are those with which the client signs who it is (private_key_jwt).
	Keys []token.JWK `yaml:"jwks" json:"jwks,omitzero"`
	// Certificates are the SHA-256, in base64url, of those that the client shows in
	// TLS (RFC 8705). With CertificateBound, its tokens are bound to the one shown.
	Certificates     []string `yaml:"tls_client_certificates" json:"tls_client_certificates,omitzero"`
	CertificateBound bool     `yaml:"tls_client_certificate_bound_access_tokens" json:"tls_client_certificate_bound_access_tokens,omitzero"`
	// Redirects are compared character by character.
	Redirects []string `yaml:"redirect_uris" json:"redirect_uris,omitzero"`
	// Scopes are permissions and permission sets, of which the client has those
	// that the user has; "*" is all of them.
	Scopes []string `yaml:"scopes" json:"scopes"`
	// User is the id of the user for whom client_credentials gives tokens.
	User string `yaml:"user" json:"user,omitzero"`
	// Introspect lets the client ask about tokens of all clients of its tenant.
	Introspect bool `yaml:"introspect" json:"introspect,omitzero"`
	// LogoutRedirects are where a browser may go after a logout, compared character by
	// character.
	LogoutRedirects []string `yaml:"post_logout_redirect_uris" json:"post_logout_redirect_uris,omitzero"`
	// LogoutURI is told of the end of each session of the client (OpenID Connect
	// Back-Channel Logout).
	LogoutURI string `yaml:"backchannel_logout_uri" json:"backchannel_logout_uri,omitzero"`
	// DPoP is whether the client gets no tokens but those that are bound to a key
	// of its own (RFC 9449 section 5.2).
	DPoP bool `yaml:"dpop_bound_access_tokens" json:"dpop_bound_access_tokens,omitzero"`
}

// Public is whether the client cannot prove who it is.
func (c *Client) Public() bool { return c.ways() == 0 }

// ways is in how many ways the client could prove who it is.
func (c *Client) ways() (n int) {
	for _, has := range []bool{c.SecretHash != "", len(c.Keys) > 0, len(c.Certificates) > 0} {
		if has {
			n++
		}
	}
	return n
}

// AcceptsCertificate is whether a certificate with this hash is the client's.
func (c *Client) AcceptsCertificate(hash string) bool {
	return hash != "" && slices.Contains(c.Certificates, hash)
}

// May is whether the client may use a grant.
func (c *Client) May(grant string) bool { return slices.Contains(c.Grants, grant) }

const secretHashPrefix = "sha256:"

// NewClientSecret draws the secret of a client, and what of it goes into the
// configuration. The secret is 256 random bits, so a plain hash hides it.
func NewClientSecret() (secret, hash string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	secret = "cfcs_" + base64.RawURLEncoding.EncodeToString(b[:])
	return secret, hashClientSecret(secret)
}

func hashClientSecret(secret string) string {
	sum := sha256.Sum256([]byte("counterfoil client secret\x00" + secret))
	return secretHashPrefix + hex.EncodeToString(sum[:])
}

// Accepts is whether secret is the client's now.
func (c *Client) Accepts(secret string, now time.Time) bool {
	if c.SecretHash == "" {
		return false
	}
	shown := []byte(hashClientSecret(secret))
	old := now.Before(c.OldSecretUntil) && subtle.ConstantTimeCompare(shown, []byte(c.OldSecretHash)) == 1
	return subtle.ConstantTimeCompare(shown, []byte(c.SecretHash)) == 1 || old
}

var (
	clientID        = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,62}$`)
	certificateHash = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	secretHash      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Check finds what is wrong with a client.
func (c *Client) Check() error {
	_, ofKey := apikey.FromClient(c.ID)
	wrong := ""
	bad := func(is bool, text string) {
		if is {
			wrong = text
		}
	}
	bad(len(c.Scopes) == 0, "scopes: name permissions, or * for all that the user has")
	for _, scope := range c.Scopes {
		bad(scope != apikey.Everything && directory.ValidPermission(scope) != nil || strings.ContainsAny(scope, " \"\\"), "scopes: no name of a permission")
	}
	for _, uri := range c.Redirects {
		bad(!validRedirect(uri), "redirect_uris: https, http on loopback, or a scheme with a dot such as org.example.app:/done; no fragment")
	}
	for _, uri := range c.LogoutRedirects {
		bad(!validRedirect(uri), "post_logout_redirect_uris: as redirect_uris")
	}
	bad(c.LogoutURI != "" && !validLogoutURI(c.LogoutURI), "backchannel_logout_uri: https, or http on loopback")
	bad(c.May(GrantCode) && len(c.Redirects) == 0, "redirect_uris: the grant authorization_code needs one")
	bad(c.May(GrantCredentials) && c.User == "", "user: client_credentials gives tokens of a user, name its id")
	bad(c.May(GrantCredentials) && c.Public(), "secret_hash: client_credentials needs a secret")
	bad(c.Introspect && c.Public(), "secret_hash: introspect needs a secret")
	for _, grant := range c.Grants {
		bad(!slices.Contains(Grants, grant), "grants: one of "+strings.Join(Grants, ", "))
	}
	bad(c.ways() > 1, "secret_hash, jwks, tls_client_certificates: one way to prove who the client is, not more")
	for i := range c.Keys {
		err := c.Keys[i].Check()
		bad(err != nil, fmt.Sprintf("jwks: number %d: %v", i+1, err))
	}
	for _, hash := range c.Certificates {
		bad(!certificateHash.MatchString(hash), "tls_client_certificates: SHA-256 in base64url, 43 characters")
	}
	bad(c.CertificateBound && c.DPoP, "tls_client_certificate_bound_access_tokens: or dpop_bound_access_tokens, not both")
	bad(c.SecretHash != "" && !secretHash.MatchString(c.SecretHash), "secret_hash: what `counterfoil client secret` prints")
	bad(c.Tenant == "", "tenant: is needed")
	bad(!clientID.MatchString(c.ID) || isBuiltin(c.ID) || c.ID == ClientKey || ofKey,
		"id: 2 to 63 of a-z, 0-9, dot, hyphen and underscore, and none of FOLIO's own")
	if wrong != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, wrong)
	}
	return nil
}

// validLogoutURI is of what we call ourselves, so it leads to no app.
func validLogoutURI(uri string) bool {
	return validRedirect(uri) && strings.HasPrefix(uri, "http")
}

// validRedirect allows what RFC 8252 and RFC 9700 do. A scheme without a dot is
// one that anybody may take, or one that runs in the browser, as javascript.
func validRedirect(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Fragment != "" || strings.HasSuffix(uri, "#") || u.User != nil || strings.ContainsAny(uri, "*\\ \"';,") {
		return false
	}
	switch u.Scheme {
	case "https":
		return u.Host != ""
	case "http":
		return slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
	}
	return strings.Contains(u.Scheme, ".")
}

// ownClient is whether sessions of a client are of our own pages and paths, and not of a client
// that was registered.
func ownClient(id string) bool { return id == "" || isBuiltin(id) }

func isBuiltin(id string) bool { return id == ClientWeb || id == ClientAPI || id == ClientConsole }

// Registered is whether a token's client has a scope of its own, which holds for
// what modules ask of others too.
func Registered(id string) bool {
	_, ofKey := apikey.FromClient(id)
	return !ownClient(id) && !ofKey
}

// presents is whether a client may refresh a session. FOLIO's own endpoints name
// none: the refresh token of a client with a secret is worth nothing there.
func presents(client string, row *Session) bool {
	return client == row.Client || client == "" && ownClient(row.Client)
}

// scoped is what a token's client, and the token's own scope, leave of what its
// user may do. A client that is gone leaves nothing. What only raised scope
// gives is there for a token of raised scope alone.
func (s *Service) scoped(ctx context.Context, claims *token.Claims, access *directory.Access) (*directory.Access, error) {
	c := s.Client(claims.ClientID)
	if c == nil || c.Tenant != claims.Tenant {
		return nil, ErrTokenInvalid
	}
	key := scopedKey{claims.ClientID, access.User.ID, claims.Scope, claims.Kind == token.KindElevated}
	if left, ok := s.scopes.Get(key); ok && left.of == access && left.by == c {
		return left.left, nil
	}
	left := &directory.Access{User: access.User, Ordinary: access.Ordinary}
	if key.elevated {
		left.Elevated = access.Elevated
	}
	for _, scopes := range [][]string{c.Scopes, strings.Fields(claims.Scope)} {
		if len(scopes) == 0 || slices.Contains(scopes, apikey.Everything) {
			continue
		}
		allowed, err := s.Directory.Expand(ctx, claims.Tenant, scopes)
		if err != nil {
			return nil, errors.Join(ErrUnavailable, err)
		}
		left.Ordinary, left.Elevated = left.Ordinary.Intersect(allowed), left.Elevated.Intersect(allowed)
	}
	s.scopes.Add(key, leftAccess{access, c, left})
	return left, nil
}

// scopedKey is all that an answer of scoped depends on, but for what changes.
type scopedKey struct {
	client, user, scope string
	elevated            bool
}

// leftAccess is an answer of scoped, and what it was made of.
type leftAccess struct {
	of   *directory.Access
	by   *Client
	left *directory.Access
}
