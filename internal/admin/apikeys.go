package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// The permissions by which an operator of the supertenant manages keys without
// the token of the run. Whoever makes keys can act as any user.
const (
	permListAPIKeys  = "counterfoil.api-keys.collection.get"
	permMakeAPIKey   = "counterfoil.api-keys.item.post"
	permChangeAPIKey = "counterfoil.api-keys.item.put"
	permEndAPIKey    = "counterfoil.api-keys.item.delete"
)

// Permissions is the set of them.
var Permissions = directory.PermissionSet{
	Name: "counterfoil.api-keys.all", DisplayName: "Counterfoil: make, change and end API keys of all tenants",
	Sub: []string{permListAPIKeys, permMakeAPIKey, permChangeAPIKey, permEndAPIKey},
}

func (h *Handler) mountAPIKeys(mux *http.ServeMux) {
	for pattern, one := range map[string]struct {
		permission string
		serve      func(http.ResponseWriter, *http.Request) error
	}{
		"GET /counterfoil/api-keys":              {permListAPIKeys, h.listAPIKeys},
		"POST /counterfoil/api-keys":             {permMakeAPIKey, h.createAPIKey},
		"POST /counterfoil/api-keys/import":      {permMakeAPIKey, h.importAPIKey},
		"PUT /counterfoil/api-keys/{id}":         {permChangeAPIKey, h.changeAPIKey},
		"POST /counterfoil/api-keys/{id}/rotate": {permChangeAPIKey, h.rotateAPIKey},
		"POST /counterfoil/api-keys/{id}/resume": {permChangeAPIKey, h.resumeAPIKey},
		"POST /counterfoil/api-keys/{id}/revoke": {permEndAPIKey, h.revokeAPIKey},
		"DELETE /counterfoil/api-keys/{id}":      {permEndAPIKey, h.deleteAPIKey},
	} {
		mux.Handle(pattern, h.permitted(one.permission, one.serve))
	}
}

// apiKeyView is a key as operators see one. Its secret is there only in the
// answer to the request that made it.
type apiKeyView struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Kind        apikey.Kind    `json:"kind"`
	State       apikey.State   `json:"state"`
	Tenant      string         `json:"tenant"`
	UserID      string         `json:"userId"`
	Username    string         `json:"username,omitempty"`
	Routes      []apikey.Route `json:"routes"`
	Permissions []string       `json:"permissions"`
	CreatedAt   time.Time      `json:"createdAt"`
	ExpiresAt   *time.Time     `json:"expiresAt,omitempty"`
	OldUntil    *time.Time     `json:"oldSecretUntil,omitempty"`
	LastUsedAt  *time.Time     `json:"lastUsedAt,omitempty"`
	RevokedAt   *time.Time     `json:"revokedAt,omitempty"`
	StoppedAt   *time.Time     `json:"stoppedAt,omitempty"`
	Session     string         `json:"session,omitempty"`
	Secret      string         `json:"secret,omitempty"`
	// Lacking are permissions of the scope that the user does not have: no fault,
	// but perhaps not what was meant.
	Lacking []string `json:"lacking,omitempty"`
}

func (h *Handler) viewAPIKey(ctx context.Context, k *apikey.Key, secret string) (apiKeyView, error) {
	now := h.Now()
	v := apiKeyView{
		ID: k.ID, Name: k.Name, Kind: k.Kind, State: k.State(now), Tenant: k.Tenant, UserID: k.UserID,
		Routes: k.Routes, Permissions: k.Permissions, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: set(k.ExpiresAt),
		RevokedAt: set(k.RevokedAt), StoppedAt: set(k.StoppedAt), Session: k.Session, Secret: secret,
	}
	if now.Before(k.OldUntil) {
		v.OldUntil = set(k.OldUntil)
	}
	used, err := h.Sessions.Keys.LastUsed(ctx, k)
	if err != nil {
		return v, err
	}
	v.LastUsedAt = set(used)
	access, err := h.Directory.Access(ctx, k.Tenant, k.UserID)
	if err != nil { // the user is kept elsewhere, or the directory is away: the key is there all the same
		return v, nil
	}
	v.Username = access.User.Username
	for _, name := range k.Permissions {
		if name != apikey.Everything && !access.Ordinary.Has(name) {
			v.Lacking = append(v.Lacking, name)
		}
	}
	return v, nil
}

