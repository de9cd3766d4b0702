package gateway_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestGuardLetsUsersPassWithThePermission(t *testing.T) {
	w := newWorld(t, nil)
	w.get("/guarded").want(t, 401, "Token missing, access requires permission: guarded.get")
	w.get("/self").want(t, 401, "Token missing")
	w.get("/self", "X-Okapi-Token", "x").want(t, 401, invalid)
	w.get("/guarded", "X-Okapi-Token", w.access()).want(t, 403, "Access for user 'alice' ("+alice+") requires permission: guarded.get")
	w.get("/self", "X-Okapi-Token", w.access()).want(t, 200, "alice")
	w.grant("guarded.get")
	w.get("/guarded", "X-Okapi-Token", w.access()).want(t, 200, "access alice")
	w.get("/guarded", "Cookie", "folioAccessToken="+w.access()).want(t, 200, "access alice")
	w.get("/guarded", "X-Okapi-Tenant", "other", "X-Okapi-Token", w.access()).want(t, 400, "Different tenants")
	call(t, "GET", w.public+"/guarded", "", "X-Okapi-Tenant", "other", "X-Okapi-Token", w.access()).want(t, 403, "Invalid token")
	call(t, "GET", w.public+"/guarded", "", "X-Okapi-Tenant", "nobody", "X-Okapi-Token", w.access()).want(t, 400, "No such Tenant")
	w.get("/guarded", "X-Okapi-Request-Id", "a b", "X-Okapi-Token", w.access()).want(t, 400, "Invalid X-Okapi-Request-Id")
}

func TestGuardLetsAModuleActForItsUserInside(t *testing.T) {
	w := newWorld(t, nil)
	lent := w.moduleToken("guarded.get")
	w.get("/guarded", "X-Okapi-Token", lent).want(t, 401, invalid)
	call(t, "GET", w.internal+"/guarded", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", lent).want(t, 200, "module alice")
	call(t, "GET", w.internal+"/guarded", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.moduleToken()).want(t, 403, "Access for user")
	nobody := w.claims()
	nobody.Kind, nobody.Module, nobody.RequestID, nobody.UserID, nobody.Session = token.KindModule, "mod-x-1.0.0", "1/x", "", token.SessionID{}
	nobody.Permissions = []string{"guarded.get"}
	call(t, "GET", w.internal+"/guarded", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.mint(nobody)).want(t, 401, invalid)
}

func TestModuleGuardCountsOnlyWhatTheModuleWasLent(t *testing.T) {
	w := newWorld(t, nil)
	w.must(w.db.SavePermissionSet(t.Context(), "diku", directory.PermissionSet{Name: "auth.all", Sub: []string{"auth.token.sign.post"}}, noEvent))
	w.grant("auth.token.sign.post")
	const missing = "Missing required module-level permissions for endpoint '/token/sign': auth.token.sign.post"
	inside := func(path, token string) answer {
		return call(t, "POST", w.internal+path, "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", token)
	}
	inside("/token/sign", w.moduleToken("auth.token.sign.post")).want(t, 200, "mod-x-1.0.0")
	inside("/token/sign", w.moduleToken("auth.all")).want(t, 200, "mod-x-1.0.0")
	inside("/token/sign", w.moduleToken()).want(t, 401, missing)
	inside("/token/sign", w.access()).want(t, 401, missing)
	inside("/token/sign", "x").want(t, 401, invalid)
	inside("/token/invalidate", w.moduleToken()).want(t, 200, "mod-x-1.0.0")
	inside("/token/invalidate", w.access()).want(t, 401, "Missing required module-level permissions for endpoint '/token/invalidate'")
	call(t, "POST", w.public+"/token/sign", "", "X-Okapi-Tenant", "diku", "X-Okapi-Token", w.moduleToken("auth.token.sign.post")).want(t, 401, invalid)
	call(t, "POST", w.public+"/token/sign", "", "X-Okapi-Tenant", "diku").want(t, 401, missing)
}
