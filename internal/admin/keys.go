package admin

import (
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// keyView is what may be told about a key.
type keyView struct {
	ID          string     `json:"id"`
	Purpose     string     `json:"purpose"`
	State       string     `json:"state"`
	Algorithm   string     `json:"algorithm"`
	CreatedAt   *time.Time `json:"createdAt,omitempty"`
	ActivatedAt *time.Time `json:"activatedAt,omitempty"`
	RetiredAt   *time.Time `json:"retiredAt,omitempty"`
	RemovedAt   *time.Time `json:"removedAt,omitempty"`
	DueAt       *time.Time `json:"dueAt,omitempty"`
}

func viewKey(k token.KeyInfo) keyView {
	return keyView{
		ID: k.ID, Purpose: k.Purpose, State: k.State, Algorithm: k.Algorithm,
		CreatedAt: set(k.CreatedAt), ActivatedAt: set(k.ActivatedAt), RetiredAt: set(k.RetiredAt),
		RemovedAt: set(k.RemovedAt), DueAt: set(k.DueAt),
	}
}

func set(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (h *Handler) listKeys(w http.ResponseWriter, _ *http.Request) error {
	keys := h.Tokens.Keys()
	views := make([]keyView, len(keys))
	for i, k := range keys {
		views[i] = viewKey(k)
	}
	return answer(w, http.StatusOK, map[string]any{"keys": views})
}

func (h *Handler) rotateKey(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	k, err := h.Tokens.Rotate(r.Context(), r.PathValue("purpose"), q.Get("algorithm"), q.Get("now") == "true")
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, viewKey(k))
}

func (h *Handler) retireKey(w http.ResponseWriter, r *http.Request) error {
	if err := h.Tokens.Retire(r.Context(), r.PathValue("purpose"), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) removeKey(w http.ResponseWriter, r *http.Request) error {
	if err := h.Tokens.Remove(r.Context(), r.PathValue("purpose"), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
