package folio

import "net/http"

// endpoints is everything that this package serves, and what it asks of callers.
func (h *Handler) endpoints() []endpoint {
	on := func(method, path string, serve http.Handler) endpoint {
		return endpoint{method: method, path: path, serve: serve}
	}
	shared := func(method, path string, serve http.Handler) endpoint {
		return endpoint{method: method, path: path, serve: serve, shared: true}
	}
	return []endpoint{
		on("POST", "/authn/login", h.open(h.login)),
		on("POST", "/authn/login-with-expiry", h.open(h.loginWithExpiry)),
		on("POST", "/authn/refresh", h.open(h.refresh)),
		on("POST", "/authn/logout", h.open(h.logout)),
		on("POST", "/authn/logout-all", h.open(h.logoutAll)),
		on("POST", "/authn/elevate", h.guarded(h.elevate)),

		on("POST", "/authn/credentials", h.permitted(h.createCredential, permCreateCredential)),
		on("DELETE", "/authn/credentials", h.permitted(h.deleteCredential, permDeleteCredential)),
		on("GET", "/authn/credentials/{id}", h.open(h.noCredential)),
		on("PUT", "/authn/credentials/{id}", h.open(h.noCredential)),
		on("DELETE", "/authn/credentials/{id}", h.open(h.noCredential)),
		on("GET", "/authn/credentials-existence", h.permitted(h.credentialExists, permHasCredential)),
		on("POST", "/authn/update", h.open(h.updateCredential)),
		on("POST", "/authn/password/repeatable", h.permitted(h.repeatable, permRepeatable)),
		on("POST", "/authn/password-reset-action", h.permitted(h.createAction, permCreateAction)),
		on("GET", "/authn/password-reset-action/{id}", h.permitted(h.showAction, permShowAction)),
		on("POST", "/authn/reset-password", h.permitted(h.useAction, permUseAction)),
		on("GET", "/authn/loginAttempts/{id}", h.permitted(h.loginAttempts, permAttempts)),
		on("GET", "/authn/log/events", h.permitted(h.listLoginLog, permListLogins)),
		on("POST", "/authn/log/events", h.permitted(h.reportLogin, permReportLogin)),
		on("DELETE", "/authn/log/events/{id}", h.permitted(h.clearLoginLog, permClearLogins)),

		on("POST", "/bl-users/login-with-expiry", h.open(h.usersLogin)),
		on("GET", "/bl-users/_self", h.guarded(h.usersSelf)),
		on("GET", "/users-keycloak/_self", h.guarded(h.usersSelf)),
		shared("GET", "/bl-users/by-username/{username}", h.permitted(h.userByName, permShowUser)),
		shared("GET", "/bl-users/by-id/{id}", h.permitted(h.userByID, permShowUser)),
		on("POST", "/bl-users/settings/myprofile/password", h.open(h.ownPassword)),
		on("POST", "/bl-users/forgotten/password", h.open(h.forgotPassword)),
		on("POST", "/bl-users/forgotten/username", h.open(h.forgotUsername)),
		on("POST", "/bl-users/password-reset/link", h.permitted(h.makeLink, permMakeLink)),
		on("POST", "/bl-users/password-reset/validate", h.open(h.checkLink)),
		on("POST", "/bl-users/password-reset/reset", h.open(h.useLink)),

		on("GET", sessionsPath, h.guarded(h.listSessions, permListSessions)),
		on("DELETE", sessionsPath, h.guarded(h.endSessions, permEndSessions)),
		on("GET", sessionsPath+"/{id}", h.guarded(h.showSession, permShowSession)),
		on("DELETE", sessionsPath+"/{id}", h.guarded(h.endSession, permEndSession)),
		on("GET", sessionsPath+"/{id}/events", h.guarded(h.showEvents, permShowEvents)),
		on("GET", sessionsPath+"/_self", h.guarded(h.listOwn)),
		on("DELETE", sessionsPath+"/_self", h.guarded(h.endAllOwn)),
		on("DELETE", sessionsPath+"/_self/{id}", h.guarded(h.endOwn)),
		on("GET", sessionsPath+"/_self/{id}/events", h.guarded(h.showOwnEvents)),

		on("POST", "/token", h.open(h.legacyToken)),
		on("POST", "/token/sign", h.forModules("/token/sign", permSign, h.sign)),
		on("POST", "/token/refresh", h.forModules("/token/refresh", permRefresh, h.moduleRefresh)),
		on("POST", "/token/invalidate", h.forModules("/token/invalidate", "", h.invalidate)),
		on("POST", "/token/invalidate-all", h.forModules("/token/invalidate-all", "", h.invalidateAll)),
	}
}

// ModulePaths are the paths of endpoints that serve modules alone, each with
// the permission that a module's token must carry, "" for none.
func ModulePaths() map[string]string {
	return map[string]string{
		"/token/sign": permSign, "/token/refresh": permRefresh, "/token/invalidate": "", "/token/invalidate-all": "",
		"/token": permLegacy, "/refreshtoken": "auth.refreshtoken.post",
	}
}

// OpenPaths are the paths of endpoints that look at no access token.
func OpenPaths() map[string]bool {
	return map[string]bool{
		"/authn/login": true, "/authn/login-with-expiry": true, "/bl-users/login": true, "/bl-users/login-with-expiry": true,
		"/authn/refresh": true, "/authn/logout": true, "/authn/logout-all": true, "/authn/update": true,
		"/bl-users/settings/myprofile/password": true, "/bl-users/forgotten/password": true, "/bl-users/forgotten/username": true,
		"/bl-users/password-reset/validate": true, "/bl-users/password-reset/reset": true,
	}
}