func (h *Handler) answerAPIKey(w http.ResponseWriter, r *http.Request, status int, k *apikey.Key, secret string) error {
	v, err := h.viewAPIKey(r.Context(), k, secret)
	if err != nil && secret == "" {
		return err
	}
	return answer(w, status, v) // a secret that was drawn must be told, whatever else cannot
}

func (h *Handler) listAPIKeys(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Sessions.Keys.List(r.Context())
	if err != nil {
		return err
	}
	tenant, views := r.URL.Query().Get("tenant"), []apiKeyView{}
	for i := range all {
		if tenant != "" && all[i].Tenant != tenant {
			continue
		}
		v, err := h.viewAPIKey(r.Context(), &all[i], "")
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	return answer(w, http.StatusOK, map[string]any{"apiKeys": views})
}

// scopeBody is what may be said about a key's scope.
type scopeBody struct {
	Routes      []apikey.Route `json:"routes"`
	Permissions []string       `json:"permissions"`
	// ExpiresAt is absent for never.
	ExpiresAt time.Time `json:"expiresAt"`
}

func (b *scopeBody) scope() apikey.Scope {
	return apikey.Scope{Routes: b.Routes, Permissions: b.Permissions}
}

func (h *Handler) createAPIKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		scopeBody
		Tenant string `json:"tenant"`
		// User is a name or an id.
		User string `json:"user"`
		Name string `json:"name"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if err := h.knownTenant(in.Tenant); err != nil {
		return err
	}
	user, err := h.user(r.Context(), in.Tenant, in.User)
	if err != nil {
		return err
	}
	k, secret, err := h.Sessions.Keys.Create(r.Context(), session.NewAPIKey{
		Tenant: in.Tenant, UserID: user.ID, Name: in.Name, Scope: in.scope(), ExpiresAt: in.ExpiresAt,
	})
	if err != nil {
		return err
	}
	return h.answerAPIKey(w, r, http.StatusCreated, &k, secret)
}

func (h *Handler) importAPIKey(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		scopeBody
		Name string `json:"name"`
		// Key is the partner's, as the edge module takes it.
		Key string `json:"key"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	secret, err := apikey.Parse(in.Key)
	if err != nil {
		return err
	}
	k, err := h.Sessions.Keys.Import(r.Context(), session.NewAPIKey{Name: in.Name, Scope: in.scope(), ExpiresAt: in.ExpiresAt}, secret)
	if err != nil {
		return err
	}
	return h.answerAPIKey(w, r, http.StatusCreated, &k, "")
}

// changeAPIKey replaces scope and expiry.
func (h *Handler) changeAPIKey(w http.ResponseWriter, r *http.Request) error {
	var in scopeBody
	if err := read(r, &in); err != nil {
		return err
	}
	k, err := h.Sessions.Keys.Rescope(r.Context(), r.PathValue("id"), in.scope(), in.ExpiresAt)
	if err != nil {
		return err
	}
	return h.answerAPIKey(w, r, http.StatusOK, &k, "")
}

// defaultOverlap is how long an old secret holds if nobody says otherwise: time
// for a partner to change it on a working day.
const defaultOverlap = 7 * 24 * time.Hour

func (h *Handler) rotateAPIKey(w http.ResponseWriter, r *http.Request) error {
	overlap := defaultOverlap
	if text := r.URL.Query().Get("overlap"); text != "" {
		var err error
		if overlap, err = session.ParseDuration(text); err != nil {
			return &problem{http.StatusBadRequest, "malformed", "overlap must be a duration such as 7d or 0s"}
		}
	}
	k, secret, err := h.Sessions.Keys.Rotate(r.Context(), r.PathValue("id"), overlap)
	if err != nil {
		return err
	}
	return h.answerAPIKey(w, r, http.StatusCreated, &k, secret)
}

// revokeAPIKey answers on how many nodes the key is refused by now.
func (h *Handler) revokeAPIKey(w http.ResponseWriter, r *http.Request) error {
	return h.ending(w, r, func(ctx context.Context) (int, error) {
		k, err := h.Sessions.Keys.Revoke(ctx, r.PathValue("id"))
		if err != nil || k.Session == "" {
			return 0, err
		}
		return 1, nil
	})
}

func (h *Handler) resumeAPIKey(w http.ResponseWriter, r *http.Request) error {
	k, err := h.Sessions.Keys.Resume(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return h.answerAPIKey(w, r, http.StatusOK, &k, "")
}

func (h *Handler) deleteAPIKey(w http.ResponseWriter, r *http.Request) error {
	if err := h.Sessions.Keys.Delete(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
