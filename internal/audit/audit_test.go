package audit

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// otherKey is another package's.
type otherKey struct{}

func TestInnerLayerTellsTheOuterWhoActed(t *testing.T) {
	outer := &Actor{Kind: "anonymous", Address: "192.0.2.1", RequestID: "123456/orders"}
	ctx := WithActor(t.Context(), outer)

	inner := ActorFrom(context.WithValue(ctx, otherKey{}, "another layer"))
	inner.Kind, inner.Name, inner.UserID = "user", "diku_admin", "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a9d10"

	want := &Actor{
		Kind: "user", Name: "diku_admin", UserID: "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a9d10",
		Address: "192.0.2.1", RequestID: "123456/orders",
	}
	if diff := cmp.Diff(want, outer); diff != "" {
		t.Error(diff)
	}
}

func TestInnermostActorActs(t *testing.T) {
	ctx := WithActor(WithActor(t.Context(), &Actor{Kind: "user"}), &Actor{Kind: "module"})
	if got := ActorFrom(ctx).Kind; got != "module" {
		t.Errorf("%q acts", got)
	}
}

func TestWithoutRequestTheSystemActs(t *testing.T) {
	a := ActorFrom(t.Context())
	if diff := cmp.Diff(&System, a); diff != "" {
		t.Error(diff)
	}
	// Whoever fills it in must not change who the system is.
	a.Kind, a.Name = "user", "mallory"
	if diff := cmp.Diff(&Actor{Kind: "system"}, ActorFrom(t.Context())); diff != "" {
		t.Error(diff)
	}
}

// TestKindsAreDistinct reads the source, so that a kind added later is checked
// too. Operators search for the strings, and two kinds with one string would
// be one kind.
func TestKindsAreDistinct(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	names := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if typ, isIdent := spec.Type.(*ast.Ident); !ok || !isIdent || typ.Name != "Kind" {
			t.Errorf("%s is a constant without the type Kind or without a literal", spec.Names[0])
			return true
		}
		kind, err := strconv.Unquote(literal.Value)
		if err != nil || !form.MatchString(kind) {
			t.Errorf("%s is %s, want words in lower case joined by _", spec.Names[0], literal.Value)
		}
		if other, taken := names[kind]; taken {
			t.Errorf("%s and %s are both %q", spec.Names[0], other, kind)
		}
		names[kind] = spec.Names[0].Name
		return true
	})
	if names[string(RefreshReuse)] != "RefreshReuse" || len(names) < 30 {
		t.Errorf("only %d kinds were found", len(names))
	}
}

// TestKindsThatOperatorsSearchForKeepTheirNames fails when a string changes
// that alert rules and runbooks rest on.
func TestKindsThatOperatorsSearchForKeepTheirNames(t *testing.T) {
	for kind, want := range map[Kind]string{
		Login: "login", LoginFailed: "login_failed", LoginLimited: "login_limited",
		LateRecovery: "late_recovery", Superseded: "superseded", StrikeHealed: "strike_healed",
		RefreshReuse: "refresh_reuse", GenerationAhead: "generation_ahead", TagMismatch: "tag_mismatch",
		ClockBackwards: "clock_backwards", BindingMismatch: "binding_mismatch",
		Logout: "logout", LogoutAll: "logout_all", SessionRevoked: "session_revoked", SessionEvicted: "session_evicted",
		Elevated: "elevated", ElevationFailed: "elevation_failed", PasswordChanged: "credential_change",
	} {
		if string(kind) != want {
			t.Errorf("%q was renamed to %q", want, kind)
		}
	}
}
