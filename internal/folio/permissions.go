package folio

import (
	"slices"

	"github.com/counterfoil/counterfoil/internal/directory"
)

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

// PermissionSets are those that every tenant has: our own, mod-login's and
// mod-users-bl's as far as they have effect here, and mod-authtoken's, by which
// FOLIO's login modules are lent what they may ask of us.
func PermissionSets() []directory.PermissionSet {
	post, refresh := []string{permLegacy, permSign}, []string{"auth.refreshtoken.post", permRefresh}
	return []directory.PermissionSet{
		Permissions,
		{Name: "login.all", DisplayName: "Login: all permissions", Sub: []string{
			permCreateCredential, permDeleteCredential, permHasCredential, permRepeatable, permAttempts,
			permCreateAction, permShowAction, permUseAction, permReportLogin, permListLogins, permClearLogins,
		}},
		{Name: "users-bl.all", DisplayName: "Users business logic: all permissions that have effect", Sub: []string{
			permShowUser, permMakeLink,
		}},
		{Name: "auth.signtoken.all", DisplayName: "Sign tokens", Sub: post},
		{Name: "auth.signrefreshtoken.all", DisplayName: "Refresh tokens", Sub: refresh},
		{Name: "auth.sign-and-refresh-token.all", DisplayName: "Sign and refresh tokens", Sub: slices.Concat(post, refresh)},
	}
}

// The permissions of the endpoints for modules, as mod-authtoken has them.
const (
	permLegacy  = "auth.token.post"
	permSign    = "auth.token.sign.post"
	permRefresh = "auth.token.refresh.post"
)
