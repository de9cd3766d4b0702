package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofKeys are a key of each algorithm.
func proofKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	fatal(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	fatal(t, err)
	return map[string]crypto.Signer{EdDSA: ed, ES256: ec, RS256: rs}
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// joseProof is a proof that go-jose made.
func joseProof(t testing.TB, algorithm string, key crypto.Signer, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	fatal(t, err)
	payload, err := json.Marshal(claims)
	fatal(t, err)
	signed, err := signer.Sign(payload)
	fatal(t, err)
	s, err := signed.CompactSerialize()
	fatal(t, err)
	return s
}

func proofClaimsOf(change map[string]any) map[string]any {
	all := map[string]any{"jti": "one", "htm": "POST", "htu": "https://folio.example.org/oauth2/token", "iat": start.Unix(), "nonce": "n", "ath": "a"}
	for name, value := range change {
		if value == nil {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	return all
}

func TestProofsOfGoJoseAreRead(t *testing.T) {
	for algorithm, key := range proofKeys(t) {
		// Both signatures of ECDSA are good; of 40 some are the greater one.
		for range 40 {
			p, err := OpenProof(joseProof(t, algorithm, key, proofClaimsOf(nil)))
			if err != nil {
				t.Fatalf("%s: %v", algorithm, err)
			}
			thumb, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
			fatal(t, err)
			want := Proof{
				Confirm: ConfirmKey(base64.RawURLEncoding.EncodeToString(thumb)), ID: "one", Method: "POST",
				URL: "https://folio.example.org/oauth2/token", IssuedAt: start.Truncate(time.Second).UTC(), Nonce: "n", AccessHash: "a",
			}
			if p != want {
				t.Fatalf("%s: %+v, want %+v", algorithm, p, want)
			}
			if algorithm == RS256 {
				break
			}
		}
	}
}

// handmade signs any header and payload with a key of P-256.
func handmade(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	s := segments.EncodeToString([]byte(header)) + "." + segments.EncodeToString([]byte(payload))
	signature, err := signAs(key, key.Public(), []byte(s))
	fatal(t, err)
	return s + "." + segments.EncodeToString(signature)
}

func TestProofsAreRefusedOneMutationAtATime(t *testing.T) {
	keys := proofKeys(t)
	key := keys[ES256].(*ecdsa.PrivateKey)
	_, members, err := publicKey(ES256, key.Public())
	fatal(t, err)
	jwk := "{" + members + "}"
	d, err := key.Bytes()
	fatal(t, err)
	const payload = `{"jti":"one","htm":"POST","htu":"https://folio.example.org/","iat":1}`
	header := func(typ, alg, jwk, more string) string {
		return `{"typ":"` + typ + `","alg":"` + alg + `","jwk":` + jwk + more + `}`
	}
	if _, err := OpenProof(handmade(t, key, header("dpop+jwt", ES256, jwk, `,"kid":"x"`), payload)); err != nil {
		t.Fatalf("the proof that is mutated below: %v", err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		weak = nil // Go refuses to make one, unless it is told
	}
	headers := map[string]string{
		"another type":           header("jwt", ES256, jwk, ""),
		"no type":                `{"alg":"ES256","jwk":` + jwk + `}`,
		"no algorithm":           `{"typ":"dpop+jwt","jwk":` + jwk + `}`,
		"none":                   header("dpop+jwt", "none", jwk, ""),
		"HMAC":                   header("dpop+jwt", "HS256", jwk, ""),
		"of another key":         header("dpop+jwt", EdDSA, jwk, ""),
		"no key":                 `{"typ":"dpop+jwt","alg":"ES256"}`,
		"kid alone":              `{"typ":"dpop+jwt","alg":"ES256","kid":"x"}`,
		"private key":            header("dpop+jwt", ES256, jwk[:len(jwk)-1]+`,"d":"`+segments.EncodeToString(d)+`"}`, ""),
		"private key, null":      header("dpop+jwt", ES256, jwk[:len(jwk)-1]+`,"d":null}`, ""),
		"secret":                 header("dpop+jwt", ES256, `{"kty":"oct","k":"AAAA"}`, ""),
		"P-384":                  header("dpop+jwt", ES256, strings.Replace(jwk, "P-256", "P-384", 1), ""),
		"not on the curve":       header("dpop+jwt", ES256, `{"kty":"EC","crv":"P-256","x":"`+strings.Repeat("A", 43)+`","y":"`+strings.Repeat("A", 43)+`"}`, ""),
		"short coordinate":       header("dpop+jwt", ES256, `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, ""),
		"key for encryption":     header("dpop+jwt", ES256, jwk[:len(jwk)-1]+`,"use":"enc"}`, ""),
		"key of another alg":     header("dpop+jwt", ES256, jwk[:len(jwk)-1]+`,"alg":"RS256"}`, ""),
		"critical":               header("dpop+jwt", ES256, jwk, `,"crit":["x"]`),
		"b64":                    header("dpop+jwt", ES256, jwk, `,"b64":false`),
		"name twice":             header("dpop+jwt", ES256, jwk, `,"alg":"ES256"`),
		"not JSON":               `x`,
		"weak RSA":               header("dpop+jwt", RS256, `{"kty":"RSA","e":"AQAB","n":"`+segments.EncodeToString(make([]byte, 128))+`"}`, ""),
		"huge RSA":               header("dpop+jwt", RS256, `{"kty":"RSA","e":"AQAB","n":"`+segments.EncodeToString([]byte(strings.Repeat("\xff", 1025)))+`"}`, ""),
		"RSA with even exponent": header("dpop+jwt", RS256, `{"kty":"RSA","e":"Ag","n":"`+segments.EncodeToString([]byte(strings.Repeat("\xff", 256)))+`"}`, ""),
	}
	if weak != nil {
		headers["weak RSA, real"] = header("dpop+jwt", RS256, `{"kty":"RSA","e":"AQAB","n":"`+segments.EncodeToString(weak.N.Bytes())+`"}`, "")
	}
	for name, h := range headers {
		if _, err := OpenProof(handmade(t, key, h, payload)); !errors.Is(err, ErrInvalid) {
			t.Errorf("header, %s: %v", name, err)
		}
	}
	good := header("dpop+jwt", ES256, jwk, "")
	for name, p := range map[string]string{
		"no jti": `{"htm":"POST","htu":"https://x/","iat":1}`, "empty jti": `{"jti":"","htm":"POST","htu":"https://x/","iat":1}`,
		"long jti":     `{"jti":"` + strings.Repeat("x", 257) + `","htm":"POST","htu":"https://x/","iat":1}`,
		"jti a number": `{"jti":1,"htm":"POST","htu":"https://x/","iat":1}`,
		"no htm":       `{"jti":"1","htu":"https://x/","iat":1}`, "no htu": `{"jti":"1","htm":"POST","iat":1}`,
		"no iat": `{"jti":"1","htm":"POST","htu":"https://x/"}`, "iat text": `{"jti":"1","htm":"POST","htu":"https://x/","iat":"1"}`,
		"empty nonce": `{"jti":"1","htm":"POST","htu":"https://x/","iat":1,"nonce":""}`,
		"empty ath":   `{"jti":"1","htm":"POST","htu":"https://x/","iat":1,"ath":""}`,
		"htm twice":   `{"jti":"1","htm":"GET","htm":"POST","htu":"https://x/","iat":1}`, "not JSON": `x`, "a list": `[]`,
	} {
		if _, err := OpenProof(handmade(t, key, good, p)); !errors.Is(err, ErrInvalid) {
			t.Errorf("payload, %s: %v", name, err)
		}
	}
	whole := handmade(t, key, good, payload)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	for name, s := range map[string]string{
		"nothing": "", "two parts": whole[:strings.LastIndexByte(whole, '.')], "four parts": whole + ".x", "no signature": whole[:strings.LastIndexByte(whole, '.')+1],
		"a line break": whole + "\n", "padding": whole + "=", "too long": whole + strings.Repeat("A", maxProof),
		"signed by another": handmade(t, other, good, payload),
		"another payload":   strings.Replace(whole, "."+segments.EncodeToString([]byte(payload))+".", "."+segments.EncodeToString([]byte(strings.Replace(payload, "one", "two", 1)))+".", 1),
		"DER":               whole[:len(whole)-4],
	} {
		if _, err := OpenProof(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProofNoncesAreGoodForMinutes(t *testing.T) {
	b := setup(t)
	nonce := b.ProofNonce(start)
	for after, want := range map[time.Duration]bool{0: true, 4 * time.Minute: true, 11 * time.Minute: false, -10 * time.Minute: false, time.Hour: false} {
		if got := b.ProofNonceHolds(nonce, start.Add(after)); got != want {
			t.Errorf("after %s: %v", after, got)
		}
	}
	if b.ProofNonce(start.Add(time.Hour)) == nonce {
		t.Error("the nonce never changes")
	}
	flipped := []byte(nonce)
	flipped[20] ^= 1
	for _, wrong := range []string{"", "x", nonce + "A", nonce[:len(nonce)-1], string(flipped), strings.Repeat("A", 100), b.HealNonce(binding(), 3)} {
		if b.ProofNonceHolds(wrong, start) {
			t.Errorf("%q is taken", wrong)
		}
	}
}
