package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const users = "/counterfoil/tenants/diku/users"

func TestUsersAreCreatedAndShown(t *testing.T) {
	w := newWorld(t)
	id := w.reader()
	want := map[string]any{
		"id": id, "tenant": "diku", "username": "reader", "active": true,
		"permissions": []any{"orders.get"}, "elevated": []any{},
	}
	for _, name := range []string{"reader", "READER", id} {
		if diff := cmp.Diff(want, w.call(200, "GET", users+"/"+name, "")); diff != "" {
			t.Errorf("%s is shown wrong (-want +got):\n%s", name, diff)
		}
	}
	w.call(404, "GET", users+"/nobody", "")
	w.call(404, "GET", "/counterfoil/tenants/nobody/users/reader", "")
	for body, status := range map[string]int{
		`{"username":"Reader","password":"` + password + `"}`:             409,
		`{"id":"` + id + `","username":"other"}`:                          409,
		`{"username":"short","password":"swordfish"}`:                     422,
		`{"username":"","password":"` + password + `"}`:                   422,
		`{"username":"x","id":"not-a-uuid"}`:                              422,
		`{"username":"x","permissions":["*"]}`:                            422,
		`{"username":"x","elevated":["orders.*"]}`:                        422,
		`{"username":"x","permissions":["a,b"]}`:                          422,
		`{"username":"x","tenant":"other","password":"` + password + `"}`: 400,
	} {
		got := w.call(status, "POST", users, body)
		if strings.Contains(fmt.Sprint(got), "swordfish") || strings.Contains(fmt.Sprint(got), password) {
			t.Errorf("the refusal of %s repeats the password: %v", body, got)
		}
	}
	w.call(404, "POST", "/counterfoil/tenants/nobody/users", `{"username":"x"}`)
	// Without a password the user exists, and cannot log in.
	w.call(201, "POST", users, `{"username":"later"}`)
}

func TestUsersAreListedInPages(t *testing.T) {
	w := newWorld(t)
	w.call(201, "POST", "/counterfoil/tenants", `{"id":"diku"}`)
	for i := range 5 {
		w.call(201, "POST", users, fmt.Sprintf(`{"username":"user%d"}`, i))
	}
	var names []string
	after := ""
	for range 3 {
		got := w.call(200, "GET", users+"?limit=2&after="+after, "")
		for _, u := range got["users"].([]any) {
			names = append(names, u.(map[string]any)["username"].(string))
		}
		after, _ = got["next"].(string)
	}
	if want := []string{"user0", "user1", "user2", "user3", "user4"}; !cmp.Equal(names, want) || after != "" {
		t.Errorf("the pages hold %v, then %q", names, after)
	}
	for _, limit := range []string{"0", "-1", "1001", "x"} {
		w.call(400, "GET", users+"?limit="+limit, "")
	}
}

// What ends a user's sessions ends the access tokens that are out already.
func TestWhatEndsSessionsEndsAccessTokensAtOnce(t *testing.T) {
	for name, change := range map[string]struct{ method, path, body string }{
		"deactivation": {"PUT", users + "/reader", `{"active":false}`},
		"password":     {"PUT", users + "/reader/password", `{"password":"another horse entirely"}`},
		"deletion":     {"DELETE", users + "/reader", ""},
		"revocation":   {"DELETE", users + "/reader/sessions", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reader()
			first, second := w.logIn(), w.logIn()
			if !w.holds(first) || !w.holds(second) {
				t.Fatal("new tokens do not hold")
			}
			if got := w.call(200, change.method, change.path, change.body); got["ended"] != 2.0 {
				t.Errorf("the answer is %v", got)
			}
			if w.holds(first) || w.holds(second) || w.refreshes(first) || w.refreshes(second) {
				t.Error("a token still holds")
			}
		})
	}
}

