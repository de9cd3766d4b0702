package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOwnCookiesAreTakenOutAndOthersKeepEveryByte(t *testing.T) {
	for _, test := range []struct {
		name       string
		sent, want []string
	}{
		{"none of ours", []string{`a=1;b="x y";  c=%20;`}, []string{`a=1;b="x y";  c=%20;`}},
		{"only ours", []string{"folioAccessToken=x; folioRefreshToken=y; counterfoilDevice=z; counterfoilHeal0=n"}, nil},
		{"first", []string{"folioAccessToken=x; a=1"}, []string{"a=1"}},
		{"last", []string{"a=1; folioAccessToken=x"}, []string{"a=1"}},
		{"between", []string{"a=1; folioAccessToken=x; b=2"}, []string{"a=1; b=2"}},
		{"twice", []string{"folioAccessToken=x; a=1; folioAccessToken=y"}, []string{"a=1"}},
		{"heal cookies of any number", []string{"counterfoilHeal3=x; a=1; counterfoilHeal=y"}, []string{"a=1"}},
		{"odd white space", []string{"a=1;\tfolioAccessToken\t= x;b=2"}, []string{"a=1;b=2"}},
		{"without a value", []string{"folioAccessToken; a=1"}, []string{"a=1"}},
		{"kept by a browser without a name", []string{"=folioAccessToken=x; a=1"}, []string{"a=1"}},
		{"several lines", []string{"a=1", "folioRefreshToken=x", "b=2; folioAccessToken=y"}, []string{"a=1", "b=2"}},
		{"names that only look alike", []string{"folioaccesstoken=x; folioAccessToken2=y; xfolioAccessToken=z"}, []string{"folioaccesstoken=x; folioAccessToken2=y; xfolioAccessToken=z"}},
		{"our name as a value", []string{"a=folioAccessToken; b==folioAccessToken=1"}, []string{"a=folioAccessToken; b==folioAccessToken=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Cookie": test.sent}
			cleanRequest(h)
			if diff := cmp.Diff(test.want, h["Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, there := h["Cookie"]; there && test.want == nil {
				t.Error("an empty Cookie header is left")
			}
		})
	}
}

func FuzzCookies(f *testing.F) {
	for _, seed := range []string{
		"a=1; folioAccessToken=x; b=2", "folioRefreshToken=cfrt_x", "counterfoilHeal2=n;counterfoilDevice=d",
		"a=1;b=\"x; folioAccessToken=y\"", " =folioAccessToken=x", ";;;", "folioAccessToken\t=x;\x00counterfoilHeal", "a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		cleanRequest(h)
		left := strings.Join(h["Cookie"], ";")
		var others []string
		for pair := range strings.SplitSeq(line, ";") {
			if !ownCookie(cookieName(pair)) {
				others = append(others, pair)
			}
		}
		want := strings.Join(others, ";")
		if len(others) < strings.Count(line, ";")+1 {
			want = strings.TrimLeft(want, " \t")
		}
		if left != want {
			t.Errorf("%q became %q, want %q", line, left, want)
		}
		// The standard library reads the same others, and none of ours.
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if ownCookie(c.Name) {
				t.Errorf("%q still holds %s", left, c.Name)
			}
		}
		before := (&http.Request{Header: http.Header{"Cookie": {line}}}).Cookies()
		after := (&http.Request{Header: h}).Cookies()
		foreign := before[:0]
		for _, c := range before {
			if !ownCookie(c.Name) {
				foreign = append(foreign, c)
			}
		}
		if diff := cmp.Diff(foreign, after); diff != "" && len(foreign)+len(after) > 0 {
			t.Errorf("cookies of others changed (-before +after):\n%s", diff)
		}
	})
}
