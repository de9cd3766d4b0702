package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Proof is what a DPoP proof (RFC 9449 section 4.2) says, signed by the key
// that it brings along. Whether it fits a request is for others to tell.
type Proof struct {
	// Confirm is the key that signed it.
	Confirm Confirmation
	// ID is unique for the key; Method and URL are of the request.
	ID, Method, URL string
	IssuedAt        time.Time
	// Nonce is one that we gave, and AccessHash that of the access token that is
	// shown along; each is empty where there is none.
	Nonce, AccessHash string
}

const (
	maxProof   = 4 << 10 // bytes; a key of RSA with 8192 bits fits
	maxProofID = 256
	maxRSABits = 8192
)

// errProof is what is wrong with a proof. It repeats nothing of it, and is told to
// whoever sent it.
type errProof string

func (e errProof) Error() string      { return string(e) }
func (errProof) Is(target error) bool { return target == ErrInvalid }

// OpenProof reads a proof and verifies its signature. Its errors are ErrInvalid
// and say in words what is wrong.
func OpenProof(s string) (Proof, error) {
	if len(s) > maxProof {
		return Proof{}, errProof("it is too long")
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return Proof{}, errProof("it is no JWT")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var ok bool
		if decoded[i], ok = decodeSegment([]byte(part)); !ok || len(part) == 0 {
			return Proof{}, errProof("it is no JWT")
		}
	}
	public, confirm, err := proofKey(decoded[0])
	if err != nil {
		return Proof{}, err
	}
	if !verifyForeign(public, []byte(s[:len(s)-len(parts[2])-1]), decoded[2]) {
		return Proof{}, errProof("its signature does not hold")
	}
	p, err := proofClaims(decoded[1])
	p.Confirm = confirm
	return p, err
}

// proofKey reads a header. Members that it does not know change nothing about
// how the rest is meant (RFC 7515 section 4), but for those that crit names.
func proofKey(header []byte) (crypto.PublicKey, Confirmation, error) {
	var h struct {
		Type      string         `json:"typ"`
		Algorithm string         `json:"alg"`
		Critical  jsontext.Value `json:"crit"`
		Encoding  jsontext.Value `json:"b64"`
		Key       jsontext.Value `json:"jwk"`
	}
	if err := json.Unmarshal(header, &h); err != nil {
		return nil, "", errProof("its header cannot be read")
	}
	switch {
	case h.Type != "dpop+jwt":
		return nil, "", errProof("its typ is not dpop+jwt")
	case h.Critical != nil || h.Encoding != nil:
		return nil, "", errProof("it uses extensions that are not understood")
	case h.Key == nil:
		return nil, "", errProof("it brings no jwk")
	}
	return readJWK(h.Key, h.Algorithm)
}

// readJWK reads a public key for one algorithm. The thumbprint (RFC 7638) is
// made of the key and not of the text, so that one key has one.
func readJWK(text []byte, algorithm string) (crypto.PublicKey, Confirmation, error) {
	var k struct {
		Type      string `json:"kty"`
		Curve     string `json:"crv"`
		X         string `json:"x"`
		Y         string `json:"y"`
		N         string `json:"n"`
		E         string `json:"e"`
		Algorithm string `json:"alg"`
		Use       string `json:"use"`
		// Private is what no public key has.
		D  jsontext.Value `json:"d"`
		P  jsontext.Value `json:"p"`
		Q  jsontext.Value `json:"q"`
		DP jsontext.Value `json:"dp"`
		DQ jsontext.Value `json:"dq"`
		QI jsontext.Value `json:"qi"`
		O  jsontext.Value `json:"oth"`
		K  jsontext.Value `json:"k"`
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, "", errProof("its jwk cannot be read")
	}
	for _, private := range [...]jsontext.Value{k.D, k.P, k.Q, k.DP, k.DQ, k.QI, k.O, k.K} {
		if private != nil {
			return nil, "", errProof("its jwk has a private part; make a new key, this one is known now")
		}
	}
	if k.Algorithm != "" && k.Algorithm != algorithm || k.Use != "" && k.Use != "sig" {
		return nil, "", errProof("its jwk is for something else")
	}
	// One algorithm for each type of key.
	var public crypto.PublicKey
	switch {
	case k.Type == "OKP" && k.Curve == "Ed25519" && algorithm == EdDSA:
		if x, ok := decodeSegment([]byte(k.X)); ok && len(x) == ed25519.PublicKeySize {
			public = ed25519.PublicKey(x)
		}
	case k.Type == "EC" && k.Curve == "P-256" && algorithm == ES256:
		x, one := decodeSegment([]byte(k.X))
		y, two := decodeSegment([]byte(k.Y))
		if one && two && len(x) == 32 && len(y) == 32 {
			if point, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...)); err == nil {
				public = point
			}
		}
	case k.Type == "RSA" && algorithm == RS256:
		n, one := decodeSegment([]byte(k.N))
		e, two := decodeSegment([]byte(k.E))
		if one && two && len(n) <= maxRSABits/8 && len(e) <= 4 {
			if key := (&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}); key.E > 2 && key.E%2 == 1 {
				public = key
			}
		}
	default:
		return nil, "", errProof("alg must be ES256 with a P-256 key, EdDSA with Ed25519, or RS256 with RSA")
	}
	if public == nil {
		return nil, "", errProof("its jwk is no key")
	}
	_, members, err := publicKey(algorithm, public)
	if err != nil {
		return nil, "", errProof("its jwk is no key that is strong enough")
	}
	sum := sha256.Sum256([]byte("{" + members + "}"))
	return public, ConfirmKey(segments.EncodeToString(sum[:])), nil
}

