// Package directory says who exists: tenants, users, and what they may do.
//
// It owns the meaning of permissions: a permission set is a name with
// sub-permissions, nested, free of wildcards and of cycles, and a grant is
// what one user was given. It does not know passwords (package credential) or
// sessions (package session), and it never decides whether a request passes.
//
// Every question names its tenant, and no answer crosses it. What Cache was
// told to forget is never answered again. No refusal repeats a user name that
// was typed, which may be a password in the wrong field.
package directory

import (
	"errors"
	"time"
)

// The ways in which a look-up or a change is refused.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
	ErrInvalid  = errors.New("invalid")
)

// SuperTenant always exists and owns the gateway itself, as in Okapi.
const SuperTenant = "supertenant"

// Tenant is one library or consortium member.
type Tenant struct {
	// ID matches ^[a-z][a-z0-9]{0,30}$, Okapi's rule for tenant ids.
	ID          string    `json:"id"`
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	CreatedAt   time.Time `json:"-"`
}

// User is somebody who can log in. The names of fields are mod-users'.
type User struct {
	// ID is a UUID in lower case and never changes; decisions rest on it.
	ID       string `json:"id"`
	Tenant   string `json:"-"`
	Username string `json:"username"`
	// Active false means that the user can neither log in nor go on.
	Active    bool      `json:"active"`
	FirstName string    `json:"firstName,omitempty"`
	LastName  string    `json:"lastName,omitempty"`
	Email     string    `json:"email,omitempty"`
	CreatedAt time.Time `json:"-"`
}

// Grants is what was given to one user.
type Grants struct {
	// Permissions have effect in every token of the user.
	Permissions []string `json:"permissions"`
	// Elevated permissions have effect only in a raised token.
	Elevated []string `json:"elevated"`
}

// PermissionSet is a named permission, with the permissions it stands for.
// A set without sub-permissions is a plain permission.
type PermissionSet struct {
	Name        string   `json:"permissionName"`
	DisplayName string   `json:"displayName,omitempty"`
	Description string   `json:"description,omitempty"`
	Sub         []string `json:"subPermissions,omitempty"`
	// ElevatedOnly permissions have no effect in ordinary tokens, however
	// they were granted.
	ElevatedOnly bool `json:"elevatedOnly,omitempty"`
	// Module is the module whose descriptor brought the set, empty if an
	// operator made it.
	Module string `json:"moduleName,omitempty"`
}
