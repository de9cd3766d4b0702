package gateway

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func refusal(t *testing.T, err error) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error is %T (%v), want a *Refusal", err, err)
	}
	return r
}

func mustParse(t testing.TB, text string) *ModuleDescriptor {
	t.Helper()
	d, err := ParseDescriptor([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDescriptorWithEveryMemberSurvivesARoundTrip(t *testing.T) {
	data, err := os.ReadFile("testdata/mod-everything-1.2.3.json")
	if err != nil {
		t.Fatal(err)
	}
	d := mustParse(t, string(data))
	again, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(again, &got); err != nil {
		t.Fatal(err)
	}
	// Only the explicit null of the first timer is the same as its absence.
	timer := want.(map[string]any)["provides"].([]any)[2].(map[string]any)["handlers"].([]any)[0]
	delete(timer.(map[string]any), "modulePermissions")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("encoded again (-sent +got):\n%s", diff)
	}
	if d.Product() != "mod-everything" || d.Version().Compare(mustVersion(t, "1.2.3-SNAPSHOT.4")) != 0 {
		t.Errorf("product %q, version %v", d.Product(), d.Version())
	}
}

func TestModulePermissionsNullEmptyAndFilledAreThreeThings(t *testing.T) {
	for _, test := range []struct {
		name, member string
		want         []string
	}{
		{"absent", ``, nil},
		{"null", `,"modulePermissions":null`, nil},
		{"empty", `,"modulePermissions":[]`, []string{}},
		{"filled", `,"modulePermissions":["a.get"]`, []string{"a.get"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := mustParse(t, provides(`{"methods":["GET"],"pathPattern":"/a","permissionsRequired":[]`+test.member+`}`))
			if diff := cmp.Diff(test.want, d.Provides[0].Handlers[0].ModulePermissions); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// provides is a descriptor with one interface of the given handlers.
func provides(handlers ...string) string {
	return `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0","handlers":[` + strings.Join(handlers, ",") + `]}]}`
}

func TestParseDescriptorRefusesWhatOkapiRefuses(t *testing.T) {
	handler := func(members string) string {
		return provides(`{"methods":["GET"],"permissionsRequired":[],` + members + `}`)
	}
	for _, test := range []struct{ name, text, want string }{
		{"no id", `{}`, "id is missing for module"},
		{"null", `null`, "id is missing for module"},
		{"id without version", `{"id":"mod-a"}`, "Missing semantic version for: mod-a"},
		{"id with a broken version", `{"id":"mod-a-1..2"}`, "Invalid semantic version for: mod-a-1..2"},
		{"id that needs escaping in a path", `{"id":"mod/a-1.0.0"}`, "Invalid module id"},
		{"id with a line break", `{"id":"mod-a-1.0.0\n"}`, "Invalid module id"},
		{"unknown member", `{"id":"mod-a-1.0.0","provide":[]}`, "Invalid JSON"},
		{"unknown member of an interface", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0","routingEntries":[]}]}`, "Invalid JSON"},
		{"unknown member of a handler", handler(`"pathPattern":"/a","permissionRequired":[]`), "Invalid JSON"},
		{"member in another case", `{"ID":"mod-a-1.0.0"}`, "Invalid JSON"},
		{"member twice", `{"id":"mod-a-1.0.0","id":"mod-b-1.0.0"}`, "Invalid JSON"},
		{"more than one value", `{"id":"mod-a-1.0.0"} {}`, "Invalid JSON"},
		{"wrong type", `{"id":1}`, "Invalid JSON"},
		{"interface twice", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0"},{"id":"a","version":"2.0"}]}`, "Interface a provided multiple times"},
		{"interface without id", `{"id":"mod-a-1.0.0","provides":[{"version":"1.0"}]}`, "id is missing for module mod-a-1.0.0"},
		{"interface without version", `{"id":"mod-a-1.0.0","requires":[{"id":"a"}]}`, "version is missing for module mod-a-1.0.0"},
		{"interface version of one part", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1"}]}`, "Bad version number '1'"},
		{"interface version of words", `{"id":"mod-a-1.0.0","optional":[{"id":"a","version":"1.x"}]}`, "Bad version number '1.x'"},
		{"blank interface version", `{"id":"mod-a-1.0.0","requires":[{"id":"a","version":" "}]}`, "Bad version number ' '"},
		{"provided in two versions", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0 2.0"}]}`, "Bad version number '1.0 2.0'"},
		{"unknown interface type", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0","interfaceType":"own"}]}`, "Bad interface type 'own' for module mod-a-1.0.0"},
		{"internal interface", `{"id":"mod-a-1.0.0","provides":[{"id":"a","version":"1.0","interfaceType":"internal"}]}`, "Bad interface type 'internal' for module mod-a-1.0.0"},
		{"handlers where required", `{"id":"mod-a-1.0.0","requires":[{"id":"a","version":"1.0","handlers":[{}]}]}`, "No handlers allowed in 'requires' section for module mod-a-1.0.0"},
		{"no path", handler(`"path":""`), "Bad routing entry, needs a pathPattern or at least a path"},
		{"no permissionsRequired", provides(`{"methods":["GET"],"pathPattern":"/a"}`), "Module 'mod-a-1.0.0' handler /a: Missing field permissionsRequired"},
		{"no permissionsRequired on an old path", provides(`{"methods":["GET"],"path":"/a"}`), "Module 'mod-a-1.0.0' handler /a: Missing field permissionsRequired"},
		{"unknown method", provides(`{"methods":["GYF"],"pathPattern":"/a","permissionsRequired":[]}`), "Unknown method GYF"},
		{"method in lower case", provides(`{"methods":["get"],"pathPattern":"/a","permissionsRequired":[]}`), "Unknown method get"},
		{"unknown phase", handler(`"pathPattern":"/a","phase":"during"`), "Invalid phase during"},
		{"unknown phase of a filter", `{"id":"mod-a-1.0.0","filters":[{"methods":["*"],"pathPattern":"/*","phase":"during"}]}`, "Invalid phase during"},
		{"unknown type", handler(`"pathPattern":"/a","type":"body"`), "Invalid entry type: body"},
		{"redirect to nowhere", handler(`"pathPattern":"/a","type":"redirect"`), "Redirect entry without redirectPath"},
		{"unknown unit", handler(`"pathPattern":"/a","unit":"fortnight"`), "Invalid unit fortnight"},
		{"dot in a pattern", handler(`"pathPattern":"/a.b"`), "Invalid character . for pathPattern"},
		{"permission set without a name", `{"id":"mod-a-1.0.0","permissionSets":[{"displayName":"x"}]}`, "Missing permissionName"},
		{"replaces with a version", `{"id":"mod-a-1.0.0","replaces":["mod-b-1.0.0"]}`, "No semantic version for: mod-b-1.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseDescriptor([]byte(test.text))
			r := refusal(t, err)
			if r.Status != http.StatusBadRequest || !strings.HasPrefix(r.Text, test.want) {
				t.Errorf("refused with %d %q, want 400 %q", r.Status, r.Text, test.want)
			}
		})
	}
}

func TestParseDescriptorRefusesMoreThanOneMebibyte(t *testing.T) {
	big := `{"id":"mod-a-1.0.0","name":"` + strings.Repeat("x", maxDescriptor) + `"}`
	_, err := ParseDescriptor([]byte(big))
	if r := refusal(t, err); r.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d, want 413", r.Status)
	}
}

func TestParseDescriptorAcceptsWhatOkapiOnlyWarnsOf(t *testing.T) {
	for _, test := range []struct{ name, text string }{
		{"system handler without permissionsRequired", `{"id":"auth-1","provides":[{"id":"t","version":"1.0","interfaceType":"system","handlers":[{"methods":["POST"],"pathPattern":"/_/tenant"}]}]}`},
		{"underscore interface without permissionsRequired", `{"id":"mod-a-1.0.0+build","provides":[{"id":"_tenant","version":"1.0","handlers":[{"methods":["POST"],"pathPattern":"/_/tenant"}]}]}`},
		{"three-part interface version", `{"id":"mod-a-1","provides":[{"id":"a","version":"1.0.1"}]}`},
		{"trailing slash and useless redirectPath", provides(`{"methods":["TRACE"],"pathPattern":"/a/","redirectPath":"/b","permissionsRequired":[]}`)},
		{"handler with a phase and no methods", provides(`{"pathPattern":"/a","phase":"pre","permissionsRequired":[]}`)},
	} {
		t.Run(test.name, func(t *testing.T) { mustParse(t, test.text) })
	}
}

func TestCheckTenantID(t *testing.T) {
	for _, id := range []string{"diku", "t", "t1", "a" + strings.Repeat("b", 30)} {
		if err := CheckTenantID(id); err != nil {
			t.Errorf("%q refused: %v", id, err)
		}
	}
	for _, test := range []struct{ id, want string }{
		{"a_b", "Tenant id must not contain underscore: a_b"},
		{"a-b", "Tenant id must not contain minus: a-b"},
		{"a" + strings.Repeat("b", 31), "Tenant id must not exceed 31 characters: a" + strings.Repeat("b", 31)},
		{"1a", "Tenant id must not start with a digit: 1a"},
		{"A", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is A"},
		{"", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is "},
		{"a\n", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is a\n"},
	} {
		if r := refusal(t, CheckTenantID(test.id)); r.Text != test.want || r.Status != http.StatusBadRequest {
			t.Errorf("%q refused with %d %q, want 400 %q", test.id, r.Status, r.Text, test.want)
		}
	}
}

func TestManagementShapesAreOkapis(t *testing.T) {
	for _, test := range []struct {
		name  string
		value any
		want  string
	}{
		{"tenant", TenantDescriptor{ID: "diku"}, `{"id":"diku"}`},
		{"tenant module", TenantModule{ID: "mod-a-1.0.0"}, `{"id":"mod-a-1.0.0"}`},
		{"install entry", InstallEntry{ID: "mod-a-1.1.0", From: "mod-a-1.0.0", Action: "enable"}, `{"id":"mod-a-1.1.0","from":"mod-a-1.0.0","action":"enable"}`},
		{"deployment", DeploymentDescriptor{InstID: "i", SrvcID: "mod-a-1.0.0", URL: "http://a"}, `{"instId":"i","srvcId":"mod-a-1.0.0","url":"http://a"}`},
		{"health", HealthDescriptor{InstID: "i", SrvcID: "s"}, `{"instId":"i","srvcId":"s","healthMessage":"","healthStatus":false}`},
		{"raw members", ModuleDescriptor{ID: "m-1", Metadata: jsontext.Value(`{"a":1}`)}, `{"id":"m-1","metadata":{"a":1}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
