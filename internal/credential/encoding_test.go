package credential

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	phc      = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	wrapping = "$folio-pbkdf2+argon2id$" + dikuSalt + "$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	legacy   = "$folio-pbkdf2$" + dikuSalt + "$" + dikuHash
)

func TestParseReadsOneSpellingOnly(t *testing.T) {
	for _, good := range []string{phc, wrapping, legacy} {
		if _, err := parse(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	change := func(old, replacement string) string {
		if !strings.Contains(phc, old) {
			t.Fatalf("%q is not in the sample", old)
		}
		return strings.Replace(phc, old, replacement, 1)
	}
	for name, bad := range map[string]string{
		"empty":                  "",
		"argon2i":                change("argon2id", "argon2i"),
		"argon2d":                change("argon2id", "argon2d"),
		"bcrypt":                 "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"old version":            change("v=19", "v=16"),
		"no version":             change("$v=19", ""),
		"parameters in disorder": change("m=256,t=2,p=1", "t=2,m=256,p=1"),
		"parameter twice":        change("m=256,t=2,p=1", "m=256,t=2,t=2,p=1"),
		"parameter missing":      change(",p=1", ""),
		"parameter without name": change("m=256", "256"),
		"leading zero":           change("m=256", "m=0256"),
		"sign":                   change("t=2", "t=+2"),
		"overflow":               change("t=2", "t=4294967298"),
		"memory bomb":            change("m=256", "m=262145"),
		"time bomb":              change("t=2", "t=17"),
		"thread bomb":            change("p=1", "p=17"),
		"no memory":              change("m=256", "m=7"),
		"no passes":              change("t=2", "t=0"),
		"no lanes":               change("p=1", "p=0"),
		"short salt":             change("c29tZXNhbHQ", "c29tZXNhbA"),
		"long salt":              change("c29tZXNhbHQ", strings.Repeat("A", 88)),
		"padding":                change("c29tZXNhbHQ", "c29tZXNhbHQ="),
		"line break in salt":     change("c29tZXNhbHQ", "c29tZXNh\nbHQ"),
		"trailing bits":          change("c29tZXNhbHQ", "c29tZXNhbHR"),
		"short tag":              "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAA",
		"no tag":                 "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$",
		"extra part":             phc + "$",
		"prefix":                 "x" + phc,
		"very long":              phc + strings.Repeat("A", maxEncoded),
		"FOLIO lower case":       strings.ToLower(legacy),
		"FOLIO without salt":     "$folio-pbkdf2$$" + dikuHash,
		"FOLIO short hash":       legacy[:len(legacy)-2],
		"wrapped lower case":     strings.ToLower(wrapping),
		"wrapped without salt":   strings.Replace(wrapping, dikuSalt, "", 1),
	} {
		e, err := parse(bad)
		if !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
		}
		if e.scheme != "" || e.tag != nil {
			t.Errorf("%s: parts come along with the error", name)
		}
		if len(bad) > 8 && err != nil && strings.Contains(err.Error(), bad[:8]) {
			t.Errorf("%s: the error quotes what is stored: %v", name, err)
		}
	}
}

func TestRestOfTheWork(t *testing.T) {
	today := params{memory: 100, time: 2, lanes: 1}
	for name, test := range map[string]struct {
		spent, rest params
		ok          bool
	}{
		"nothing spent":    {params{}, today, true},
		"all spent":        {today, params{}, false},
		"half spent":       {params{memory: 50, time: 2, lanes: 1}, params{memory: 50, time: 2, lanes: 1}, true},
		"one pass spent":   {params{memory: 100, time: 1, lanes: 1}, params{memory: 50, time: 2, lanes: 1}, true},
		"more than needed": {params{memory: 200, time: 2, lanes: 1}, params{}, false},
	} {
		rest, ok := today.without(test.spent)
		if diff := cmp.Diff(test.rest, rest, cmp.AllowUnexported(params{})); diff != "" || ok != test.ok {
			t.Errorf("%s: ok %v, want %v (-want +got)\n%s", name, ok, test.ok, diff)
		}
	}
	if _, ok := today.without(params{memory: 99, time: 2, lanes: 1}); ok {
		t.Error("a rest too small for argon2id is run")
	}
}

func FuzzParsePHC(f *testing.F) {
	for _, seed := range []string{phc, wrapping, legacy, "", "$", "$argon2id$v=19$m=,t=,p=$$", "$argon2id$v=19$m=4294967295,t=4294967295,p=255$c29tZXNhbHQ$AA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parse(s)
		if err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Fatalf("%v is not ErrEncoding", err)
			}
			return
		}
		if e.String() != s {
			t.Fatalf("%q is read and written as %q", s, e.String())
		}
		if e.params.memory > maxMemory || e.params.time > maxTime || e.params.lanes > maxLanes {
			t.Fatalf("parameters out of bounds: %+v", e.params)
		}
		if len(e.tag) < minTag || len(e.tag) > maxTag || len(e.salt) > maxSalt || len(e.folioSalt) > maxSalt {
			t.Fatalf("sizes out of bounds: %+v", e)
		}
	})
}
