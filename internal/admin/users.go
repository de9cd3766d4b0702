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
	if err := h.ours(tenant); err != nil {
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
		u, err := h.users().User(ctx, tenant, id.String())
		if !errors.Is(err, directory.ErrNotFound) {
			return u, h.fault(err)
		}
	}
	u, err := h.users().UserByName(ctx, tenant, user)
	return u, h.fault(err)
}

func (h *Handler) users() directory.Source {
	if h.Users != nil {
		return h.Users
	}
	return h.Store
}

// fault makes of what another system failed in something that may pass.
func (h *Handler) fault(err error) error {
	if err == nil || h.Users == nil || errors.Is(err, directory.ErrNotFound) || errors.Is(err, directory.ErrInvalid) {
		return err
	}
	return errors.Join(&problem{http.StatusServiceUnavailable, "unavailable", "FOLIO cannot be asked about users now, the log of the program tells more"}, err)
}

// ours refuses to change, or list, users who are kept elsewhere.
func (h *Handler) ours(tenant string) error {
	if h.Elsewhere != nil && h.Elsewhere(tenant) {
		return &problem{http.StatusConflict, "elsewhere", "the users of this tenant are kept by FOLIO: list and change them there"}
	}
	return nil
}

// forgetUser has all nodes read a user anew.
func (h *Handler) forgetUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	return h.forget(w, r, u.Tenant, u.ID)
}

// forgetTenant has all nodes read all users and permissions of a tenant anew.
func (h *Handler) forgetTenant(w http.ResponseWriter, r *http.Request) error {
	tenant := r.PathValue("tenant")
	if err := h.knownTenant(tenant); err != nil {
		return err
	}
	return h.forget(w, r, tenant, "")
}

func (h *Handler) forget(w http.ResponseWriter, r *http.Request, tenant, userID string) error {
	if err := h.Store.Forget(r.Context(), tenant, userID, event(r, audit.DirectoryForgot, tenant, userID)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) showUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.user(r.Context(), r.PathValue("tenant"), r.PathValue("user"))
	if err != nil {
		return err
	}
	grants, err := h.users().Grants(r.Context(), u.Tenant, u.ID)
	if err != nil && !errors.Is(err, directory.ErrNotFound) {
		return h.fault(err)
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
	if err := errors.Join(h.knownTenant(in.Tenant), h.ours(in.Tenant)); err != nil {
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
	if err := h.ours(r.PathValue("tenant")); err != nil {
		return err
	}
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
	if err := h.ours(r.PathValue("tenant")); err != nil {
		return err
	}
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
	if err := h.ours(r.PathValue("tenant")); err != nil {
		return err
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
