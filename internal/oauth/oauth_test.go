package oauth

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/token"
)

// memory is a token.KeyStore for one ring.
type memory map[[2]string]token.StoredKey

func (m memory) Keys(context.Context) ([]token.StoredKey, error) {
	return slices.Collect(maps.Values(m)), nil
}

func (m memory) SaveKeys(_ context.Context, keys []token.StoredKey) error {
	for _, k := range keys {
		m[[2]string{k.Purpose, k.ID}] = k
	}
	return nil
}

func setup(t *testing.T) (*token.Ring, func(method, path string, header http.Header) *http.Response) {
	ring, err := token.OpenRing(t.Context(), token.Config{
		Store: memory{}, Master: []byte("0123456789abcdefghijklmnopqrstuv"),
		Issuer: "https://folio.example.org", Audience: "folio",
		Now: func() time.Time { return time.Unix(1704067200, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	(&Handler{Ring: ring}).Mount(mux)
	return ring, func(method, path string, header http.Header) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		maps.Copy(r.Header, header)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
}

func TestJWKSIsServedWithItsTypeAndLifetime(t *testing.T) {
	ring, send := setup(t)
	answer := send("GET", "/.well-known/jwks.json", nil)
	if answer.StatusCode != 200 || answer.Header.Get("ETag") == "" {
		t.Fatalf("status %d, ETag %q", answer.StatusCode, answer.Header.Get("ETag"))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%d keys, %v", len(set.Keys), err)
	}
	active := ring.Keys()[slices.IndexFunc(ring.Keys(), func(k token.KeyInfo) bool { return k.Purpose == token.PurposeAccess })]
	want := map[string]string{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": active.ID, "x": set.Keys[0]["x"],
	}
	if diff := cmp.Diff(want, set.Keys[0]); diff != "" || len(want["x"]) != 43 {
		t.Error(diff) // a member d, the private half, would show here
	}
}

func TestJWKSIsNotSentAgainUntilAKeyChanges(t *testing.T) {
	ring, send := setup(t)
	const path = "/.well-known/jwks.json"
	tag := send("GET", path, nil).Header.Get("ETag")
	known := http.Header{"If-None-Match": {`"other", ` + tag}}
	answer := send("GET", path, known)
	if answer.StatusCode != 304 || answer.ContentLength > 0 || answer.Header.Get("ETag") != tag || answer.Header.Get("Cache-Control") == "" {
		t.Errorf("known tag: status %d, headers %v", answer.StatusCode, answer.Header)
	}
	if _, err := ring.Rotate(t.Context(), token.PurposeAccess, "", false); err != nil {
		t.Fatal(err)
	}
	answer = send("GET", path, known)
	if answer.StatusCode != 200 || answer.Header.Get("ETag") == tag {
		t.Errorf("after a rotation: status %d, ETag %q", answer.StatusCode, answer.Header.Get("ETag"))
	}
}

func TestJWKSIsReadOnly(t *testing.T) {
	_, send := setup(t)
	if got := send("HEAD", "/.well-known/jwks.json", nil); got.StatusCode != 200 || got.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: status %d, headers %v", got.StatusCode, got.Header)
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		if got := send(method, "/.well-known/jwks.json", nil); got.StatusCode != 405 {
			t.Errorf("%s: status %d", method, got.StatusCode)
		}
	}
}
