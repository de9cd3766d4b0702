package folio

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// composite is mod-users-bl's view of a user. What other modules know about the
// user is there if the tenant has them (see users_parts.go).
type composite struct {
	// User is a user, or mod-users' own record.
	User              any            `json:"user"`
	PatronGroup       jsontext.Value `json:"patronGroup,omitempty"`
	Permissions       *permissions   `json:"permissions,omitempty"`
	ProxiesFor        []string       `json:"proxiesFor"` // none is looked up
	ServicePointsUser jsontext.Value `json:"servicePointsUser,omitempty"`
	Tenant            string         `json:"tenant"`
	TokenExpiration   *expirations   `json:"tokenExpiration,omitzero"`
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

func userOf(u *directory.User) user {
	return user{
		ID: u.ID, Username: u.Username, Active: u.Active,
		Personal: personal{LastName: u.LastName, FirstName: u.FirstName, Email: u.Email},
	}
}

// permissions has the names of mod-permissions.
type permissions struct {
	UserID string `json:"userId"`
	// Permissions are names, or permission objects of which the name is all
	// that user interfaces read.
	Permissions any `json:"permissions"`
}

type permissionObject struct {
	Name string `json:"permissionName"`
}

// usersSelf tells who the caller is: GET /bl-users/_self, and GET
// /users-keycloak/_self of Eureka. Stripes asks for it to find out whether its
// session goes on.
func (h *Handler) usersSelf(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	answer, err := h.describe(r, caller.Claims, caller.Claims.UserID)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// userByName answers GET /bl-users/by-username/{username}.
func (h *Handler) userByName(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	found, err := h.Sessions.Users.UserByName(r.Context(), caller.Claims.Tenant, r.PathValue("username"))
	return h.writeUser(w, r, caller, found.ID, err)
}

// userByID answers GET /bl-users/by-id/{id}.
func (h *Handler) userByID(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	return h.writeUser(w, r, caller, strings.ToLower(r.PathValue("id")), nil)
}

func (h *Handler) writeUser(w http.ResponseWriter, r *http.Request, caller *session.Caller, id string, err error) error {
	var answer *composite
	if err == nil {
		answer, err = h.describe(r, caller.Claims, id)
	}
	switch {
	case errors.Is(err, session.ErrNotFound), errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
		return plain(http.StatusNotFound, "User not found")
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// describe puts the composite of a user together, for a caller with these
// claims, out of the parts that the query asks for.
func (h *Handler) describe(r *http.Request, by token.Claims, userID string) (*composite, error) {
	ctx := r.Context()
	access, err := h.Directory.Access(ctx, by.Tenant, userID)
	if err != nil {
		return nil, directoryError(err)
	}
	answer := &composite{User: userOf(&access.User), ProxiesFor: []string{}, Tenant: by.Tenant}
	wanted := partsOf(r)
	if wanted("perms") {
		names, err := h.permissionsOf(r, by, access)
		if err != nil {
			return nil, err
		}
		answer.Permissions = &permissions{access.User.ID, names}
	}
	return answer, h.addParts(ctx, by, userID, wanted, answer)
}

// partsOf reads include, which names the parts that a client wants; without it,
// they are all.
func partsOf(r *http.Request) func(part string) bool {
	var named []string
	for _, value := range r.URL.Query()["include"] {
		named = append(named, strings.Split(value, ",")...)
	}
	return func(part string) bool { return len(named) == 0 || slices.Contains(named, part) }
}

// permissionsOf lists what was granted or, with expandPermissions=true, this and
// all that it stands for; with fullPermissions=true, or on Eureka, as objects.
// Permissions that need raised scope are not among them, so that the user
// interface offers nothing that would be refused.
func (h *Handler) permissionsOf(r *http.Request, by token.Claims, access *directory.Access) (any, error) {
	query := r.URL.Query()
	var names []string
	var err error
	if h.EurekaPermissions {
		if names, err = h.eurekaPermissions(r.Context(), by, access.User.ID); err != nil {
			return nil, err
		}
	}
	switch {
	case names != nil:
	case query.Get("expandPermissions") == "true":
		names = access.Ordinary.Names()
	default:
		if names, err = h.granted(r.Context(), access); err != nil {
			return nil, err
		}
	}
	if query.Get("fullPermissions") != "true" && !h.EurekaPermissions {
		return names, nil
	}
	objects := make([]permissionObject, len(names))
	for i, name := range names {
		objects[i].Name = name
	}
	return objects, nil
}

func (h *Handler) granted(ctx context.Context, access *directory.Access) ([]string, error) {
	grants, err := h.Sessions.Users.Grants(ctx, access.User.Tenant, access.User.ID)
	if err != nil && !errors.Is(err, directory.ErrNotFound) { // nothing granted yet is no fault
		return nil, directoryError(err)
	}
	return slices.DeleteFunc(append([]string{}, grants.Permissions...), func(name string) bool {
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
