package gateway

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDependencyFaultsAreToldInOkapisWords(t *testing.T) {
	users := mustParse(t, `{"id":"mod-users-1.0.0","provides":[{"id":"users","version":"15.2"}]}`)
	moreUsers := mustParse(t, `{"id":"mod-people-1.0.0","provides":[{"id":"users","version":"15.2"}]}`)
	login := mustParse(t, `{"id":"mod-login-1.0.0","requires":[{"id":"users","version":"14.0 15.0"}]}`)
	newer := mustParse(t, `{"id":"mod-newer-1.0.0","requires":[{"id":"users","version":"16.0"}]}`)
	optional := mustParse(t, `{"id":"mod-opt-1.0.0","optional":[{"id":"users","version":"16.0"}]}`)
	codexA := mustParse(t, `{"id":"mod-codex-a-1.0.0","provides":[{"id":"codex","version":"1.0","interfaceType":"multiple"},{"id":"_tenant","version":"2.0"}]}`)
	codexB := mustParse(t, `{"id":"mod-codex-b-1.0.0","provides":[{"id":"codex","version":"1.0","interfaceType":"multiple"},{"id":"_tenant","version":"2.0"}]}`)
	for _, test := range []struct {
		name               string
		mods               []*ModuleDescriptor
		available, enabled []string
	}{
		{"nothing", nil, nil, nil},
		{"served", []*ModuleDescriptor{users, login}, nil, nil},
		{
			"missing",
			[]*ModuleDescriptor{login},
			[]string{"Missing dependency: mod-login-1.0.0 requires users: 14.0 15.0"},
			[]string{"interface users required by module mod-login-1.0.0 not found"},
		},
		{
			"incompatible",
			[]*ModuleDescriptor{users, newer},
			[]string{"Incompatible version for module mod-newer-1.0.0 interface users. Need 16.0. Have 15.2/mod-users-1.0.0"},
			[]string{"Incompatible version for module mod-newer-1.0.0 interface users. Need 16.0. Have 15.2/mod-users-1.0.0"},
		},
		{"optional and absent", []*ModuleDescriptor{optional}, nil, nil},
		{
			"optional and incompatible",
			[]*ModuleDescriptor{users, optional},
			[]string{"Incompatible version for module mod-opt-1.0.0 interface users. Need 16.0. Have 15.2/mod-users-1.0.0"},
			[]string{"Incompatible version for module mod-opt-1.0.0 interface users. Need 16.0. Have 15.2/mod-users-1.0.0"},
		},
		{
			"provided twice",
			[]*ModuleDescriptor{users, moreUsers},
			nil,
			[]string{"Multiple modules mod-users-1.0.0, mod-people-1.0.0 provide interface users"},
		},
		{"multiple and system interfaces may be provided twice", []*ModuleDescriptor{codexA, codexB}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.available, CheckAvailable(test.mods)); diff != "" {
				t.Errorf("available (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.enabled, CheckEnabled(test.mods)); diff != "" {
				t.Errorf("enabled (-want +got):\n%s", diff)
			}
		})
	}
}
