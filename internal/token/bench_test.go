package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// libraryClaims are the same claims for golang-jwt, which is what one would
// use if nothing were assembled by hand.
type libraryClaims struct {
	Type        Kind     `json:"type"`
	Tenant      string   `json:"tenant"`
	UserID      string   `json:"user_id"`
	ClientID    string   `json:"client_id,omitempty"`
	Session     string   `json:"sid"`
	Gen         uint64   `json:"gen,omitempty"`
	TenantEpoch uint64   `json:"te"`
	UserEpoch   uint64   `json:"ue"`
	AuthTime    int64    `json:"auth_time,omitempty"`
	Module      string   `json:"module,omitempty"`
	RequestID   string   `json:"rid,omitempty"`
	Extra       []string `json:"extra_permissions,omitempty"`
	jwt.RegisteredClaims
}

func forLibrary(c Claims) libraryClaims {
	l := libraryClaims{
		Type: c.Kind, Tenant: c.Tenant, UserID: c.UserID, ClientID: c.ClientID, Session: c.Session.String(), Gen: c.Gen,
		TenantEpoch: c.TenantEpoch, UserEpoch: c.UserEpoch, Module: c.Module, RequestID: c.RequestID, Extra: c.Permissions,
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: c.Issuer, Subject: c.Subject, Audience: jwt.ClaimStrings{c.Audience}, ID: c.ID,
			IssuedAt: jwt.NewNumericDate(c.IssuedAt), ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
	}
	if !c.AuthTime.IsZero() {
		l.AuthTime = c.AuthTime.Unix()
	}
	return l
}

func benchmarkMint(b *testing.B, kind Kind, method jwt.SigningMethod, key func(*Ring) any) {
	r := setup(b)
	c := claims(kind)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Mint(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("golang-jwt", func(b *testing.B) {
		b.ReportAllocs()
		secret := key(r.Ring)
		for b.Loop() {
			t := jwt.NewWithClaims(method, forLibrary(c))
			t.Header["kid"], t.Header["typ"] = "0123456789abcdef", "at+jwt"
			if _, err := t.SignedString(secret); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchmarkVerify(b *testing.B, kind Kind, method jwt.SigningMethod, sign, verify func(*Ring) any) {
	r := setup(b)
	c := claims(kind)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		s := r.mint(b, c)
		for b.Loop() {
			if _, err := r.Verify(s, start, kind); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("golang-jwt", func(b *testing.B) {
		b.ReportAllocs()
		s, err := jwt.NewWithClaims(method, forLibrary(c)).SignedString(sign(r.Ring))
		if err != nil {
			b.Fatal(err)
		}
		parser := jwt.NewParser(jwt.WithValidMethods([]string{method.Alg()}), jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience),
			jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), jwt.WithTimeFunc(func() time.Time { return start }))
		key := verify(r.Ring)
		for b.Loop() {
			var got libraryClaims
			if _, err := parser.ParseWithClaims(s, &got, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func accessSigner(r *Ring) any { return r.state.Load().active[PurposeAccess].signer }
func accessPublic(r *Ring) any { return r.state.Load().active[PurposeAccess].signer.Public() }
func moduleSecret(r *Ring) any { return r.state.Load().active[PurposeModule].secret }

func BenchmarkMintAccess(b *testing.B) {
	benchmarkMint(b, KindAccess, jwt.SigningMethodEdDSA, accessSigner)
}

func BenchmarkVerifyAccess(b *testing.B) {
	benchmarkVerify(b, KindAccess, jwt.SigningMethodEdDSA, accessSigner, accessPublic)
}

func BenchmarkMintModule(b *testing.B) {
	benchmarkMint(b, KindModule, jwt.SigningMethodHS256, moduleSecret)
}

func BenchmarkVerifyModule(b *testing.B) {
	benchmarkVerify(b, KindModule, jwt.SigningMethodHS256, moduleSecret, moduleSecret)
}

func BenchmarkMintRefresh(b *testing.B) {
	r := setup(b)
	bound := binding()
	b.ReportAllocs()
	for b.Loop() {
		r.MintRefresh(bound, 7)
	}
}

func BenchmarkOpenRefresh(b *testing.B) {
	r := setup(b)
	genuine := r.MintRefresh(binding(), 7)
	for name, s := range map[string]string{"genuine": genuine, "forged": genuine[:20] + "AAAA" + genuine[24:]} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.OpenRefresh(s)
			}
		})
	}
}

func BenchmarkRefreshMatches(b *testing.B) {
	r := setup(b)
	bound := binding()
	opened, err := r.OpenRefresh(r.MintRefresh(bound, 7))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.RefreshMatches(bound, opened)
	}
}

// A key that is derived and used once, beside the library that is for many uses.
func BenchmarkOnce(b *testing.B) {
	var secret, salt [32]byte
	info, message := make([]byte, 130, 192), make([]byte, 8)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			key := subkeyOnce(secret[:], &salt, info)
			tagOnce(&key, message)
		}
	})
	b.Run("crypto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h := hmac.New(sha256.New, subkey(secret[:], salt[:], string(info)))
			h.Write(message)
			h.Sum(nil)
		}
	})
}
