package gateway

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPatternsMatchAsInOkapi(t *testing.T) {
	for _, test := range []struct {
		pattern, path string
		want          bool
	}{
		// Literals, case, slashes.
		{"/testb", "/testb", true},
		{"/testb", "/testbZZZ", false},
		{"/testb", "/TESTB", false},
		{"/x", "/x/", false},
		{"/x/", "/x/", true},
		{"/x/", "/x", false},
		{"/", "/", true},
		{"/", "/a", false},
		{"/", "", false},
		// {name}: the rest of one segment, at least one character.
		{"/testb/{id}", "/testb/client_id%2Fx", true},
		{"/testb/{id}", "/testb/a/b", false},
		{"/testb/{id}", "/testb/", false},
		{"/a/{id}", "/a/0-9", true},
		{"/a/{id}", "/a/b/", false},
		{"/a/{id}/c", "/a/b/c", true},
		{"/a/{id}/c", "/a/b/d", false},
		{"/{id}/", "/a/", true},
		{"/{id}/", "//", false},
		{"{id}/", "a/", true},
		{"{}/", "a/", true},
		{"{id}/", "/", false},
		{"/a/b{id}", "/a/bc", true},
		{"/a/b{id}", "/a/b", false},
		{"/a/{id}c", "/a/bc", false}, // nothing can follow inside the segment
		{"/{a}{b}", "/xy", false},
		{"/groups/{id}*", "/groups/1", true},
		{"/groups/{id}*", "/groups/1/members", true},
		{"/groups/{id}*b", "/groups/ab", false},
		{"/groups/{id}*b", "/groups/a/b", true},
		// *: anything, also nothing and slashes.
		{"/*", "/", true},
		{"/*", "/a/b", true},
		{"/*", "", false},
		{"*", "", true},
		{"/*b/a", "/b/a", true},
		{"/*b/a", "/c/b/a", true},
		{"/*b/a", "/a/b", false},
		{"/p/*/y", "/p/id/y", true},
		{"/p/*/y", "/p/id/z", false},
		{"/p/*/y", "/p/id", false},
		{"/p/*/y", "/p/id/y/z", false},
		{"/perms/users*", "/perms/users", true},
		{"/perms/users*", "/perms/users1", true},
		{"/perms/users*", "/perms/user", false},
		{"{id1}/*/{id2}", "a/b/c/d", true},
		{"{id1}/*/{id2}", "a//d", true},
		{"{id1}/*/{id2}", "a/d", false},
		{"{id1}/*/{id2}", "//", false},
		{"/**/a", "/x/a", true},
		{"/" + strings.Repeat("*", 2*maxStars) + "a", "/a", true}, // stars in a row are one
		{"/*a*b*c", "/xaxbxbxc", true},
		{"/*a*b*c", "/xbxaxc", false},
	} {
		t.Run(test.pattern+" "+test.path, func(t *testing.T) {
			p, err := CompilePattern(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Match(test.path); got != test.want {
				t.Errorf("match is %v, want %v", got, test.want)
			}
		})
	}
}

func TestStaticPrefixes(t *testing.T) {
	for pattern, want := range map[string]string{
		"/":           "/",
		"/{id}":       "/",
		"{id}":        "",
		"*":           "",
		"/*":          "/",
		"/a/b{id}":    "/a/",
		"/a/*c":       "/a/",
		"/a/b*":       "/a/",
		"/a/b/":       "/a/b/",
		"/a/b":        "/a/b",
		"/a/{id}":     "/a/",
		"/a/{id}/b/c": "/a/",
	} {
		p, err := CompilePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.StaticPrefix(); got != want {
			t.Errorf("%s has prefix %q, want %q", pattern, got, want)
		}
	}
}

func TestCompilePatternRefuses(t *testing.T) {
	for _, c := range `\%+})([].;:=?@#^$"' ` {
		p := "/a" + string(c) + "b"
		if _, err := CompilePattern(p); err == nil || err.Error() != "Invalid character "+string(c)+" for pathPattern" {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, test := range []struct{ pattern, want string }{
		{"/a{a{", "Invalid character { inside {}-construct in pathPattern"},
		{"/a{", "Missing }-character for {}-construct in pathPattern"},
		{"/a{b", "Missing }-character for {}-construct in pathPattern"},
		{"/a{:}b", "Invalid character : inside {}-construct in pathPattern"},
		{"/a/{b/c}", "Invalid character / inside {}-construct in pathPattern"},
		{"/a}", "Invalid character } for pathPattern"},
		{"/" + strings.Repeat("*a", maxStars+1), "pathPattern has more than 8 stars"},
		{"/" + strings.Repeat("a", maxPattern), "pathPattern is longer than 1024 bytes"},
	} {
		if _, err := CompilePattern(test.pattern); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.pattern, err, test.want)
		}
	}
}

// A matcher that tries all ways would not come back within the age of the
// universe.
func TestT29ManyStarsDoNotMakeMatchingExponential(t *testing.T) {
	p, err := CompilePattern("/" + strings.Repeat("*a/", maxStars) + "{x}b")
	if err != nil {
		t.Fatal(err)
	}
	path := "/" + strings.Repeat("a/", 4096)
	start := time.Now()
	if p.Match(path) {
		t.Error("matched")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// oracle is the same pattern as a regular expression. In the text that it is
// for, every segment ends with a NUL, so that {name} can demand the whole rest
// of a segment although regular expressions here do not look ahead.
func oracle(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(`.*`)
		case '{':
			i += strings.IndexByte(pattern[i:], '}')
			b.WriteString(`[^/\x00]+\x00`)
		case '/':
			b.WriteString(`\x00?/`)
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	b.WriteString(`\x00?)\z`)
	return regexp.MustCompile(b.String())
}

func FuzzPathPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"/testb/{id}", "/testb/client_id%2Fx"},
		{"/groups/{id}*", "/groups/1/members"},
		{"{id1}/*/{id2}", "a//d"},
		{"/*a*b*c", "/xaxbxbxc"},
		{"/a/{id}c", "/a/bc"},
		{"/*/{x}/y", "/a/b/c/y"},
		{"/{a}*{b}/*", "/x/y/z"},
		{"//*/", "//"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p, err := CompilePattern(pattern)
		if err != nil || !ascii(pattern) || !ascii(path) || len(path) > 1000 {
			t.Skip()
		}
		marked := strings.ReplaceAll(path, "/", "\x00/") + "\x00"
		want := oracle(pattern).MatchString(marked)
		if got := p.Match(path); got != want {
			t.Errorf("%q on %q: %v, the regular expression says %v", pattern, path, got, want)
		}
		if want && !strings.HasPrefix(path, p.StaticPrefix()) {
			t.Errorf("%q matches %q, which lacks the static prefix", pattern, path)
		}
	})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == 0 || r >= 0x80 })
}
