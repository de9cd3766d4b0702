package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// signer is a client with a key of its own, which an independent library uses.
type signer struct {
	*standards
	keys map[string]crypto.Signer
}

func openSigner(t *testing.T, adjust func(*server.Config)) *signer {
	t.Helper()
	s := &signer{keys: map[string]crypto.Signer{}}
	var err, err2 error
	s.keys["ES256"], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.keys["RS256"], err2 = rsa.GenerateKey(rand.Reader, 2048)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	s.standards = openStandards(t, func(c *server.Config) {
		var keys []token.JWK
		for algorithm, key := range s.keys {
			text, err := jose.JSONWebKey{Key: key.Public(), Algorithm: algorithm, KeyID: algorithm, Use: "sig"}.MarshalJSON()
			var one token.JWK
			if err == nil {
				err = json.Unmarshal(text, &one)
			}
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, one)
		}
		c.OAuth.Clients = append(c.OAuth.Clients, session.Client{
			ID: "signer", Tenant: "diku", Grants: []string{session.GrantCredentials}, Scopes: []string{"*"}, User: readerID, Keys: keys,
		})
		if adjust != nil {
			adjust(c)
		}
	})
	return s
}

// assertion is what a client signs; nil takes a claim out.
func (s *signer) assertion(algorithm string, change map[string]any) string {
	s.t.Helper()
	now := s.office.config.Now()
	claims := map[string]any{
		"iss": "signer", "sub": "signer", "aud": issuer, "jti": fmt.Sprint("id ", now.UnixNano()), "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(),
	}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	s.must(err)
	by, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: s.keys[algorithm], KeyID: algorithm}}, (&jose.SignerOptions{}).WithType("JWT"))
	s.must(err)
	signed, err := by.Sign(text)
	s.must(err)
	compact, err := signed.CompactSerialize()
	s.must(err)
	return compact
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func (s *signer) present(assertion string, pairs ...string) *oauthReply {
	s.t.Helper()
	return s.tokenOf(append([]string{"grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", assertion}, pairs...)...)
}

func TestOAuthClientsSignWhoTheyAre(t *testing.T) {
	s := openSigner(t, nil)
	for algorithm := range s.keys {
		for _, audience := range []any{issuer, issuer + "/oauth2/token", []string{issuer}} {
			got := s.present(s.assertion(algorithm, map[string]any{"aud": audience}))
			want(t, fmt.Sprint(algorithm, audience), got, 200, "")
			if s.orders(got.json.AccessToken) != http.StatusOK {
				t.Error("the access token does not work")
			}
		}
	}
	now := s.office.config.Now()
	for name, change := range map[string]map[string]any{
		"another issuer":        {"iss": "shop"},
		"another subject":       {"sub": "shop"},
		"both another's":        {"iss": "shop", "sub": "shop"},
		"nobody":                {"iss": "nobody", "sub": "nobody"},
		"no subject":            {"sub": nil},
		"another audience":      {"aud": "https://elsewhere.example.org"},
		"another endpoint":      {"aud": issuer + "/oauth2/revoke"},
		"two audiences":         {"aud": []string{issuer, "https://elsewhere.example.org"}},
		"no audience":           {"aud": nil},
		"audience is a number":  {"aud": 1},
		"no jti":                {"jti": nil},
		"a long jti":            {"jti": strings.Repeat("j", 300)},
		"no end":                {"exp": nil},
		"over":                  {"exp": now.Add(-time.Second).Unix()},
		"good for an hour":      {"exp": now.Add(time.Hour).Unix()},
		"issued in the future":  {"iat": now.Add(time.Minute).Unix()},
		"issued long ago":       {"iat": now.Add(-time.Hour).Unix()},
		"not good yet":          {"nbf": now.Add(time.Minute).Unix()},
		"a claim of other type": {"exp": "soon"},
	} {
		want(t, name, s.present(s.assertion("ES256", change)), 401, "invalid_client")
	}
	good := s.assertion("ES256", nil)
	parts := strings.Split(good, ".")
	foreign := openSigner(t, nil).assertion("ES256", nil)
	for name, raw := range map[string]string{
		"another's key": foreign, "no signature": parts[0] + "." + parts[1] + ".", "alg none": "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"signature of another": parts[0] + "." + parts[1] + "." + strings.Split(foreign, ".")[2], "garbage": "x", "nothing": "",
		"the public key as a secret": s.asSecret(),
	} {
		want(t, name, s.present(raw), 401, "invalid_client")
	}
	want(t, "another type", s.tokenOf("grant_type", "client_credentials", "client_assertion_type", "x", "client_assertion", good), 401, "invalid_client")
	want(t, "no type", s.tokenOf("grant_type", "client_credentials", "client_assertion", good), 401, "invalid_client")
	want(t, "and a secret", s.present(good, "client_secret", s.secret), 400, "invalid_request")
	want(t, "and Basic", s.present(good, "@Authorization", "Basic eDp5"), 400, "invalid_request")
	want(t, "another client_id", s.present(s.assertion("ES256", nil), "client_id", "shop"), 401, "invalid_client")
	want(t, "a secret in place of it", s.tokenOf("grant_type", "client_credentials", "client_id", "signer", "client_secret", s.secret), 401, "invalid_client")
	want(t, "its name alone", s.tokenOf("grant_type", "client_credentials", "client_id", "signer"), 401, "invalid_client")
	want(t, "after all of these", s.present(good), 200, "")
	want(t, "again", s.present(good), 401, "invalid_client")
}

