package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
)

// The algorithms in which access tokens can be signed. Ed25519 signs without a
// random number that could leak the key if it were weak. Its name in a JWT is
// EdDSA (RFC 8037): the newer name of RFC 9864, Ed25519, is not understood yet
// by the libraries that read our tokens. The others are for verifiers that
// know no Ed25519.
const (
	EdDSA = "EdDSA"
	ES256 = "ES256"
	RS256 = "RS256"
)

// AccessAlgorithms are all of them, the default first.
func AccessAlgorithms() []string { return []string{EdDSA, ES256, RS256} }

const rsaBits = 2048

// Signer is a private key that signs, wherever it is: in memory, or in a KMS or
// an HSM, which do not give it away.
type Signer = crypto.Signer

// Signers make the private keys of access tokens and find them again. An
// implementation bounds its own time.
type Signers interface {
	// New makes a key for an algorithm. What it returns is wrapped and stored,
	// and is all that Open gets.
	New(algorithm string) (handle []byte, err error)
	Open(algorithm string, handle []byte) (Signer, error)
}

// localSigners keep the private key itself in the handle.
type localSigners struct{}

func (localSigners) New(algorithm string) ([]byte, error) {
	switch algorithm {
	case EdDSA:
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		return seed, nil
	case ES256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return private.Bytes()
	case RS256:
		private, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, err
		}
		return x509.MarshalPKCS1PrivateKey(private), nil
	}
	return nil, fmt.Errorf("unknown algorithm %q", algorithm)
}

func (localSigners) Open(algorithm string, handle []byte) (Signer, error) {
	switch algorithm {
	case EdDSA:
		if len(handle) != ed25519.SeedSize {
			return nil, fmt.Errorf("a secret of %d bytes instead of %d", len(handle), ed25519.SeedSize)
		}
		return ed25519.NewKeyFromSeed(handle), nil
	case ES256:
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), handle)
	case RS256:
		return x509.ParsePKCS1PrivateKey(handle)
	}
	return nil, fmt.Errorf("unknown algorithm %q", algorithm)
}

// publicKey checks that a public key is of the algorithm, and writes it for the
// store and as the members of a JWK in the order of RFC 7638. Every value is of
// base64url's alphabet and needs no escaping.
func publicKey(algorithm string, public crypto.PublicKey) (stored []byte, jwk string, err error) {
	wrong := fmt.Errorf("not a key for %s", algorithm)
	switch public := public.(type) {
	case ed25519.PublicKey:
		if algorithm != EdDSA {
			return nil, "", wrong
		}
		return public, `"crv":"Ed25519","kty":"OKP","x":"` + segments.EncodeToString(public) + `"`, nil
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if algorithm != ES256 || public.Curve != elliptic.P256() || err != nil {
			return nil, "", wrong
		}
		x, y := point[1:33], point[33:]
		return point, `"crv":"P-256","kty":"EC","x":"` + segments.EncodeToString(x) + `","y":"` + segments.EncodeToString(y) + `"`, nil
	case *rsa.PublicKey:
		if algorithm != RS256 || public.N.BitLen() < rsaBits {
			return nil, "", wrong
		}
		e := big.NewInt(int64(public.E)).Bytes()
		return x509.MarshalPKCS1PublicKey(public),
			`"e":"` + base64.RawURLEncoding.EncodeToString(e) + `","kty":"RSA","n":"` + segments.EncodeToString(public.N.Bytes()) + `"`, nil
	}
	return nil, "", wrong
}

// signAs signs a message as RFC 7518 and RFC 8037 have it. The public half is s's
// own, which costs a copy each time that s is asked.
func signAs(s Signer, public crypto.PublicKey, message []byte) ([]byte, error) {
	if _, ok := public.(ed25519.PublicKey); ok {
		return s.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	if _, ok := public.(*rsa.PublicKey); ok {
		return s.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	der, err := s.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 {
		return nil, errors.New("a signature that is not ASN.1")
	}
	if pair.R.Sign() < 1 || pair.S.Sign() < 1 || pair.R.BitLen() > 256 || pair.S.BitLen() > 256 {
		return nil, errors.New("a signature that is not one of P-256")
	}
	// (r, −s) is a signature, too. Of the two only the smaller one is ours, or
	// every token had a second spelling.
	if order := elliptic.P256().Params().N; pair.S.Cmp(halfOrder) > 0 {
		pair.S.Sub(order, pair.S)
	}
	signature := make([]byte, 64)
	pair.R.FillBytes(signature[:32])
	pair.S.FillBytes(signature[32:])
	return signature, nil
}

var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// verifyAs takes the algorithm from the key alone.
func verifyAs(public crypto.PublicKey, message, signature []byte) bool {
	switch public := public.(type) {
	case ed25519.PublicKey:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(public, message, signature)
	case *ecdsa.PublicKey:
		if len(signature) != 64 {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		sum := sha256.Sum256(message)
		return s.Cmp(halfOrder) <= 0 && ecdsa.Verify(public, sum[:], r, s)
	case *rsa.PublicKey:
		sum := sha256.Sum256(message)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature) == nil
	}
	return false
}

func signatureSizeOf(public crypto.PublicKey) int {
	if public, ok := public.(*rsa.PublicKey); ok {
		return public.Size()
	}
	return 64
}
