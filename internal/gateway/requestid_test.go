package gateway

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// numbered gives the same number to every request.
func numbered(n int) RequestIDs { return RequestIDs{IntN: func(int) int { return n }} }

func TestRequestIDsAreOkapis(t *testing.T) {
	for _, test := range []struct {
		name, path string
		sent       []string
		inside     bool
		want       string
	}{
		{"first segment", "/orders/1/lines", nil, false, "000042/orders"},
		{"whole path", "/orders", nil, false, "000042/orders"},
		{"management paths by their second segment", "/_/proxy/tenants", nil, false, "000042/proxy"},
		{"a segment that only begins so", "/_x/y", nil, false, "000042/_x"},
		{"root", "/", nil, false, "000042/"},
		{"from outside", "/users", []string{"821257/circulation"}, false, "821257/circulation;000042/users"},
		{"from inside", "/users", []string{"821257/circulation;744931/perms"}, true, "821257/circulation;744931/perms;000042/users"},
		{"empty is absent", "/users", []string{""}, false, "000042/users"},
		{"the same twice", "/users", []string{"a", "a"}, false, "a;000042/users"},
		{"characters that do not belong into a log", "/a%20b;c*/x", nil, false, "000042/a_20b_c_"},
		{"a long segment", "/" + strings.Repeat("a", 500), nil, false, "000042/" + strings.Repeat("a", 64)},
		{"the longest from outside", "/u", []string{strings.Repeat("a", 128)}, false, strings.Repeat("a", 128) + ";000042/u"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := numbered(42).Next(test.sent, test.path, test.inside)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestRequestIDsThatCouldForgeLogLinesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		sent   []string
		inside bool
	}{
		{"space", []string{"a b"}, false},
		{"line break", []string{"a\nb"}, true},
		{"quote", []string{`a"b`}, false},
		{"no ASCII", []string{"ä"}, false},
		{"too long from outside", []string{strings.Repeat("a", 129)}, false},
		{"too long from inside", []string{strings.Repeat("a", 1025)}, true},
		{"two different", []string{"a", "b"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := numbered(1).Next(test.sent, "/a", test.inside)
			if r := refusal(t, err); r.Status != http.StatusBadRequest || strings.ContainsAny(r.Text, "\n\"ä") {
				t.Errorf("refused with %d %q", r.Status, r.Text)
			}
		})
	}
}

func TestADeepChainOfCallsGoesOnAndStaysBounded(t *testing.T) {
	valid := regexp.MustCompile(`^[\w./;-]+$`)
	chain, err := numbered(1).Next([]string{"client-7"}, "/chain", false)
	if err != nil {
		t.Fatal(err)
	}
	for depth := range 500 {
		if chain, err = numbered(depth).Next([]string{chain}, "/chain", true); err != nil {
			t.Fatalf("depth %d: %v", depth, err)
		}
		if len(chain) > 1024 || !valid.MatchString(chain) || strings.Contains(chain, ";;") {
			t.Fatalf("depth %d: chain of %d bytes: %q", depth, len(chain), chain)
		}
	}
	if !strings.HasPrefix(chain, "client-7;...;") || !strings.HasSuffix(chain, ";000498/chain;000499/chain") {
		t.Errorf("chain %q lost its first or its last links", chain)
	}
	if strings.Count(chain, "...") != 1 {
		t.Errorf("chain %q has more than one gap", chain)
	}
}

func TestOneHugeLinkIsShortened(t *testing.T) {
	for sent, want := range map[string]string{
		strings.Repeat("a", 1024):        "...;000001/u",
		"a;" + strings.Repeat("b", 1020): "a;...;000001/u",
	} {
		got, err := numbered(1).Next([]string{sent}, "/u", true)
		if err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestRequestIDsHaveSixRandomDigits(t *testing.T) {
	seen := make(map[string]bool)
	for range 50 {
		id, err := RequestIDs{}.Next(nil, "/a", false)
		if err != nil || !regexp.MustCompile(`^\d{6}/a$`).MatchString(id) {
			t.Fatalf("%q, %v", id, err)
		}
		seen[id] = true
	}
	if len(seen) < 40 {
		t.Errorf("%d different ids of 50", len(seen))
	}
}
