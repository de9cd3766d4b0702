package foliotest

import (
	"net/http"
	"slices"
)

// PermissionUser is what mod-permissions keeps of a user: a record of its own,
// whose id is not the user's.
type PermissionUser struct {
	ID          string   `json:"id"`
	UserID      string   `json:"userId"`
	Permissions []string `json:"permissions"`
}

// Permission is a permission or, with sub-permissions, a set.
type Permission struct {
	ID             string   `json:"id"`
	PermissionName string   `json:"permissionName"`
	DisplayName    string   `json:"displayName,omitempty"`
	Description    string   `json:"description,omitempty"`
	SubPermissions []string `json:"subPermissions"`
	ModuleName     string   `json:"moduleName,omitempty"`
	Mutable        bool     `json:"mutable"`
	Visible        bool     `json:"visible"`
	// Dummy is a permission that was granted and never defined. It is left out
	// of what is listed.
	Dummy      bool `json:"dummy"`
	Deprecated bool `json:"deprecated"`
}

// Define stores a permission with what it stands for. One of the same name is
// replaced.
func (p *Platform) Define(tenantID, name string, sub ...string) {
	p.in(tenantID, func(t *tenant) {
		t.permissions = slices.DeleteFunc(t.permissions, func(old Permission) bool { return old.PermissionName == name })
		t.permissions = append(t.permissions, Permission{
			ID: orNew(""), PermissionName: name, DisplayName: name, SubPermissions: slices.Concat([]string{}, sub), Visible: true,
		})
	})
}

// Grant replaces what a user was given, as bootstrap scripts do it with POST
// and PUT /perms/users.
func (p *Platform) Grant(tenantID, userID string, names ...string) {
	p.in(tenantID, func(t *tenant) {
		for i := range t.permUsers {
			if t.permUsers[i].UserID == userID {
				t.permUsers[i].Permissions = slices.Concat([]string{}, names)
				return
			}
		}
		t.permUsers = append(t.permUsers, PermissionUser{ID: orNew(""), UserID: userID, Permissions: slices.Concat([]string{}, names)})
	})
}

func (p *Platform) permissions() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /perms/users", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "permissionUsers", 10, t.permUsers, []string{"id", "userId"}, func(u PermissionUser, index string) []string {
			return map[string][]string{"id": {u.ID}, "userId": {u.UserID}}[index]
		})
	})
	mux.HandleFunc("POST /perms/users", p.postPermUser)
	mux.HandleFunc("GET /perms/users/{id}/permissions", p.getUserPermissions)
	mux.HandleFunc("GET /perms/permissions", p.getPermissions)
	return mux
}

func (p *Platform) postPermUser(w http.ResponseWriter, r *http.Request) {
	var u PermissionUser
	if !read(w, r, &u) {
		return
	}
	t, release := p.of(r)
	defer release()
	u.ID = orNew(u.ID)
	if slices.ContainsFunc(t.permUsers, func(old PermissionUser) bool { return old.UserID == u.UserID || old.ID == u.ID }) {
		writeJSON(w, http.StatusUnprocessableEntity, map[string]any{"errors": []any{map[string]any{
			"message":    "userId and id fields must not match values for any existing records",
			"parameters": []any{map[string]any{"key": "'id'", "value": u.ID}},
		}}})
		return
	}
	t.permUsers = append(t.permUsers, u)
	writeJSON(w, http.StatusCreated, u)
}

func (p *Platform) getUserPermissions(w http.ResponseWriter, r *http.Request) {
	t, release := p.of(r)
	defer release()
	asked, id := r.URL.Query(), r.PathValue("id")
	by := asked.Get("indexField")
	at := slices.IndexFunc(t.permUsers, func(u PermissionUser) bool {
		return by == "userId" && u.UserID == id || (by == "" || by == "id") && u.ID == id
	})
	switch {
	case by != "" && by != "id" && by != "userId":
		text(w, http.StatusInternalServerError, "Invalid value '"+by+"' for indexField")
		return
	case at < 0 && by == "userId":
		text(w, http.StatusNotFound, "No user found by userId "+id)
		return
	case at < 0:
		text(w, http.StatusNotFound, "No user found by id "+id)
		return
	}
	names := slices.Clone(t.permUsers[at].Permissions)
	if asked.Get("expanded") == "true" {
		names = t.expand(names)
	}
	if asked.Get("full") != "true" {
		writeJSON(w, http.StatusOK, map[string]any{"permissionNames": slices.Concat([]string{}, names), "totalRecords": len(names)})
		return
	}
	full := []Permission{}
	for _, name := range names {
		if found := t.permission(name); found != nil {
			full = append(full, *found)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"permissionNames": full, "totalRecords": len(full)})
}

func (t *tenant) permission(name string) *Permission {
	at := slices.IndexFunc(t.permissions, func(p Permission) bool { return p.PermissionName == name })
	if at < 0 {
		return nil
	}
	return &t.permissions[at]
}

// expand is everything that names stand for, themselves included, each once and
// in no order that anybody could rely on: here, the reverse of how it was met.
func (t *tenant) expand(names []string) []string {
	var met []string
	todo := slices.Clone(names)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if slices.Contains(met, name) {
			continue
		}
		met = append(met, name)
		if p := t.permission(name); p != nil {
			todo = append(todo, p.SubPermissions...)
		}
	}
	slices.Reverse(met)
	return met
}

func (p *Platform) getPermissions(w http.ResponseWriter, r *http.Request) {
	t, release := p.of(r)
	defer release()
	expanded := r.URL.Query().Get("expanded") == "true"
	var all []Permission
	for _, one := range t.permissions {
		if one.Dummy && r.URL.Query().Get("includeDummy") != "true" {
			continue
		}
		one = clone(one)
		if expanded {
			one.SubPermissions = t.expand(one.SubPermissions)
		}
		all = append(all, one)
	}
	collection(w, r, "permissions", 10, all, []string{"id", "permissionName", "moduleName"}, func(one Permission, index string) []string {
		return map[string][]string{"id": {one.ID}, "permissionName": {one.PermissionName}, "moduleName": {one.ModuleName}}[index]
	})
}
