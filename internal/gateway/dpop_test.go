package gateway_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/gateway"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// boundToken is an access token that is bound to a key, and what makes proofs.
func (w *world) boundToken() (access string, proof func(method, url string) string) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	thumb, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	w.must(err)
	claims, err := w.ring.Verify(w.access(), w.Now(), token.KindAccess)
	w.must(err)
	claims.Confirm = token.ConfirmKey(base64.RawURLEncoding.EncodeToString(thumb))
	access, err = w.ring.Mint(claims)
	w.must(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	w.must(err)
	sum := sha256.Sum256([]byte(access))
	return access, func(method, url string) string {
		payload, err := json.Marshal(map[string]any{
			"jti": rand.Text(), "htm": method, "htu": url, "iat": w.Now().Unix(), "ath": base64.RawURLEncoding.EncodeToString(sum[:]),
		})
		w.must(err)
		signed, err := signer.Sign(payload)
		w.must(err)
		text, err := signed.CompactSerialize()
		w.must(err)
		return text
	}
}

func (w *world) asked(base, method, path string, header ...string) (status int, h http.Header) {
	w.t.Helper()
	r, err := http.NewRequest(method, base+path, nil)
	w.must(err)
	r.Header.Set("X-Okapi-Tenant", "diku")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	w.must(err)
	a.Body.Close()
	return a.StatusCode, a.Header
}

func TestModulesSeeNothingOfAProof(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) { g.PublicURL = "https://folio.example.org/okapi" })
	var seen http.Header
	w.module(ordersDescriptor, func(rw http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		rw.WriteHeader(http.StatusOK)
	})
	access, proof := w.boundToken()
	const url = "https://folio.example.org/okapi/orders"
	if status, h := w.asked(w.public, "GET", "/orders?limit=1", "Authorization", "DPoP "+access, "DPoP", proof("GET", url)); status != 200 {
		t.Fatalf("%d %v", status, h)
	}
	if seen.Get("DPoP") != "" || seen.Get("Authorization") != "" {
		t.Errorf("%v", seen)
	}
	c, err := w.ring.Verify(seen.Get("X-Okapi-Token"), w.Now(), token.KindModule)
	if err != nil || c.Confirm != "" {
		t.Errorf("module token: %+v %v", c, err)
	}
	// The path before it was rewritten is the one that the client knows.
	invoke := "/_/invoke/tenant/diku/orders"
	if status, _ := w.asked(w.public, "GET", invoke, "Authorization", "dpop "+access, "DPoP", proof("GET", "https://folio.example.org/okapi"+invoke)); status != 200 {
		t.Errorf("invoke: %d", status)
	}
	if status, _ := w.asked(w.public, "GET", invoke, "Authorization", "DPoP "+access, "DPoP", proof("GET", url)); status != 401 {
		t.Errorf("a proof for where invoke leads: %d", status)
	}
	w.advance(2 * time.Minute)
	if status, _ := w.asked(w.public, "GET", "/orders", "Authorization", "DPoP "+access, "DPoP", proof("GET", url)); status != 200 {
		t.Errorf("later: %d", status)
	}
}

func TestBoundTokensAreRefusedWhereNoURLIsKnown(t *testing.T) {
	w := newWorld(t, nil) // no public URL
	w.module(ordersDescriptor, orders)
	access, proof := w.boundToken()
	status, h := w.asked(w.public, "GET", "/orders", "Authorization", "DPoP "+access, "DPoP", proof("GET", w.public+"/orders"))
	if status != 401 || !strings.HasPrefix(h.Get("WWW-Authenticate"), "DPoP") {
		t.Errorf("%d %v", status, h)
	}
}

// A proxy that asks tells the URL, if it is one that sets these headers itself.
func TestForwardAuthTakesProofsWhereTheProxyTellsTheURL(t *testing.T) {
	w := newWorld(t, func(g *gateway.Gateway, _ *session.Service) {
		g.PublicURL, g.Proxies = "https://folio.example.org/okapi", []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	access, proof := w.boundToken()
	verify := w.listen(observed(w.gateway.Verify(http.NotFoundHandler())))
	const path = gateway.VerifyPath + "?need=token"
	caddy := []string{"X-Forwarded-Uri", "/app?x", "X-Forwarded-Method", "PUT", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example.org"}
	bound := func(url string) []string {
		return []string{"Authorization", "DPoP " + access, "DPoP", proof("PUT", url)}
	}
	for name, test := range map[string]struct {
		header []string
		status int
	}{
		"Caddy":         {append(bound("https://app.example.org/app"), caddy...), 200},
		"another app's": {append(bound("https://other.example.org/app"), caddy...), 401},
		"as Bearer":     {append([]string{"Authorization", "Bearer " + access}, caddy...), 401},
		"nginx": {append(bound("https://app.example.org/app"), "X-Original-Uri", "/app", "X-Original-Method", "PUT",
			"X-Forwarded-Proto", "https", "X-Forwarded-Host", "app.example.org"), 401},
	} {
		if status, h := w.asked(verify, "GET", path, test.header...); status != test.status {
			t.Errorf("%s: %d %v", name, status, h)
		}
	}
}

func TestUnboundTokensPayNothingForProofs(t *testing.T) {
	for name, h := range map[string]http.Header{
		"X-Okapi-Token": {"X-Okapi-Token": {"a.b.c"}, "X-Okapi-Tenant": {"diku"}},
		"Bearer":        {"Authorization": {"Bearer a.b.c"}, "X-Okapi-Tenant": {"diku"}},
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = gateway.ExtractClaim(h, "", gateway.UnverifiedTenant) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
