package token

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func hs256(secret []byte, input string) string {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// refuseAll checks that no slot takes any of the tokens.
func refuseAll(t *testing.T, b bundle, tokens map[string]string) {
	t.Helper()
	for name, s := range tokens {
		if _, err := b.Verify(s, start, allKinds...); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		if _, err := b.OpenRefresh(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s as refresh token: %v, want ErrInvalid", name, err)
		}
	}
}

func TestT11AlgorithmConfusionIsRefused(t *testing.T) {
	b := setup(t)
	genuine := b.mint(t, claims(KindAccess))
	parts := strings.Split(genuine, ".")
	kid := b.activeID(PurposeAccess)
	public := b.state.Load().active[PurposeAccess].Public
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(public))
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS256", "ES256", "RS256", "Ed25519", "eddsa"} {
		header := segment(fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kid))
		bad[alg+" unsigned"] = header + "." + parts[1] + "."
		bad[alg+" with the old signature"] = header + "." + parts[1] + "." + parts[2]
	}
	header := segment(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, kid))
	for name, secret := range map[string][]byte{
		"raw": public, "DER": der, "JWKS": b.JWKS(), "kid": []byte(kid), "empty": nil,
		"PEM":    pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"base64": []byte(base64.RawURLEncoding.EncodeToString(public)),
	} {
		bad["HS256 under the public key as "+name] = hs256(secret, header+"."+parts[1])
		// The genuine header, which says EdDSA, over an HMAC.
		bad["genuine header, HMAC under "+name] = hs256(secret, parts[0]+"."+parts[1])
	}
	module := strings.Split(b.mint(t, claims(KindModule)), ".")
	bad["payload of access under the module key"] = hs256(b.state.Load().active[PurposeModule].secret, module[0]+"."+parts[1])
	bad["header of module, signature of access"] = module[0] + "." + parts[1] + "." + parts[2]
	refuseAll(t, b, bad)
}

func TestOnlyTheCompactFormIsAToken(t *testing.T) {
	b := setup(t)
	s := b.mint(t, claims(KindAccess))
	p := strings.Split(s, ".")
	refuseAll(t, b, map[string]string{
		"empty":              "",
		"dots":               "..",
		"two parts":          p[0] + "." + p[1],
		"no signature":       p[0] + "." + p[1] + ".",
		"no payload":         p[0] + ".." + p[2],
		"no header":          "." + p[1] + "." + p[2],
		"fourth part":        s + "." + p[2],
		"empty fourth part":  s + ".",
		"leading empty part": "." + s,
		"JWE":                s + "." + p[1] + "." + p[2],
		"JSON serialisation": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, p[0], p[1], p[2]),
		"general JSON":       fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, p[1], p[0], p[2]),
		"padded":             p[0] + "=." + p[1] + "=." + p[2] + "==",
		"padded signature":   s + "==",
		"standard alphabet":  strings.NewReplacer("-", "+", "_", "/").Replace(s) + "+/",
		"space":              " " + s,
		"line break":         s + "\n",
		"break in signature": p[0] + "." + p[1] + "." + p[2][:40] + "\r\n" + p[2][40:],
		"break in payload":   p[0] + "." + p[1][:40] + "\n" + p[1][40:] + "." + p[2],
		"bearer":             "Bearer " + s,
		"quoted":             `"` + s + `"`,
		"comma":              s + "," + s,
		"percent":            strings.Replace(s, ".", "%2E", 1),
		"homoglyph dot":      strings.Replace(s, ".", "․", 1),
	})
}

func TestOtherThanThreePartsAreMalformed(t *testing.T) {
	b := setup(t)
	s := b.mint(t, claims(KindAccess))
	p := strings.Split(s, ".")
	for _, bad := range []string{"", ".", "..", "...", p[0], p[0] + "." + p[1], s + ".", s + "." + p[2], p[0] + "." + s, p[0] + "." + p[1] + "." + p[1] + "." + p[1] + "." + p[2]} {
		if _, err := b.Verify(bad, start, KindAccess); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d parts: %v, want ErrMalformed", strings.Count(bad, ".")+1, err)
		}
	}
}

