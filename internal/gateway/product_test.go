package gateway

import (
	"encoding/json"
	flags "flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var golden = flags.Bool("golden", false, "write the golden descriptors anew")

var products = []Product{ProductAuth, ProductLogin, ProductBoth, ProductUsersBL}

// What operators post to their Okapi is reviewed as it is posted.
func TestDescriptorsAreTheGoldenOnes(t *testing.T) {
	for _, p := range products {
		d, err := p.Descriptor("0.1.0")
		if err != nil {
			t.Fatal(err)
		}
		started, err := p.Deployment("0.1.0", "")
		if err != nil {
			t.Fatal(err)
		}
		running, err := p.Deployment("0.1.0", "http://counterfoil.example.org:8081")
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range map[string]any{"module": d, "deployment-started-by-okapi": started, "deployment-at-url": running} {
			text, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, '\n')
			file := filepath.Join("testdata", "descriptors", string(p)+"-"+name+".json")
			if *golden {
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("%s differs, write it anew with -golden if that is meant:\n%s", file, diff)
			}
			if name == "module" {
				if _, err := ParseDescriptor(text); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
	if _, err := Product("other").Descriptor("0.1.0"); err == nil {
		t.Error("a product that there is not has a descriptor")
	}
	if _, err := ProductBoth.Deployment("0.1.0", "counterfoil:8081"); err == nil {
		t.Error("an address that is no URL has a deployment")
	}
}

func parsed(t *testing.T, text string) *ModuleDescriptor {
	t.Helper()
	d, err := ParseDescriptor([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// folioModules are the neighbours, with the interfaces that they require of the
// originals.
func folioModules(t *testing.T) []*ModuleDescriptor {
	return []*ModuleDescriptor{
		parsed(t, `{"id":"mod-permissions-6.5.0","provides":[{"id":"permissions","version":"5.9"}]}`),
		parsed(t, `{"id":"mod-users-19.7.0","provides":[{"id":"users","version":"16.5"},{"id":"user-tenants","version":"1.0"}]}`),
		parsed(t, `{"id":"mod-authtoken-2.16.2","provides":[{"id":"authtoken","version":"2.1"},{"id":"authtoken2","version":"1.1"}],
			"requires":[{"id":"permissions","version":"5.3"},{"id":"users","version":"15.0 16.0"}],
			"filters":[{"methods":["*"],"pathPattern":"/*","phase":"auth","type":"headers"}]}`),
		parsed(t, `{"id":"mod-login-7.13.2","provides":[{"id":"login","version":"7.3"}],
			"requires":[{"id":"users","version":"15.4 16.0"},{"id":"user-tenants","version":"1.0"}],
			"optional":[{"id":"authtoken","version":"2.1"},{"id":"authtoken2","version":"1.1"}]}`),
		parsed(t, `{"id":"mod-users-bl-8.0.0","provides":[{"id":"users-bl","version":"6.1","handlers":[
			{"methods":["POST"],"pathPattern":"/bl-users/login-with-expiry","permissionsRequired":[]},
			{"methods":["GET","DELETE"],"pathPattern":"/bl-users/by-id/{id}","permissionsRequired":[]},
			{"methods":["GET"],"pathPattern":"/bl-users/by-id/{id}/open-transactions","permissionsRequired":[]},
			{"methods":["GET"],"pathPattern":"/bl-users","permissionsRequired":[]},
			{"methods":["POST"],"pathPattern":"/bl-users/password-reset/link","permissionsRequired":[]}]}],
			"requires":[{"id":"users","version":"16.4"},{"id":"permissions","version":"5.8"},{"id":"login","version":"7.3"},
			{"id":"authtoken","version":"2.1"},{"id":"authtoken2","version":"1.1"}]}`),
	}
}

func TestDependentsOfTheOriginalsInstallWithOurs(t *testing.T) {
	for _, test := range []struct {
		product Product
		ask     []string
		want    []string // enabled in the end
	}{
		{ProductAuth, []string{"mod-counterfoil-auth", "mod-login", "mod-users-bl"}, []string{"mod-counterfoil-auth-0.1.0", "mod-login-7.13.2", "mod-permissions-6.5.0", "mod-users-19.7.0", "mod-users-bl-8.0.0"}},
		{ProductBoth, []string{"mod-counterfoil", "mod-users-bl"}, []string{"mod-counterfoil-0.1.0", "mod-permissions-6.5.0", "mod-users-19.7.0", "mod-users-bl-8.0.0"}},
		{ProductUsersBL, []string{"mod-counterfoil-users-bl", "mod-users-bl"}, []string{"mod-counterfoil-users-bl-0.1.0", "mod-permissions-6.5.0", "mod-users-19.7.0", "mod-users-bl-8.0.0"}},
	} {
		t.Run(string(test.product), func(t *testing.T) {
			ours, err := test.product.Descriptor("0.1.0")
			if err != nil {
				t.Fatal(err)
			}
			available := append(folioModules(t), ours)
			var asked []InstallEntry
			for _, id := range test.ask {
				asked = append(asked, InstallEntry{ID: id, Action: "enable"})
			}
			if got := planned(t, available, nil, asked); !slices.Equal(got, test.want) {
				t.Errorf("a new tenant has %v", got)
			}
			// A tenant that uses the originals is moved by enabling ours.
			before := folioModules(t)
			if test.product == ProductAuth {
				test.ask = test.ask[:1]
			}
			if got := planned(t, available, before, asked[:1]); !slices.Equal(got, test.want) {
				t.Errorf("a tenant that had the originals has %v", got)
			}
		})
	}
}

// Our login cannot read the tokens of another filter, nor that our tokens.
func TestOurLoginAloneInstallsBesideOurFilterOnly(t *testing.T) {
	auth, err := ProductAuth.Descriptor("0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	login, err := ProductLogin.Descriptor("0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	asked := []InstallEntry{{ID: login.ID, Action: "enable"}}
	if _, err := installPlan(append(folioModules(t), login), nil, asked, false, true); err == nil ||
		!strings.Contains(err.Error(), "interface counterfoil-auth required by module mod-counterfoil-login-0.1.0 not found") {
		t.Errorf("beside mod-authtoken: %v", err)
	}
	want := []string{"mod-counterfoil-auth-0.1.0", "mod-counterfoil-login-0.1.0", "mod-permissions-6.5.0", "mod-users-19.7.0"}
	if got := planned(t, append(folioModules(t), login, auth), nil, asked); !slices.Equal(got, want) {
		t.Errorf("beside ours: %v", got)
	}
}

// planned is what a tenant uses after a plan.
func planned(t *testing.T, available, before []*ModuleDescriptor, asked []InstallEntry) []string {
	t.Helper()
	steps, err := installPlan(available, before, asked, false, true)
	if err != nil {
		t.Fatal(err)
	}
	use := byID(before)
	for _, s := range steps {
		switch s.Action {
		case "enable":
			delete(use, s.From)
			use[s.ID] = nil
		case "disable":
			delete(use, s.ID)
		}
	}
	ids := make([]string, 0, len(use))
	for id := range use {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Okapi takes the first of two modules by id, and our table does as Okapi.
func TestOurRoutesTakeThePlaceOfUsersBLsAndNothingElse(t *testing.T) {
	ours, err := ProductUsersBL.Descriptor("0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	table, err := NewTable("diku", append(folioModules(t)[4:], ours))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ method, path, module string }{
		{"POST", "/bl-users/login-with-expiry", "mod-counterfoil-users-bl-0.1.0"},
		{"GET", "/bl-users/_self", "mod-counterfoil-users-bl-0.1.0"},
		{"GET", "/bl-users/by-id/1", "mod-counterfoil-users-bl-0.1.0"},
		{"POST", "/bl-users/password-reset/link", "mod-counterfoil-users-bl-0.1.0"},
		{"DELETE", "/bl-users/by-id/1", "mod-users-bl-8.0.0"},
		{"GET", "/bl-users/by-id/1/open-transactions", "mod-users-bl-8.0.0"},
		{"GET", "/bl-users", "mod-users-bl-8.0.0"},
	} {
		route, _ := table.Match(test.method, test.path, "")
		if route == nil || route.ModuleID != test.module {
			t.Errorf("%s %s goes to %+v", test.method, test.path, route)
		}
	}
}
