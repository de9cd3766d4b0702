package folio

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// composite is mod-users-bl's view of a user, as far as we know users. Patron
// groups, proxies and service points belong to modules of FOLIO and are left
// out.
type composite struct {
	User            user         `json:"user"`
	Permissions     permissions  `json:"permissions"`
	Tenant          string       `json:"tenant"`
	TokenExpiration *expirations `json:"tokenExpiration,omitzero"`
}

// user has the names of mod-users.
type user struct {
	ID       string   `json:"id"`
	Username string   `json:"username"`
	Active   bool     `json:"active"`
	Personal personal `json:"personal"`
}

type personal struct {
	LastName  string `json:"lastName"`
	FirstName string `json:"firstName,omitempty"`
	Email     string `json:"email,omitempty"`
}

// permissions has the names of mod-permissions.
type permissions struct {
	UserID      string   `json:"userId"`
	Permissions []string `json:"permissions"`
}

// usersSelf tells who the caller is: GET /bl-users/_self. Stripes asks for it
// to find out whether its session goes on.
func (h *Handler) usersSelf(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	answer, err := h.describe(r, caller.Claims.Tenant, caller.Claims.UserID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// describe reads a user with permissions: those that were granted or, with
// expandPermissions=true, these and all that they stand for. Permissions that
// need raised scope are not among them, so that the user interface offers
// nothing that would be refused.
func (h *Handler) describe(r *http.Request, tenant, userID string) (*composite, error) {
	ctx := r.Context()
	access, err := h.Directory.Access(ctx, tenant, userID)
	if err != nil {
		return nil, directoryError(err)
	}
	names := access.Ordinary.Names()
	if r.URL.Query().Get("expandPermissions") != "true" {
		if names, err = h.granted(ctx, access); err != nil {
			return nil, err
		}
	}
	u := access.User
	return &composite{
		User: user{
			ID: u.ID, Username: u.Username, Active: u.Active,
			Personal: personal{LastName: u.LastName, FirstName: u.FirstName, Email: u.Email},
		},
		Permissions: permissions{UserID: u.ID, Permissions: names},
		Tenant:      tenant,
	}, nil
}

func (h *Handler) granted(ctx context.Context, access *directory.Access) ([]string, error) {
	grants, err := h.Sessions.Users.Grants(ctx, access.User.Tenant, access.User.ID)
	if err != nil && !errors.Is(err, directory.ErrNotFound) { // nothing granted yet is no fault
		return nil, directoryError(err)
	}
	return slices.DeleteFunc(slices.Clone(grants.Permissions), func(name string) bool {
		return !access.Ordinary.Has(name)
	}), nil
}

// directoryError brings an error of the directory into the words of session.
func directoryError(err error) error {
	if errors.Is(err, directory.ErrNotFound) {
		return errors.Join(session.ErrNotFound, err)
	}
	return errors.Join(session.ErrUnavailable, err)
}
