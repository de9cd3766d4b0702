package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/gateway"
)

// keeper is a permissions module with its interface of a version.
func keeper(version string) string {
	return fmt.Sprintf(`{"id":"mod-permissions-1.0.0","provides":[
		{"id":"_tenantPermissions","version":%q,"interfaceType":"system","handlers":[{"methods":["POST"],"pathPattern":"/_/tenantpermissions"}]},
		{"id":"_tenant","version":"2.0","interfaceType":"system","handlers":[{"methods":["POST"],"pathPattern":"/_/tenant"}]}]}`, version)
}

const lender = `{"id":"mod-lender-1.0.0","replaces":["mod-old"],"provides":[{"id":"lender","version":"1.0","handlers":[
	{"methods":["GET","POST"],"pathPattern":"/lender","permissionsRequired":[],"modulePermissions":["users.item.get"]}]}],
	"permissionSets":[{"permissionName":"lender.get","displayName":"see","replaces":["old.get"]}]}`

// What a permissions module hears, by the version of its interface.
func TestPermissionsAreAnnounced(t *testing.T) {
	const (
		set     = `{"permissionName":"lender.get","displayName":"see"}`
		setNew  = `{"permissionName":"lender.get","replaces":["old.get"],"displayName":"see"}`
		name    = `SYS#mod-lender-1.0.0#/lender#[GET, POST]`
		system  = `{"permissionName":"` + name + `","displayName":"System generated: ` + name + `","description":"System generated permission set","subPermissions":["users.item.get"],"visible":false}`
		lenders = `{"moduleId":"mod-lender-1.0.0","perms":[`
		gone    = `POST /_/tenantpermissions {"moduleId":"mod-lender-1.0.0","perms":[]}`
	)
	for _, test := range []struct {
		version, enabled string
		disabled         []string
	}{
		{"1.0", lenders + set + `]}`, nil},
		{"1.1", lenders + set + "," + system + `]}`, nil},
		{"2.0", lenders + setNew + "," + system + `]}`, []string{gone}},
		{"2.1", lenders + setNew + "," + system + `],"replaces":["mod-old"]}`, []string{gone}},
	} {
		t.Run("7.4 32 "+test.version, func(t *testing.T) {
			w, m := newWorld(t, nil), &tenantModule{}
			w.module(keeper(test.version), m.ServeHTTP)
			if got := m.take(); len(got) != 2 || !strings.HasPrefix(got[0], "POST /_/tenant {") ||
				got[1] != `POST /_/tenantpermissions {"moduleId":"mod-permissions-1.0.0","perms":[]}` {
				t.Errorf("a permissions module hears of itself: %q", got)
			}
			w.module(lender, echo)
			if got := m.take(); !slices.Equal(got, []string{"POST /_/tenantpermissions " + test.enabled}) {
				t.Errorf("got  %q\nwant %q", got, test.enabled)
			}
			if w.tokenOf(seen{Header: m.headers[len(m.headers)-1]}).Module != "mod-permissions-1.0.0" {
				t.Error("7.4 33 the token is not the module's own")
			}
			if sets, err := w.db.PermissionSets(t.Context(), "diku"); err != nil || !strings.Contains(fmt.Sprint(sets), "lender.get") {
				t.Errorf("our own directory has %v, %v", sets, err)
			}
			_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-lender-1.0.0", Action: "disable"}}, &gateway.InstallOptions{})
			w.must(err)
			if got := m.take(); !slices.Equal(got, test.disabled) {
				t.Errorf("at the end %q", got)
			}
		})
	}
	t.Run("7.4 32 unknown version", func(t *testing.T) {
		w, m := newWorld(t, nil), &tenantModule{}
		w.must(w.gateway.Register(t.Context(), false, parsed(t, strings.Replace(keeper("3.0"), "2.0", "1.2", 1))))
		w.must(w.gateway.SaveInstance(t.Context(), instanceOf("mod-permissions-1.0.0", w.listen(m))))
		_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-permissions-1.0.0", Action: "enable"}}, &gateway.InstallOptions{})
		if err == nil || err.Error() != "Unsupported interface _tenantPermissions: 3.0" {
			t.Errorf("got %v", err)
		}
	})
}

// A tenant's first permissions module hears of all modules that are there.
func TestTheFirstPermissionsModuleHearsOfAll(t *testing.T) {
	t.Run("7.4 34", func(t *testing.T) {
		w, m := newWorld(t, nil), &tenantModule{}
		w.module(lender, echo)
		w.module(minimal, echo)
		w.module(keeper("2.0"), m.ServeHTTP)
		told := func() (ids []string) {
			for _, c := range m.take() {
				if _, body, ok := strings.Cut(c, `/_/tenantpermissions {"moduleId":"`); ok {
					id, _, _ := strings.Cut(body, `"`)
					ids = append(ids, id)
				}
			}
			return ids
		}
		if got := told(); !slices.Equal(got, []string{"mod-permissions-1.0.0", "mod-lender-1.0.0", "mod-min-1.0.0"}) {
			t.Errorf("told of %v", got)
		}
		// Its successor need not be told of the others again.
		next := strings.Replace(keeper("2.1"), "mod-permissions-1.0.0", "mod-permissions-1.1.0", 1)
		w.must(w.gateway.Register(t.Context(), false, parsed(t, next)))
		w.must(w.gateway.SaveInstance(t.Context(), instanceOf("mod-permissions-1.1.0", w.listen(m))))
		_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-permissions-1.1.0", Action: "enable"}}, &gateway.InstallOptions{})
		w.must(err)
		if got := told(); !slices.Equal(got, []string{"mod-permissions-1.1.0"}) {
			t.Errorf("told of %v", got)
		}
	})
}

// Where the permissions module refuses, nothing was enabled.
func TestPermissionsThatAreRefused(t *testing.T) {
	w, m := newWorld(t, nil), &tenantModule{}
	w.module(keeper("2.0"), m.ServeHTTP)
	m.answers = append(m.answers, say(422, "", "no"))
	w.must(w.gateway.Register(t.Context(), false, parsed(t, lender)))
	_, err := w.gateway.Install(t.Context(), "diku", []gateway.InstallEntry{{ID: "mod-lender-1.0.0", Action: "enable"}}, &gateway.InstallOptions{})
	if err == nil || err.Error() != "POST request for mod-permissions-1.0.0 /_/tenantpermissions failed with 422: no" {
		t.Errorf("got %v", err)
	}
	w.get("/lender").want(t, 404, "No suitable module")
}
