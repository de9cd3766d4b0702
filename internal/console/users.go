package console

import (
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// userList is the page of users.
type userList struct {
	Tenants            []directory.Tenant
	Tenant, User, Next string
	Users              []directory.User
	Problem            string
}

func (h *Handler) elsewhere(tenant string) bool { return h.Elsewhere != nil && h.Elsewhere(tenant) }

func (h *Handler) users(v *visit) error {
	q := v.r.URL.Query()
	list := userList{Tenant: q.Get("tenant"), User: q.Get("user")}
	var err error
	if list.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
	}
	switch {
	case list.Tenant == "":
	case list.User != "":
		u, err := h.find(v.r.Context(), list.Tenant, list.User)
		if err == nil {
			list.Users = []directory.User{u}
		} else {
			list.Problem = "There is no such user in this tenant."
		}
	case h.elsewhere(list.Tenant):
		list.Problem = "The users of this tenant are kept by FOLIO. Name one to see him."
	default:
		if list.Users, err = h.Store.ListUsers(v.r.Context(), list.Tenant, q.Get("after"), pageSize); err != nil {
			return err
		}
		if len(list.Users) == pageSize {
			list.Next = list.Users[pageSize-1].Username
		}
	}
	return h.render(v, "users", list)
}

// userPage is one user.
type userPage struct {
	directory.User
	// Granted is what was given, Ordinary and Elevated all that it stands for.
	Granted            directory.Grants
	Ordinary, Elevated []string
	Rows               []sessionRow
	Elsewhere          bool
}

func (h *Handler) userOf(v *visit) (directory.User, error) {
	return h.find(v.r.Context(), v.r.PathValue("tenant"), v.r.PathValue("user"))
}

func (h *Handler) user(v *visit) error {
	u, err := h.userOf(v)
	if err != nil {
		return err
	}
	access, err := h.Directory.Access(v.r.Context(), u.Tenant, u.ID)
	if err != nil {
		return err
	}
	p := userPage{User: u, Ordinary: access.Ordinary.Names(), Elevated: access.Elevated.Names(), Elsewhere: h.elsewhere(u.Tenant)}
	slices.Sort(p.Ordinary)
	slices.Sort(p.Elevated)
	if p.Granted, err = h.Users.Grants(v.r.Context(), u.Tenant, u.ID); err != nil {
		return err
	}
	found, err := h.Sessions.List(v.r.Context(), session.Filter{Tenant: u.Tenant, UserID: u.ID, Limit: pageSize})
	if err != nil {
		return err
	}
	for i := range found.Sessions {
		p.Rows = append(p.Rows, h.row(&found.Sessions[i]))
	}
	return h.render(v, "user", p)
}

func (h *Handler) endUser(v *visit) error {
	u, err := h.userOf(v)
	if err != nil {
		return err
	}
	n, err := h.Sessions.EndUser(v.r.Context(), session.Scope{Tenant: u.Tenant, UserID: u.ID}, session.RevokedByAdmin, audit.SessionRevoked)
	if err != nil {
		return err
	}
	return h.ended(v, n, userPath(u), u.Username)
}

func userPath(u directory.User) string { return Path + "users/" + u.Tenant + "/" + u.ID }

// setActive blocks a user, whose sessions end at once, or lets him in again.
func (h *Handler) setActive(v *visit) error {
	u, err := h.userOf(v)
	if err != nil {
		return err
	}
	if h.elsewhere(u.Tenant) {
		return &fault{http.StatusConflict, "The users of this tenant are kept by FOLIO: block him there."}
	}
	if u.ID == v.caller.Claims.UserID && u.Tenant == v.caller.Claims.Tenant {
		return &fault{http.StatusConflict, "You cannot block yourself."}
	}
	u.Active = v.r.PostFormValue("active") == "true"
	n, err := h.Sessions.UpdateUser(v.r.Context(), u)
	if err != nil {
		return err
	}
	return h.ended(v, n, userPath(u), u.Username)
}
