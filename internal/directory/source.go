package directory

import "context"

// Source is where users and permissions are read from: the embedded store, or
// the modules of an existing FOLIO. Missing things are ErrNotFound.
type Source interface {
	Tenants(ctx context.Context) ([]Tenant, error)
	User(ctx context.Context, tenant, id string) (User, error)
	// UserByName finds by NormalName, so that names which people cannot tell
	// apart are one user.
	UserByName(ctx context.Context, tenant, username string) (User, error)
	Grants(ctx context.Context, tenant, userID string) (Grants, error)
	PermissionSets(ctx context.Context, tenant string) ([]PermissionSet, error)
}

// Module is a registered module: its id (product and version) and its
// descriptor as it was given, in Okapi's format.
type Module struct {
	ID         string
	Descriptor []byte
}

// Enabled says that a tenant uses a module.
type Enabled struct{ Tenant, Module string }

// Instance is where a module answers.
type Instance struct {
	ID     string `json:"instId"`
	Module string `json:"srvcId"`
	URL    string `json:"url"`
}