func TestT12KidInjectionIsRefused(t *testing.T) {
	b := setup(t)
	payload := strings.Split(b.mint(t, claims(KindAccess)), ".")[1]
	_, own, _ := ed25519.GenerateKey(nil)
	bad := map[string]string{}
	for _, kid := range []string{
		``, `../../dev/null`, `/dev/null`, `x' UNION SELECT 'k'--`, b.activeID(PurposeAccess) + `\u0000`,
		`http://127.0.0.1:1/jwks`, `file:///proc/self/environ`, `*`, `%s%n`, b.activeID(PurposeModule), b.activeID(PurposeRefresh),
		strings.Repeat("k", 5<<10), strings.Repeat("k", 10<<10),
	} {
		header := segment(`{"alg":"EdDSA","kid":"` + kid + `","typ":"at+jwt"}`)
		name := fmt.Sprintf("kid %.40q", kid)
		bad[name+" own key"] = signWith(own, header, payload)
		header = segment(`{"alg":"HS256","kid":"` + kid + `","typ":"folio-module+jwt"}`)
		bad[name+" empty secret"] = hs256(nil, header+"."+payload)
	}
	refuseAll(t, b, bad)
}

func signWith(private ed25519.PrivateKey, header, payload string) string {
	input := header + "." + payload
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, []byte(input)))
}

// A signature by the genuine key does not help either: a header that we do
// not write ourselves is refused whatever it says.
func TestT13EmbeddedKeysAndOtherParametersAreRefused(t *testing.T) {
	b := setup(t)
	payload := strings.Split(b.mint(t, claims(KindAccess)), ".")[1]
	ours := b.state.Load().active[PurposeAccess]
	public, own, _ := ed25519.GenerateKey(nil)
	x := base64.RawURLEncoding.EncodeToString(public)
	bad := map[string]string{}
	for _, extra := range []string{
		`"jwk":{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}`,
		`"jku":"http://127.0.0.1:1/jwks.json"`, `"x5u":"http://127.0.0.1:1/cert.pem"`,
		`"x5c":["MIIB"]`, `"x5t":"AAAA"`, `"crit":["b64"],"b64":false`, `"crit":[]`, `"zip":"DEF"`,
		`"b64":false`, `"cty":"JWT"`, `"p2c":2147483647`, `"alg":"none"`, `"nonce":"1"`,
	} {
		for _, kid := range []string{ours.ID, "another"} {
			header := segment(`{"alg":"EdDSA","kid":"` + kid + `","typ":"at+jwt",` + extra + `}`)
			bad["own key, "+kid+" "+extra] = signWith(own, header, payload)
			bad["genuine key, "+kid+" "+extra] = signWith(ours.signer.(ed25519.PrivateKey), header, payload)
		}
	}
	for _, header := range []string{
		`{"typ":"at+jwt","alg":"EdDSA","kid":"` + ours.ID + `"}`, `{"alg":"EdDSA","kid":"` + ours.ID + `"}`,
		`{ "alg":"EdDSA","kid":"` + ours.ID + `","typ":"at+jwt"}`, `{"alg":"EdDSA","kid":"` + ours.ID + `","typ":"JWT"}`,
		`{"alg":"EdDSA","kid":"` + ours.ID + `","typ":"application/at+jwt"}`, `{"ALG":"EdDSA","kid":"` + ours.ID + `","typ":"at+jwt"}`,
		`{}`, `[]`, `null`, `"EdDSA"`, ``,
	} {
		bad["genuine key, header "+header] = signWith(ours.signer.(ed25519.PrivateKey), segment(header), payload)
	}
	refuseAll(t, b, bad)
}