func TestAnUpdateChangesWhatItNamesAndNothingElse(t *testing.T) {
	w := newWorld(t)
	id := w.reader()
	tokens := w.logIn()
	got := w.call(200, "PUT", users+"/reader", `{"email":"reader@example.org"}`)
	want := map[string]any{"id": id, "username": "reader", "active": true, "email": "reader@example.org"}
	if diff := cmp.Diff(map[string]any{"user": want, "ended": 0.0}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !w.holds(tokens) {
		t.Error("a new address ended the session")
	}
	w.call(422, "PUT", users+"/reader", `{"id":"5c2ec1d8-6b1f-4a56-8ad4-7d4ab8b8f1f3"}`)
	w.call(422, "PUT", users+"/reader", `{"username":""}`)
	w.call(422, "PUT", users+"/reader", `{"lastName":"\u202eevil"}`)
	w.call(404, "PUT", users+"/nobody", `{"active":true}`)
	w.call(200, "PUT", users+"/reader", `{"username":"renamed"}`)
	w.call(404, "GET", users+"/reader", "")
}

func TestPasswordsAreCheckedBeforeTheyAreSet(t *testing.T) {
	w := newWorld(t)
	w.reader()
	tokens := w.logIn()
	for _, body := range []string{`{}`, `{"password":""}`, `{"password":"swordfish"}`, `{"password":"reader reader reader"}`, `{"password":null}`} {
		if got := w.call(422, "PUT", users+"/reader/password", body); strings.Contains(fmt.Sprint(got), "swordfish") {
			t.Errorf("the refusal repeats the password: %v", got)
		}
	}
	w.call(404, "PUT", users+"/nobody/password", `{"password":"`+password+`"}`)
	if !w.holds(tokens) {
		t.Error("a refused password ended the session")
	}
}

func TestGrantsAreReplacedWhole(t *testing.T) {
	w := newWorld(t)
	w.reader()
	// A list that was forgotten must not take everything away.
	for _, body := range []string{`{}`, `{"permissions":["a"]}`, `{"elevated":["a"]}`, `{"permissions":null,"elevated":[]}`} {
		w.call(422, "PUT", users+"/reader/permissions", body)
	}
	w.call(422, "PUT", users+"/reader/permissions", `{"permissions":["*"],"elevated":[]}`)
	w.call(404, "PUT", users+"/nobody/permissions", `{"permissions":[],"elevated":[]}`)
	got := w.call(200, "GET", users+"/reader", "")
	if !cmp.Equal(got["permissions"], []any{"orders.get"}) {
		t.Errorf("a refusal changed them to %v", got["permissions"])
	}
	w.call(200, "PUT", users+"/reader/permissions", `{"permissions":["b","a"],"elevated":["c"]}`)
	got = w.call(200, "GET", users+"/reader", "")
	if !cmp.Equal(got["permissions"], []any{"a", "b"}) || !cmp.Equal(got["elevated"], []any{"c"}) {
		t.Errorf("they are %v and %v", got["permissions"], got["elevated"])
	}
}

func TestPermissionSetsAreKeptFreeOfCyclesAndWildcards(t *testing.T) {
	w := newWorld(t)
	w.reader()
	const sets = "/counterfoil/tenants/diku/permissions"
	w.call(200, "PUT", sets+"/a", `{"displayName":"A","subPermissions":["b","x.get"]}`)
	w.call(200, "PUT", sets+"/b", `{"subPermissions":["c"]}`)
	got := w.call(422, "PUT", sets+"/c", `{"subPermissions":["a"]}`)
	if !strings.Contains(got["message"].(string), "must not contain itself") {
		t.Errorf("a cycle is refused with %v", got)
	}
	w.call(422, "PUT", sets+"/self", `{"subPermissions":["self"]}`)
	w.call(422, "PUT", sets+"/wild", `{"subPermissions":["orders.*"]}`)
	w.call(422, "PUT", sets+"/orders.*", `{}`)
	w.call(404, "PUT", "/counterfoil/tenants/nobody/permissions/a", `{}`)
	list := w.call(200, "GET", sets, "")["permissions"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["permissionName"] != "a" {
		t.Errorf("the list is %v", list)
	}
	// A set has effect on tokens that are out already, and so has its end.
	w.call(200, "PUT", users+"/reader/permissions", `{"permissions":["a"],"elevated":[]}`)
	id := w.call(200, "GET", users+"/reader", "")["id"].(string)
	may := func() bool {
		access, err := w.handler.Directory.Access(t.Context(), "diku", id)
		w.must(err)
		return access.Ordinary.Has("c")
	}
	if !may() {
		t.Error("a nested permission has no effect")
	}
	w.call(204, "DELETE", sets+"/b", "")
	w.call(404, "DELETE", sets+"/b", "")
	if may() {
		t.Error("a deleted set still has effect")
	}
}
