package token

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signed is a ring whose tenants choose: "es" has ES256, "rs" RS256, all others
// EdDSA. Every algorithm has an active key.
func signed(t testing.TB) bundle {
	t.Helper()
	b := choosing(t)
	b.clock.advance(65 * time.Minute)
	if err := b.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func choosing(t testing.TB) bundle {
	t.Helper()
	b := bundle{clock: &clock{now: start.Add(-65 * time.Minute)}, store: &memory{}}
	c := b.config()
	c.Algorithm = func(tenant, _, _ string) string { return map[string]string{"es": ES256, "rs": RS256}[tenant] }
	c.Algorithms = func() []string { return []string{EdDSA, ES256, RS256} }
	var err error
	if b.Ring, err = OpenRing(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b bundle) mintFor(t testing.TB, tenant string) string {
	t.Helper()
	c := claims(KindAccess)
	c.Tenant = tenant
	return b.mint(t, c)
}

// algorithmOf is what another's library says of a token, which it verifies.
func algorithmOf(t testing.TB, b bundle, s string) string {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(b.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSignedCompact(s, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	head := parsed.Signatures[0].Header
	keys := set.Key(head.KeyID)
	if len(keys) != 1 || keys[0].Algorithm != head.Algorithm {
		t.Fatalf("the key set has %d keys %q, or another algorithm", len(keys), head.KeyID)
	}
	print, err := keys[0].Thumbprint(crypto.SHA256)
	if err != nil || !strings.HasPrefix(segments.EncodeToString(print), head.KeyID) {
		t.Errorf("id %s is not the thumbprint, %v", head.KeyID, err)
	}
	if _, err := parsed.Verify(keys[0]); err != nil {
		t.Errorf("%s: %v", head.Algorithm, err)
	}
	if _, err := b.Verify(s, start, KindAccess); err != nil {
		t.Errorf("%s: %v", head.Algorithm, err)
	}
	return head.Algorithm
}

func TestEachTenantHasItsAlgorithm(t *testing.T) {
	b := signed(t)
	for tenant, want := range map[string]string{"es": ES256, "rs": RS256, "diku": EdDSA} {
		for range 20 { // numbers with leading zeros, and both halves of s
			if got := algorithmOf(t, b, b.mintFor(t, tenant)); got != want {
				t.Errorf("%s: %s instead of %s", tenant, got, want)
			}
		}
	}
}

// A change of algorithm logs nobody out, here or at others who have the JWKS of
// before.
func TestT14FromOneAlgorithmToAnother(t *testing.T) {
	b := choosing(t)
	before := b.mintFor(t, "es")
	if got := algorithmOf(t, b, before); got != EdDSA {
		t.Errorf("%s signs before it was published", got)
	}
	cached := slices.Clone(b.JWKS())
	if n := bytes.Count(cached, []byte(`"kid"`)); n != 3 {
		t.Errorf("%d keys are published", n)
	}
	b.tick(t, 65*time.Minute)
	after := b.mintFor(t, "es")
	if got := algorithmOf(t, b, after); got != ES256 {
		t.Errorf("%s signs", got)
	}
	if !bytes.Contains(cached, []byte(kidOf(t, after))) {
		t.Error("who cached the key set does not know the key that signs")
	}
	if _, err := b.Verify(before, start, KindAccess); err != nil {
		t.Errorf("the token of before: %v", err)
	}
	// The same on a node that starts now, and when the key is rotated.
	again := b
	again.Ring = b.restart(t)
	if _, err := again.Verify(after, start, KindAccess); err != nil {
		t.Errorf("on another node: %v", err)
	}
	if _, err := b.Rotate(t.Context(), PurposeAccess, ES256, true); err != nil {
		t.Fatal(err)
	}
	rotated := b.mintFor(t, "es")
	if algorithmOf(t, b, rotated) != ES256 || kidOf(t, rotated) == kidOf(t, after) {
		t.Error("the key was not rotated")
	}
	if _, err := b.Verify(after, start, KindAccess); err != nil {
		t.Errorf("the token of the retired key: %v", err)
	}
	if got := algorithmOf(t, b, b.mintFor(t, "diku")); got != EdDSA {
		t.Errorf("another tenant has %s", got)
	}
	// Removed at once, and tokens go on with a key that everybody knows.
	if err := b.Remove(t.Context(), PurposeAccess, kidOf(t, rotated)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Verify(rotated, start, KindAccess); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("removed: %v", err)
	}
	if got := algorithmOf(t, b, b.mintFor(t, "es")); got != EdDSA {
		t.Errorf("%s signs before it was published", got)
	}
}

func kidOf(t testing.TB, s string) string {
	t.Helper()
	text, err := segments.DecodeString(s[:strings.IndexByte(s, '.')])
	var h struct{ Kid string }
	if err := errors.Join(err, json.Unmarshal(text, &h)); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

func TestT11AKeyHasOneAlgorithm(t *testing.T) {
	b := signed(t)
	tokens := map[string][]string{}
	for _, tenant := range []string{"es", "rs", "diku"} {
		tokens[tenant] = strings.Split(b.mintFor(t, tenant), ".")
	}
	bad := map[string]string{}
	for tenant, p := range tokens {
		kid := kidOf(t, p[0]+".")
		for _, alg := range []string{"none", "HS256", "HS512", "ES256", "ES384", "RS256", "RS512", "PS256", "EdDSA", "Ed25519"} {
			header := segment(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kid))
			if header == p[0] {
				continue
			}
			bad[tenant+" as "+alg] = header + "." + p[1] + "." + p[2]
			bad[tenant+" as "+alg+" unsigned"] = header + "." + p[1] + "."
		}
		for other, q := range tokens {
			if other != tenant { // another tenant's key, and the claims of this one
				bad[tenant+" under the key of "+other] = q[0] + "." + p[1] + "." + p[2]
				bad[tenant+" with the signature of "+other] = p[0] + "." + p[1] + "." + q[2]
			}
		}
		for name, public := range map[string]*key{"ES256": b.state.Load().others[ES256], "RS256": b.state.Load().others[RS256]} {
			der, err := x509.MarshalPKIXPublicKey(public.public)
			if err != nil {
				t.Fatal(err)
			}
			for form, secret := range map[string][]byte{
				"stored": public.Public, "DER": der, "JWK": []byte(public.jwk),
				"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
			} {
				header := segment(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, public.ID))
				bad[tenant+" HMAC under "+name+" as "+form] = hs256(secret, header+"."+p[1])
				bad[tenant+" genuine header, HMAC under "+name+" as "+form] = hs256(secret, p[0]+"."+p[1])
			}
		}
	}
	// The other signature of P-256 that would hold.
	es := tokens["es"]
	signature, _ := segments.DecodeString(es[2])
	s := new(big.Int).SetBytes(signature[32:])
	new(big.Int).Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	bad["second spelling"] = es[0] + "." + es[1] + "." + segments.EncodeToString(signature)
	refuseAll(t, b, bad)
}

// elsewhere keeps private keys away from the store, as a KMS does.
type elsewhere struct {
	keys   map[string][]byte
	broken bool
}

func (e *elsewhere) New(algorithm string) ([]byte, error) {
	private, err := localSigners{}.New(algorithm)
	name := fmt.Sprintf("projects/p/keys/%d", len(e.keys))
	e.keys[name] = private
	return []byte(name), err
}

func (e *elsewhere) Open(algorithm string, handle []byte) (Signer, error) {
	if e.broken {
		return nil, errors.New("no answer")
	}
	return localSigners{}.Open(algorithm, e.keys[string(handle)])
}

// xor stands for a KMS that wraps.
type xor struct{}

func (xor) Wrap(secret, bound []byte) ([]byte, error) {
	return append(slices.Clone(bound), secret...), nil
}

func (xor) Unwrap(wrapped, bound []byte) ([]byte, error) {
	secret, ok := bytes.CutPrefix(wrapped, bound)
	if !ok {
		return nil, errors.New("bound to something else")
	}
	return secret, nil
}

func TestKeysOfAKMS(t *testing.T) {
	b := bundle{clock: &clock{now: start}, store: &memory{}}
	kms := &elsewhere{keys: map[string][]byte{}}
	c := b.config()
	c.Master, c.Wrapper, c.Signers = nil, xor{}, kms
	var err error
	if b.Ring, err = OpenRing(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s := b.mintFor(t, "diku")
	algorithmOf(t, b, s)
	for _, row := range b.store.rows {
		for _, private := range kms.keys {
			if bytes.Contains(row.Wrapped, private) {
				t.Error("a private key is in the store")
			}
		}
	}
	// A KMS that is away stops what needs a new key, and nothing else.
	kms.broken = true
	if err := b.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := b.Rotate(t.Context(), PurposeAccess, "", true); err == nil {
		t.Error("a key that cannot be opened was taken into use")
	}
	if _, err := b.Verify(b.mintFor(t, "diku"), start, KindAccess); err != nil {
		t.Error(err)
	}
	if _, err := OpenRing(t.Context(), c); err == nil {
		t.Error("a node started without its keys")
	}
}

func BenchmarkAlgorithms(b *testing.B) {
	ring := signed(b)
	for _, tenant := range []string{"diku", "es", "rs"} {
		c := claims(KindAccess)
		c.Tenant = tenant
		s := ring.mint(b, c)
		name := map[string]string{"diku": EdDSA, "es": ES256, "rs": RS256}[tenant]
		b.Run(name+"/sign", func(b *testing.B) {
			for b.Loop() {
				ring.mint(b, c)
			}
		})
		b.Run(name+"/verify", func(b *testing.B) {
			for b.Loop() {
				if _, err := ring.Verify(s, start, KindAccess); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