func TestT17BombsAreRefusedByLength(t *testing.T) {
	b := setup(t)
	h := b.state.Load().mint[KindAccess]
	deep := strings.Repeat("[", 100_000)
	refuseAll(t, b, map[string]string{
		"100,000 brackets":      h.segment + "." + segment(deep) + ".AAAA",
		"signed deep payload":   b.forge(KindModule, strings.Repeat("[", 5000)),
		"signed deep claim":     b.forge(KindModule, `{"type":`+strings.Repeat(`{"a":`, 900)),
		"8 MiB":                 strings.Repeat("A", 8<<20),
		"8 MiB of dots":         strings.Repeat(".", 8<<20),
		"JWE with zip":          segment(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`) + "..AAAA.AAAA.AAAA",
		"access of over 4 KiB":  b.forge(KindAccess, strings.Repeat(" ", 3<<10)),
		"PBES2, two billion it": segment(`{"alg":"PBES2-HS256+A128KW","p2c":2147483647}`) + ".AAAA.AAAA.AAAA.AAAA",
	})
}

func TestT17LengthIsCheckedBeforeTheSignature(t *testing.T) {
	b := setup(t)
	c, err := b.Verify(b.forge(KindAccess, strings.Repeat(" ", 4<<10)), start, KindAccess)
	if !errors.Is(err, ErrMalformed) || c.Tenant != "" {
		t.Errorf("genuine signature over 4 KiB: %v, want ErrMalformed", err)
	}
}

// S + L verifies too if the scalar's range is not checked: a second valid
// signature that its holder can make without the key.
func TestT18MalleableSignaturesAreRefused(t *testing.T) {
	b := setup(t)
	s := b.mint(t, claims(KindAccess))
	dot := strings.LastIndexByte(s, '.')
	signature, err := base64.RawURLEncoding.DecodeString(s[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	scalar := slices.Clone(signature[32:])
	slices.Reverse(scalar)
	sum := new(big.Int).Add(new(big.Int).SetBytes(scalar), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	zero := make([]byte, 64)
	refuseAll(t, b, map[string]string{
		"S + L":       s[:dot+1] + base64.RawURLEncoding.EncodeToString(append(signature[:32:32], sum...)),
		"S = 0":       s[:dot+1] + base64.RawURLEncoding.EncodeToString(append(signature[:32:32], zero[:32]...)),
		"all zero":    s[:dot+1] + base64.RawURLEncoding.EncodeToString(zero),
		"32 bytes":    s[:dot+1] + base64.RawURLEncoding.EncodeToString(signature[:32]),
		"65 bytes":    s[:dot+1] + base64.RawURLEncoding.EncodeToString(append(signature, 0)),
		"DER wrapped": s[:dot+1] + base64.RawURLEncoding.EncodeToString(append([]byte{0x30, 64}, signature...)),
	})
}

// deviations are payloads that differ from a good one in one thing. Where the
// kind does not have what is changed, the payload stays good.
func deviations(good string) map[string]string {
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	return map[string]string{
		"null": "null", "array": "[" + good + "]", "text": `"x"`, "empty object": "{}",
		"trailing":           good + "{}",
		"trailing space":     good + " ",
		"leading space":      " " + good,
		"byte order mark":    "\ufeff" + good,
		"unknown claim":      replace(`{`, `{"admin":true,`),
		"duplicate":          replace(`{`, `{"tenant":"other",`),
		"case folded":        replace(`"tenant"`, `"Tenant"`),
		"long s":             replace(`"sub"`, `"ſub"`),
		"escaped name":       replace(`"sub"`, `"\u0073ub"`),
		"escaped value":      replace(`"diku"`, `"\u0064iku"`),
		"invalid UTF-8":      replace(`"diku"`, "\"di\xffku\""),
		"null tenant":        replace(`"diku"`, `null`),
		"number as tenant":   replace(`"diku"`, `1`),
		"exp as text":        replace(`1704067800`, `"1704067800"`),
		"exp as fraction":    replace(`1704067800`, `1704067800.5`),
		"exp with exponent":  replace(`1704067800`, `17040678e2`),
		"exp of 1e400":       replace(`1704067800`, `1e400`),
		"exp out of range":   replace(`1704067800`, `9223372036854775808`),
		"negative exp":       replace(`1704067800`, `-1704067800`),
		"exp is iat":         replace(`1704067800`, `1704067200`),
		"no exp":             replace(`,"exp":1704067800`, ``),
		"no iat":             replace(`,"iat":1704067200`, ``),
		"no tenant":          replace(`,"tenant":"diku"`, ``),
		"empty tenant":       replace(`"diku"`, `""`),
		"no iss":             replace(`,"iss":"https://folio.example.org"`, ``),
		"no aud":             replace(`,"aud":"folio"`, ``),
		"wrong iss":          replace(`https://folio.example.org`, `https://folio.example.org/`),
		"wrong aud":          replace(`"aud":"folio"`, `"aud":"other"`),
		"aud as list":        replace(`"aud":"folio"`, `"aud":["folio"]`),
		"no te":              replace(`,"te":2`, ``),
		"negative te":        replace(`"te":2`, `"te":-2`),
		"not before":         replace(`{`, `{"nbf":1,`),
		"sid of zeros":       replace(`0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11`, `00000000-0000-0000-0000-000000000000`),
		"sid in capitals":    replace(`0d5f4b5e-5f0b`, `0D5F4B5E-5F0B`),
		"sid in braces":      replace(`0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11`, `{0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11}`),
		"no sid":             replace(`,"sid":"0d5f4b5e-5f0b-4f0c-8a50-1b7d3c3f9c11"`, ``),
		"no gen":             replace(`,"gen":7`, ``),
		"no ue":              replace(`,"ue":3`, ``),
		"no permissions":     replace(`,"extra_permissions"`, `,"x"`),
		"permissions null":   replace(`["perms.users.get"]`, `null`),
		"permission null":    replace(`["perms.users.get"]`, `[null]`),
		"permissions as one": replace(`["perms.users.get"]`, `"perms.users.get"`),
		"dummy false":        replace(`"dummy":true`, `"dummy":false`),
		"no dummy":           replace(`,"dummy":true`, ``),
		"auth_time 0":        replace(`"auth_time":1704063600`, `"auth_time":0`),
	}
}

// Payloads signed by the genuine key that Mint would not have written.
func TestSignedPayloadsAreReadStrictly(t *testing.T) {
	b := setup(t)
	for _, kind := range allKinds {
		good := payloadOf(t, b, kind)
		if got, err := b.Verify(b.forge(kind, good), start, kind); err != nil || !cmp.Equal(got, claims(kind)) {
			t.Fatalf("%s: the payload itself: %v", kind, err)
		}
		replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
		bad := deviations(good)
		for _, other := range allKinds {
			if other != kind {
				bad["type "+string(other)] = replace(`"type":"`+string(kind)+`"`, `"type":"`+string(other)+`"`)
				bad["payload of "+string(other)] = payloadOf(t, b, other)
			}
		}
		bad["extra permissions"] = replace(`{`, `{"extra_permissions":["perms.all"],`)
		bad["elevated permissions"] = replace(`{`, `{"elevated_permissions":["perms.all"],`)
		for name, payload := range bad {
			// A claim that this kind does not have makes no bad payload of it.
			mayStay := payload == good || name == "no sid" && kind == KindModule
			if _, err := b.Verify(b.forge(kind, payload), start, kind); !mayStay && !errors.Is(err, ErrClaims) {
				t.Errorf("%s, %s: %v, want ErrClaims", kind, name, err)
			}
		}
	}
}

// Under a genuine signature too, the text of a payload has one spelling.
func TestSignedPayloadsAreDecodedStrictly(t *testing.T) {
	b := setup(t)
	for _, subject := range []string{"a", "ab", "abc"} { // payloads of every length modulo 3
		c := claims(KindModule)
		c.Subject = subject
		p := strings.Split(b.mint(t, c), ".")
		for _, payload := range []string{
			p[1] + "=", p[1] + "==", p[1] + "\n", p[1] + "\r\n", p[1][:40] + "\n" + p[1][40:], p[1][:40] + "+/" + p[1][42:], p[1] + "!",
		} {
			s := hs256(b.state.Load().active[PurposeModule].secret, p[0]+"."+payload)
			if _, err := b.Verify(s, start, KindModule); !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: %v, want ErrMalformed", payload, err)
			}
		}
	}
}

func payloadOf(t *testing.T, b bundle, kind Kind) string {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(b.mint(t, claims(kind)), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

func TestTokensOfAnotherIssuerOrAudienceWithTheSameKeysAreRefused(t *testing.T) {
	b := setup(t)
	for _, edit := range []func(*Config){
		func(c *Config) { c.Issuer = "https://other.example.org" },
		func(c *Config) { c.Audience = "other" },
	} {
		config := b.config()
		edit(&config)
		other, err := OpenRing(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range allKinds {
			if _, err := other.Verify(b.mint(t, claims(kind)), start, kind); !errors.Is(err, ErrClaims) {
				t.Errorf("%s: %v, want ErrClaims", kind, err)
			}
		}
	}
}

func TestErrorsRepeatNothingOfTheToken(t *testing.T) {
	b := setup(t)
	const mark = "Zm9sbG93LW1l"
	bad := []string{
		mark, mark + "." + mark + "." + mark, "cfrt_" + mark + strings.Repeat("A", 66),
		b.state.Load().mint[KindAccess].segment + "." + mark + "." + mark,
		b.forge(KindAccess, `{"`+mark+`":"`+mark+`"}`), b.forge(KindModule, `{"type":"`+mark+`"}`),
	}
	for _, s := range bad {
		_, verify := b.Verify(s, start.Add(time.Hour), allKinds...)
		_, open := b.OpenRefresh(s)
		for _, err := range []error{verify, open} {
			if err == nil || strings.Contains(err.Error(), mark) {
				t.Errorf("error %v of %q", err, s)
			}
		}
	}
}