func proofClaims(payload []byte) (Proof, error) {
	var c struct {
		ID         string  `json:"jti"`
		Method     string  `json:"htm"`
		URL        string  `json:"htu"`
		IssuedAt   *int64  `json:"iat"`
		Nonce      *string `json:"nonce"`
		AccessHash *string `json:"ath"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return Proof{}, errProof("its claims cannot be read")
	}
	switch {
	case c.ID == "" || len(c.ID) > maxProofID:
		return Proof{}, errProof("its jti is missing or too long")
	case c.Method == "" || c.URL == "":
		return Proof{}, errProof("htm or htu is missing")
	case c.IssuedAt == nil:
		return Proof{}, errProof("iat is missing")
	case c.Nonce != nil && *c.Nonce == "" || c.AccessHash != nil && *c.AccessHash == "":
		return Proof{}, errProof("nonce or ath is empty")
	}
	p := Proof{ID: c.ID, Method: c.Method, URL: c.URL, IssuedAt: time.Unix(*c.IssuedAt, 0).UTC()}
	if c.Nonce != nil {
		p.Nonce = *c.Nonce
	}
	if c.AccessHash != nil {
		p.AccessHash = *c.AccessHash
	}
	return p, nil
}

// AccessHash is the ath (RFC 9449 section 4.2) of an access token.
func AccessHash(access string) string {
	sum := sha256.Sum256([]byte(access))
	return segments.EncodeToString(sum[:])
}

// verifyForeign is verifyAs for signatures that others make, who may choose
// either of the two of ECDSA: proofs are told apart by their jti.
func verifyForeign(public crypto.PublicKey, message, signature []byte) bool {
	if public, ok := public.(*ecdsa.PublicKey); ok && len(signature) == 64 {
		sum := sha256.Sum256(message)
		return ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return verifyAs(public, message, signature)
}

// A proof nonce is base64url of a number of a stretch of time 8 │ tag 16. Nothing
// is stored of it, and every node knows those of the others.
const (
	proofNonceSize = 8 + tagSize
	proofStretch   = 5 * time.Minute
)

// ProofNonce is the nonce of this moment for DPoP proofs. It is good for five to
// ten minutes.
func (r *Ring) ProofNonce(now time.Time) string {
	return r.proofNonce(now.Unix() / int64(proofStretch/time.Second))
}

// ProofNonceHolds is whether a nonce was given lately.
func (r *Ring) ProofNonceHolds(nonce string, now time.Time) bool {
	raw, ok := decodeSegment([]byte(nonce[:min(len(nonce), 64)]))
	if !ok || len(raw) != proofNonceSize {
		return false
	}
	n, present := int64(binary.BigEndian.Uint64(raw)), now.Unix()/int64(proofStretch/time.Second)
	return (n == present || n == present-1) && equal([]byte(r.proofNonce(n)), []byte(nonce))
}

func (r *Ring) proofNonce(stretch int64) string {
	key := r.Derive("dpop nonce")
	raw := binary.BigEndian.AppendUint64(nil, uint64(stretch))
	tag := newMAC(key[:]).short(raw)
	return segments.EncodeToString(append(raw, tag[:]...))
}
