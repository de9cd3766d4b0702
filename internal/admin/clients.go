package admin

import (
	"cmp"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// clientView is a client as operators see one: without the hashes of its secrets.
type clientView struct {
	session.Client
	SecretHash    string `json:"secret_hash,omitzero"`     // never set
	OldSecretHash string `json:"old_secret_hash,omitzero"` // never set
	// Authentication is how the client proves who it is, Source where it is kept:
	// config, or store.
	Authentication string `json:"token_endpoint_auth_method"`
	Source         string `json:"source"`
	// Secret is told once.
	Secret string `json:"client_secret,omitzero"`
}

func viewClient(c *session.Client, source, secret string) clientView {
	v := clientView{Client: *c, Source: source, Secret: secret, Authentication: "none"}
	switch {
	case c.SecretHash != "":
		v.Authentication = "client_secret_basic"
	case len(c.Keys) > 0:
		v.Authentication = "private_key_jwt"
	case len(c.Certificates) > 0:
		v.Authentication = "self_signed_tls_client_auth"
	}
	return v
}

func (h *Handler) sourceOf(id string) string {
	if h.Sessions.Clients[id] != nil {
		return "config"
	}
	return "store"
}

func (h *Handler) mountClients(mux *http.ServeMux) {
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /counterfoil/clients":              h.listClients,
		"POST /counterfoil/clients":             h.createClient,
		"GET /counterfoil/clients/{id}":         h.showClient,
		"PUT /counterfoil/clients/{id}":         h.changeClient,
		"POST /counterfoil/clients/{id}/secret": h.rotateClient,
		"DELETE /counterfoil/clients/{id}":      h.removeClient,
	} {
		mux.Handle(pattern, h.guarded(serve))
	}
}

func (h *Handler) listClients(w http.ResponseWriter, r *http.Request) error {
	tenant, views := r.URL.Query().Get("tenant"), []clientView{}
	for _, c := range h.Sessions.AllClients() {
		if tenant == "" || c.Tenant == tenant {
			views = append(views, viewClient(c, h.sourceOf(c.ID), ""))
		}
	}
	return answer(w, http.StatusOK, map[string]any{"clients": views})
}

func (h *Handler) showClient(w http.ResponseWriter, r *http.Request) error {
	c := h.Sessions.Client(r.PathValue("id"))
	if c == nil {
		return session.ErrNotFound
	}
	return answer(w, http.StatusOK, viewClient(c, h.sourceOf(c.ID), ""))
}

// clientFields is what of a client may be sent. A client may come with the hash of a
// secret, as from a configuration.
type clientFields struct {
	session.Client
	// Secret asks for one.
	Secret bool `json:"secret"`
}

func (h *Handler) createClient(w http.ResponseWriter, r *http.Request) error {
	var in clientFields
	if err := read(r, &in); err != nil {
		return err
	}
	if _, known := h.Directory.Tenant(in.Tenant); !known {
		return &problem{http.StatusUnprocessableEntity, "invalid", "there is no such tenant"}
	}
	c, secret, err := h.Sessions.RegisterClient(r.Context(), in.Client, in.Secret)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, viewClient(c, "store", secret))
}

// changeClient replaces what may be sent of a client. Its secret stays.
func (h *Handler) changeClient(w http.ResponseWriter, r *http.Request) error {
	var in clientFields
	if err := read(r, &in); err != nil {
		return err
	}
	c, err := h.Sessions.ChangeClient(r.Context(), r.PathValue("id"), func(c *session.Client) error {
		next := in.Client
		next.SecretHash, next.OldSecretHash, next.OldSecretUntil = c.SecretHash, c.OldSecretHash, c.OldSecretUntil
		next.ID, next.Tenant = cmp.Or(next.ID, c.ID), cmp.Or(next.Tenant, c.Tenant)
		*c = next
		return nil
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewClient(&c, "store", ""))
}

// longestOldSecret bounds how long two secrets of a client are taken.
const longestOldSecret = 30 * 24 * time.Hour

func (h *Handler) rotateClient(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Keep session.Duration `json:"keep"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	if in.Keep < 0 || in.Keep.Std() > longestOldSecret {
		return &problem{http.StatusUnprocessableEntity, "invalid", "keep must be 30d at most"}
	}
	c, secret, err := h.Sessions.RotateClientSecret(r.Context(), r.PathValue("id"), in.Keep.Std())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, viewClient(&c, "store", secret))
}

func (h *Handler) removeClient(w http.ResponseWriter, r *http.Request) error {
	n, err := h.Sessions.RemoveClient(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]int{"ended": n})
}
