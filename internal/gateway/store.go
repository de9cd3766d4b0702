package gateway

import (
	"context"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// Store keeps what the management API administers. Every change is one
// transaction with its audit event. Missing things are directory.ErrNotFound,
// taken names directory.ErrExists.
type Store interface {
	Modules(ctx context.Context) ([]directory.Module, error)
	// SaveModules registers modules; one that is there already is replaced.
	SaveModules(ctx context.Context, event audit.Event, modules ...directory.Module) error
	DeleteModule(ctx context.Context, id string, event audit.Event) error

	Enabled(ctx context.Context) ([]directory.Enabled, error)
	// Enable makes the tenant use module instead of replaced ("" for none) and
	// replaces the permission sets that replaced brought by sets.
	Enable(ctx context.Context, tenant, module, replaced string, sets []directory.PermissionSet, event audit.Event) error
	// Disable ends the use and removes the permission sets of the module.
	Disable(ctx context.Context, tenant, module string, event audit.Event) error

	Instances(ctx context.Context) ([]directory.Instance, error)
	SaveInstance(ctx context.Context, i directory.Instance, event audit.Event) error
	// DeleteInstances deletes one instance, or all of a module when id is "".
	DeleteInstances(ctx context.Context, module, id string, event audit.Event) (int, error)

	// Timers lists the timers that tenants have changed.
	Timers(ctx context.Context) ([]directory.Timer, error)
	SaveTimer(ctx context.Context, timer directory.Timer, event audit.Event) error
	// ResetTimer makes a timer what the descriptor says, if it is not.
	ResetTimer(ctx context.Context, tenant, id string, event audit.Event) error

	CreateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	UpdateTenant(ctx context.Context, t directory.Tenant, event audit.Event) error
	// DeleteTenant removes the tenant with everything that is its own, and
	// ends its sessions.
	DeleteTenant(ctx context.Context, id string, event audit.Event) error
}
