package admin

import (
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/counterfoil/counterfoil/internal/session"
)

// importCredentials takes over passwords from mod-login. Each costs as much as a
// login; the size of a body bounds how many there are.
func (h *Handler) importCredentials(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Replace bool                      `json:"replace"`
		Rows    []session.FOLIOCredential `json:"rows"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	tenant := r.PathValue("tenant")
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	results := make([]session.ImportResult, len(in.Rows))
	group, ctx := errgroup.WithContext(r.Context())
	group.SetLimit(max(1, runtime.GOMAXPROCS(0)/2)) // the rest is for logins
	for i, row := range in.Rows {
		group.Go(func() (err error) {
			results[i], err = h.Sessions.ImportCredential(ctx, tenant, row, in.Replace)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"results": results})
}

// importTokens allows refresh tokens of mod-authtoken to become sessions.
func (h *Handler) importTokens(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Tokens []struct {
			ID      string `json:"id"`
			UserID  string `json:"userId"`
			Expires int64  `json:"expires"`
			Revoked bool   `json:"revoked"`
		} `json:"tokens"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	tokens := make([]session.OldToken, len(in.Tokens))
	for i, one := range in.Tokens {
		tokens[i] = session.OldToken{ID: one.ID, UserID: one.UserID, Expires: time.Unix(one.Expires, 0), Revoked: one.Revoked}
	}
	allowed, withdrawn, err := h.Sessions.ImportOldTokens(r.Context(), r.PathValue("tenant"), tokens)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]int{"allowed": allowed, "withdrawn": withdrawn})
}
