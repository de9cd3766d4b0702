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

// Expander is a Source that knows more permission sets than PermissionSets lists,
// and tells what they stand for when it is asked. What it answers is expanded by
// the listed ones once more.
type Expander interface {
	// Expanded is Grants with all that was granted stands for.
	Expanded(ctx context.Context, tenant, userID string) (Grants, error)
	// Expand returns names with all that they stand for.
	Expand(ctx context.Context, tenant string, names []string) ([]string, error)
}

// Module is a registered module: its id (product and version) and its
// descriptor as it was given, in Okapi's format.
type Module struct {
	ID         string
	Descriptor []byte
}

// Enabled says that a tenant uses a module.
type Enabled struct{ Tenant, Module string }

// Timer is a timer of a module that a tenant has otherwise than the module's
// descriptor says.
type Timer struct {
	Tenant string
	// ID is the module's product and a number.
	ID string
	// Unit is millisecond, second, minute, hour or day, and Delay a number of
	// them; 0 switches the timer off.
	Unit  string
	Delay int64
}

// Instance is where a module answers.
type Instance struct {
	ID     string `json:"instId"`
	Module string `json:"srvcId"`
	URL    string `json:"url"`
}
