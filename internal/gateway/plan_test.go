package gateway

import (
	"strings"
	"testing"
)

// plain is a module in short: "a-1 <x:1.0 !y:1.0 ?z:1.0 ~old" provides x,
// requires y, can use z and replaces old.
func plain(t testing.TB, text string) *ModuleDescriptor {
	t.Helper()
	words := strings.Fields(text)
	d := &ModuleDescriptor{ID: words[0]}
	for _, word := range words[1:] {
		id, version, _ := strings.Cut(word[1:], ":")
		i := InterfaceDescriptor{ID: id, Version: version}
		switch word[0] {
		case '<':
			d.Provides = append(d.Provides, i)
		case '!':
			d.Requires = append(d.Requires, i)
		case '?':
			d.Optional = append(d.Optional, i)
		case '~':
			d.Replaces = append(d.Replaces, id)
		default:
			t.Fatalf("cannot read %q", word)
		}
	}
	return d
}

// steps writes a plan as "+a-2(a-1) -b-1 =c-1".
func steps(plan []InstallEntry) string {
	signs := map[string]string{"enable": "+", "disable": "-", "uptodate": "="}
	words := make([]string, len(plan))
	for i, step := range plan {
		words[i] = signs[step.Action] + step.ID
		if step.From != "" {
			words[i] += "(" + step.From + ")"
		}
	}
	return strings.Join(words, " ")
}

func TestInstallationsArePlannedAsInOkapi(t *testing.T) {
	available := []string{
		"users-1 <users:1.0", "users-1.1 <users:1.1", "users-2 <users:2.0",
		"login-1 <login:1.0 !users:1.0", "login-1.1 <login:1.1 !users:1.1", "login-2 <login:2.0 !users:2.0",
		"perms-1 <perms:1.0 !users:1.0", "perms-3 <perms:2.0 !users:2.0",
		"bl-1 <bl:1.0 !login:1.0 !perms:1.0", "ui-1 !bl:1.0",
		"opt-1 ?users:1.0", "lost-1 !nothing:1.0",
		"codex-a-1 <codex:1.0", "codex-b-1 <codex:1.0", "finder-1 !codex:1.0",
		"old-1 <feature:1.0", "new-1 <feature:1.0 ~old", "reader-1 !feature:1.0",
		"people-1 <users:9.0", "late-1 !users:9.0",
		"ring-a-1 <ra:1.0 !rb:1.0", "ring-b-1 <rb:1.0 !ra:1.0",
	}
	for _, test := range []struct{ name, enabled, asked, want string }{
		{"one without needs", "", "+users-1", "+users-1"},
		{"the newest of a product", "", "+users", "+users-2"},
		{"what it needs, before it", "", "+login-1", "+users-1.1 +login-1"},
		{"what that needs, the newest that fits", "users-1", "+ui-1", "+perms-1 +users-1.1(users-1) +login-1.1 +bl-1 +ui-1"},
		{"already there", "users-1", "+users-1", "=users-1"},
		{"another version", "users-1", "+users-1.1", "+users-1.1(users-1)"},
		{"a provider that is too old", "users-1", "+login-1.1", "+users-1.1(users-1) +login-1.1"},
		{"a provider that is too new, and cannot go", "users-2", "+users-2 +login-1", "Incompatible version for module login-1 interface users. Need 1.0. Have 2.0/users-2"},
		{"a provider of another product", "users-1", "+late-1", "-users-1 +people-1 +late-1"},
		{"dependents come along", "users-1 login-1", "+users-2", "+users-2(users-1) +login-2(login-1)"},
		{"dependents that cannot are disabled", "users-1 opt-1", "+users-2", "+users-2(users-1) -opt-1"},
		{"an optional need adds nothing", "", "+opt-1", "+opt-1"},
		{"disable", "users-1", "-users-1", "-users-1"},
		{"disable by product", "users-1", "-users", "-users-1"},
		{"disable what needs it first", "users-1 login-1", "-users-1", "-login-1 -users-1"},
		{"disable what is not there", "", "-users-1", "Module users-1 not found"},
		{"unknown", "", "+nobody", "Module nobody not found"},
		{"a need that nobody meets", "", "+lost-1", "interface nothing required by module lost-1 not found"},
		{"a need that two products meet", "", "+finder-1", "interface codex required by module finder-1 is provided by multiple products: codex-a, codex-b"},
		{"of two, one was asked for", "", "+finder-1 +codex-b-1", "+codex-b-1 +finder-1"},
		{"both were asked for", "", "+codex-a-1 +codex-b-1", "Multiple modules codex-a-1, codex-b-1 provide interface codex"},
		{"one displaces the other", "codex-a-1", "+codex-b-1", "+codex-b-1 -codex-a-1"},
		{"the one that replaces", "", "+reader-1", "+new-1 +reader-1"},
		{"two versions of a product", "", "+users-1 +users-2", "Cannot remove module users-1 which is explicitly given"},
		{"a circle", "", "+ring-a-1", "Some modules cannot be topological sorted: ring-a-1, ring-b-1"},
		{"a circle can be left", "ring-a-1 ring-b-1", "-ring-a-1 -ring-b-1", "-ring-a-1 -ring-b-1"},
		{"nonsense", "", "*users-1", "Not implemented: action = "},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := make([]*ModuleDescriptor, len(available))
			for i, text := range available {
				all[i] = plain(t, text)
			}
			var enabled []*ModuleDescriptor
			for id := range strings.FieldsSeq(test.enabled) {
				enabled = append(enabled, byID(all)[id])
			}
			actions := map[byte]string{'+': "enable", '-': "disable"}
			var asked []InstallEntry
			for word := range strings.FieldsSeq(test.asked) {
				asked = append(asked, InstallEntry{ID: word[1:], Action: actions[word[0]]})
			}
			plan, err := installPlan(all, enabled, asked, false, true)
			got := steps(plan)
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestAPlanWithoutCheckIsWhatWasAsked(t *testing.T) {
	lonely := plain(t, "login-1 <login:1.0 !users:1.0")
	plan, err := installPlan([]*ModuleDescriptor{lonely}, nil, []InstallEntry{{ID: "login", Action: "enable"}}, false, false)
	if err != nil || steps(plan) != "+login-1" {
		t.Errorf("%s, %v", steps(plan), err)
	}
	plan, err = installPlan([]*ModuleDescriptor{lonely}, []*ModuleDescriptor{lonely}, []InstallEntry{{ID: "login-1", Action: "enable"}}, true, false)
	if err != nil || steps(plan) != "+login-1(login-1)" {
		t.Errorf("again: %s, %v", steps(plan), err)
	}
}
