package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// userView is a user as the API shows one.
type userView struct {
	directory.User
	Tenant      string   `json:"tenant"`
	Permissions []string `json:"permissions"`
	Elevated    []string `json:"elevated"`
}

func (h *Handler) listUsers(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	limit, err := number(r, "limit", 100, 1000)
	if err != nil {
		return err
	}
	list, err := h.Store.ListUsers(r.Context(), tenant, r.URL.Query().Get("after"), limit)
	if err != nil {
		return err
	}
	next := ""
	if len(list) == limit {
		next = list[limit-1].Username
	}
	return answer(w, http.StatusOK, map[string]any{"users": list, "next": next})
}

// user finds by id or by name, because people know names.
func (h *Handler) user(ctx context.Context, tenant, user string) (directory.User, error) {
	if id, err := uuid.Parse(user); err == nil {
		u, err := h.Store.User(ctx, tenant, id.String())
		if !errors.Is(err, directory.ErrNotFound) {
			return u, err
		}
	}
	return h.Store.UserByName(ctx, tenant, user)
}

func (h *Handler) showUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	grants, err := h.Store.Grants(r.Context(), u.Tenant, u.ID)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return err
	}
	return answer(w, http.StatusOK, userView{User: u, Tenant: u.Tenant, Permissions: grants.Permissions, Elevated: grants.Elevated})
}

// newUser is the body of a creation.
type newUser struct {
	directory.User
	directory.Grants
	// Password may be empty: the user cannot log in until one is set.
	Password string `json:"password"`
}

func (h *Handler) createUser(w http.ResponseWriter, r *http.Request) error {
	in := newUser{User: directory.User{Active: true}}
	if err := read(r, &in); err != nil {
		return err
	}
	in.Tenant = r.PathValue("tenant")
	if err := h.knownTenant(in.Tenant); err != nil {
		return err
	}
	if in.ID == "" {
		in.ID = uuid.NewString()
	}
	if err := validGrants(in.Grants); err != nil {
		return err
	}
	if err := h.Sessions.CreateUser(r.Context(), in.User, in.Grants, in.Password); err != nil {
		return err
	}
	return answer(w, http.StatusCreated, userView{User: in.User, Tenant: in.Tenant, Permissions: in.Permissions, Elevated: in.Elevated})
}

func validGrants(g directory.Grants) error {
	for _, name := range slices.Concat(g.Permissions, g.Elevated) {
		if err := directory.ValidPermission(name); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) updateUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	id := u.ID
	if err := read(r, &u); err != nil {
		return err
	}
	if u.ID != id {
		return &problem{http.StatusUnprocessableEntity, "invalid", "a user's id never changes"}
	}
	n, err := h.Sessions.UpdateUser(r.Context(), u)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"user": u, "ended": n})
}

func (h *Handler) deleteUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	return h.ending(w, r, func(ctx context.Context) (int, error) {
		return h.Sessions.DeleteUser(ctx, u.Tenant, u.ID)
	})
}

func (h *Handler) setPassword(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Password string `json:"password"`
	}
	if err := read(r, &in); err != nil {
		return err
	}
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	n, err := h.Sessions.SetPassword(r.Context(), u.Tenant, u.ID, in.Password, token.SessionID{})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{"ended": n})
}

func (h *Handler) setGrants(w http.ResponseWriter, r *http.Request) error {
	var g directory.Grants
	if err := read(r, &g); err != nil {
		return err
	}
	// A list that was left out must not take everything away.
	if g.Permissions == nil || g.Elevated == nil {
		return &problem{http.StatusUnprocessableEntity, "invalid", "send both lists, permissions and elevated: they replace what was granted"}
	}
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	if err := h.Sessions.SetGrants(r.Context(), u.Tenant, u.ID, g); err != nil {
		return err
	}
	return answer(w, http.StatusOK, g)
}

func (h *Handler) endUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	return h.ending(w, r, func(ctx context.Context) (int, error) {
		return h.Sessions.EndUser(ctx, session.Scope{Tenant: u.Tenant, UserID: u.ID}, session.RevokedByAdmin, audit.SessionRevoked)
	})
}
