package folio

import "github.com/counterfoil/counterfoil/internal/directory"

// The permissions of the sessions API.
const (
	permListSessions = "counterfoil.sessions.collection.get"
	permEndSessions  = "counterfoil.sessions.collection.delete"
	permShowSession  = "counterfoil.sessions.item.get"
	permEndSession   = "counterfoil.sessions.item.delete"
	permShowEvents   = "counterfoil.sessions.events.get"
)

// Permissions is the set that an administrator of sessions is given.
var Permissions = directory.PermissionSet{
	Name: "counterfoil.all", DisplayName: "Counterfoil: see and end all sessions of the tenant",
	Sub: []string{permListSessions, permEndSessions, permShowSession, permEndSession, permShowEvents},
}

// mod-login's and mod-users-bl's permissions, under their names.
const (
	permCreateCredential = "login.item.post"
	permDeleteCredential = "login.item.delete"
	permHasCredential    = "login.credentials-existence.get"
	permRepeatable       = "login.password.validate"
	permAttempts         = "login.attempts.item.get"
	permCreateAction     = "login.password-reset-action.post"
	permShowAction       = "login.password-reset-action.get"
	permUseAction        = "login.password-reset.post"
	permReportLogin      = "login.event.collection.post"
	permListLogins       = "login.event.collection.get"
	permClearLogins      = "login.event.delete"

	permShowUser = "users-bl.item.get"
	permMakeLink = "users-bl.password-reset-link.generate"
)

// Builtin are the permission sets that every tenant has: those of the endpoints
// that this package serves.
var Builtin = []directory.PermissionSet{
	Permissions,
	{Name: "login.all", DisplayName: "Login: all permissions", Sub: []string{
		permCreateCredential, permDeleteCredential, permHasCredential, permRepeatable, permAttempts,
		permCreateAction, permShowAction, permUseAction, permReportLogin, permListLogins, permClearLogins,
	}},
	{Name: "users-bl.all", DisplayName: "Users business logic: all permissions that have effect", Sub: []string{
		permShowUser, permMakeLink,
	}},
}
