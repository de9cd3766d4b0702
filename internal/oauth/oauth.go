// Package oauth serves HTTP in the shapes of the RFCs, for clients that know
// OAuth and nothing of FOLIO. It publishes the keys with which others verify
// access tokens: the JWK set of RFC 7517.
//
// It holds no rule of its own about tokens or sessions, and FOLIO's shapes
// belong to package folio: paths, casing and errors of the two differ.
package oauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// Handler serves this package's endpoints.
type Handler struct {
	Ring *token.Ring
}

// Mount adds the endpoints to mux. They need no token.
func (h *Handler) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /.well-known/jwks.json", h.jwks)
}

// jwks answers with the public keys. Caches may keep them for five minutes, or
// less where keys are published for a shorter time before they sign. A key that was removed
// in an emergency is refused by Counterfoil at once, by others when they fetch
// again.
func (h *Handler) jwks(w http.ResponseWriter, r *http.Request) {
	set := h.Ring.JWKS()
	sum := sha256.Sum256(set)
	header := w.Header()
	header.Set("Content-Type", "application/jwk-set+json")
	header.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(h.Ring.JWKSAge().Seconds())))
	header.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	header.Set("X-Content-Type-Options", "nosniff")
	// ServeContent does HEAD and If-None-Match.
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(set))
}
