// Package oauth serves HTTP in the shapes of the RFCs, for clients that know
// OAuth and nothing of FOLIO: the endpoints of RFC 6749 with PKCE, revocation,
// introspection, metadata, and the keys with which others verify access tokens.
//
// It holds no rule of its own about tokens or sessions, and FOLIO's shapes
// belong to package folio: paths, casing and errors of the two differ.
package oauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Handler serves this package's endpoints.
type Handler struct {
	Ring *token.Ring
	// Sessions decides; nil serves the keys alone.
	Sessions *session.Service
	// Issuer is the one that tokens name, and Base the public URL, empty if it is
	// not known. Prefix is Base's path.
	Issuer, Base, Prefix string
	// TrustedOrigins are the origins whose pages may send the login form, beside
	// our own.
	TrustedOrigins []string
	// Guard runs serve for a user whose access token holds; see folio.Handler.
	Guard func(permissions []string, serve func(http.ResponseWriter, *http.Request, session.Caller)) http.Handler
	// Log is for faults at our end; nil is silence.
	Log *slog.Logger

	origins *http.CrossOriginProtection
}

// Mount adds the endpoints to mux. They need no token.
func (h *Handler) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /.well-known/jwks.json", h.jwks)
	if h.Sessions == nil {
		return
	}
	h.origins = http.NewCrossOriginProtection()
	for _, origin := range h.TrustedOrigins {
		if err := h.origins.AddTrustedOrigin(origin); err != nil && h.Log != nil {
			h.Log.Error("origin is not trusted: it must read like https://ui.example.org", "origin", origin)
		}
	}
	mux.HandleFunc("GET "+metadataPath, h.metadata)
	mux.HandleFunc("GET "+openIDPath, h.openID)
	mux.HandleFunc(authorizePath, h.authorize)
	mux.HandleFunc(logoutPath, h.endSession)
	mux.Handle(userinfoPath, h.bearer(h.Guard(nil, h.userinfo)))
	mux.Handle(tokenPath, h.endpoint(h.token))
	mux.Handle(revokePath, h.endpoint(h.revoke))
	mux.Handle(introspectPath, h.endpoint(h.introspect))
	mux.Handle(deviceAskPath, h.endpoint(h.askForDevice))
	mux.HandleFunc(devicePath, h.device)
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