// asSecret is an assertion whose HMAC has the public key for its secret.
func (s *signer) asSecret() string {
	s.t.Helper()
	public, err := x509.MarshalPKIXPublicKey(s.keys["RS256"].Public())
	s.must(err)
	by, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})}, nil)
	s.must(err)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(s.assertion("RS256", nil), ".")[1])
	s.must(err)
	signed, err := by.Sign(payload)
	s.must(err)
	compact, err := signed.CompactSerialize()
	s.must(err)
	return compact
}

func TestOAuthAssertionsAreSingleUseUnder50Tries(t *testing.T) {
	for engine, store := range map[string]func(*server.Config){
		"sqlite":   nil,
		"postgres": func(c *server.Config) { c.Store = pgtest.Database(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			s := openSigner(t, store)
			raw := s.assertion("ES256", nil)
			var tries sync.WaitGroup
			answers := make([]*oauthReply, 50)
			for i := range answers {
				tries.Go(func() { answers[i] = s.present(raw) })
			}
			tries.Wait()
			granted := 0
			for _, a := range answers {
				if a.status == 200 {
					granted++
				}
			}
			if granted != 1 {
				t.Errorf("granted %d times", granted)
			}
		})
	}
}

// selfSigned is a certificate of a client, as nobody else vouches for it.
func selfSigned(t *testing.T, until time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, token.CertificateHash(parsed)
}

// writeServerPair writes what the program shows itself.
func writeServerPair(t *testing.T) server.TLSConfig {
	t.Helper()
	pair, _ := selfSigned(t, time.Now().Add(time.Hour))
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := server.TLSConfig{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, files.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestOAuthClientsShowACertificateAndTokensAreBoundToIt(t *testing.T) {
	mine, hash := selfSigned(t, time.Now().Add(time.Hour))
	over, overHash := selfSigned(t, time.Now().Add(-time.Hour))
	others, _ := selfSigned(t, time.Now().Add(time.Hour))
	s := openStandards(t, func(c *server.Config) {
		c.TLS = writeServerPair(t)
		c.OAuth.Clients = append(c.OAuth.Clients, session.Client{
			ID: "shower", Tenant: "diku", Grants: []string{session.GrantCredentials}, Scopes: []string{"*"}, User: readerID,
			Certificates: []string{hash, overHash}, CertificateBound: true,
		})
	})
	via := func(certificates ...tls.Certificate) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}}
	}
	ask := func(client *http.Client) *oauthReply {
		s.office.client = client
		return s.tokenOf("grant_type", "client_credentials", "client_id", "shower")
	}
	for name, client := range map[string]*http.Client{"none": via(), "another's": via(others), "expired": via(over)} {
		want(t, name, ask(client), 401, "invalid_client")
	}
	got := ask(via(mine))
	want(t, "its own", got, 200, "")
	for name, c := range map[string]struct {
		client *http.Client
		header []string
		status int
	}{
		"with the certificate":   {via(mine), []string{"Authorization", "Bearer " + got.json.AccessToken}, 200},
		"stolen":                 {via(), []string{"Authorization", "Bearer " + got.json.AccessToken}, 401},
		"with another's":         {via(others), []string{"Authorization", "Bearer " + got.json.AccessToken}, 401},
		"as if bound by a proof": {via(mine), []string{"Authorization", "DPoP " + got.json.AccessToken}, 401},
	} {
		s.office.client = c.client
		answer, err := s.send(http.MethodGet, s.URL(server.Public)+"/orders", nil, append(c.header, "X-Okapi-Tenant", "diku")...)
		s.must(err)
		if answer.status != c.status {
			t.Errorf("%s: %d %s", name, answer.status, answer.body)
		}
	}
	s.office.client = via(mine)
	inside := strings.Replace(s.URL(server.Internal), "https:", "http:", 1)
	if u, err := url.Parse(inside); err == nil && u.Scheme == "http" {
		answer, err := s.send(http.MethodGet, inside+"/orders", nil, "Authorization", "Bearer "+got.json.AccessToken, "X-Okapi-Tenant", "diku")
		s.must(err)
		if answer.status != 401 {
			t.Errorf("where no certificate is shown: %d", answer.status)
		}
	}
}
