package directory

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestNamesThatLookTheSameAreTheSame(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"diku_admin", "diku_admin"},
		{"DIKU_ADMIN", "diku_admin"},
		{"Maria Svensson", "maria svensson"},
		{"a b", "a b"},
		{"Åsa", "åsa"},
		{"A\u030asa", "åsa"},
		{"\u212bsa", "åsa"}, // Ångström sign
		{"Straße", "strasse"},
		{"STRAẞE", "strasse"},
		{"Οδυσσεύς", "οδυσσεύσ"},
		{"\u212a", "k"}, // Kelvin sign
		{"ſ", "s"},
		{"ﬁ", "fi"},
		{"İ", "i\u0307"},
		{"ᾼ", "αι"},
		{"α\u0345\u0301", "άι"},
		{"q\u0323\u0307", "q\u0323\u0307"},
		{"q\u0307\u0323", "q\u0323\u0307"},
		{"ꭰ", "Ꭰ"}, // Cherokee folds to upper case
		{"\uac00", "\uac00"},
		{"\u1100\u1161", "\uac00"},
		{"user@example.org", "user@example.org"},
		{"~!#$%&'*+-/=?^`{|}", "~!#$%&'*+-/=?^`{|}"},
		{strings.Repeat("x", 255), strings.Repeat("x", 255)},
	} {
		got, err := NormalName(c.in)
		if err != nil || got != c.want {
			t.Errorf("NormalName(%+q) = %+q, %v, want %+q", c.in, got, err, c.want)
		}
	}
}

func TestNamesThatPeopleTellApartStayApart(t *testing.T) {
	for _, pair := range [][2]string{
		{"admin", "ädmin"},
		{"admin", "аdmin"}, // Cyrillic a
		{"o", "ø"},
		{"a b", "ab"},
	} {
		a, errA := NormalName(pair[0])
		b, errB := NormalName(pair[1])
		if errA != nil || errB != nil || a == b {
			t.Errorf("%q and %q became %q (%v) and %q (%v)", pair[0], pair[1], a, errA, b, errB)
		}
	}
}

func TestT37NamesThatCannotBeReadAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                    "",
		"blank before":             " admin",
		"blank after":              "admin ",
		"only a blank":             " ",
		"too long":                 strings.Repeat("x", 256),
		"too long when folded":     strings.Repeat("ŉ", 100),
		"NUL":                      "admin\x00",
		"line feed":                "admin\n",
		"tab inside":               "ad\tmin",
		"delete":                   "admin\x7f",
		"C1 control":               "admin\u0085",
		"zero width space":         "admin\u200b",
		"zero width joiner":        "ad\u200dmin",
		"zero width non-joiner":    "ad\u200cmin",
		"word joiner":              "ad\u2060min",
		"byte order mark":          "\ufeffadmin",
		"soft hyphen":              "ad\u00admin",
		"right-to-left override":   "\u202enimda",
		"right-to-left mark":       "admin\u200f",
		"isolate":                  "\u2066admin\u2069",
		"tag character":            "admin\U000e0061",
		"variation selector":       "admin\ufe0f",
		"variation selector 17":    "admin\U000e0100",
		"Mongolian selector":       "admin\u180b",
		"grapheme joiner":          "ad\u034fmin",
		"Hangul filler":            "admin\u3164",
		"Hangul choseong filler":   "\u115fadmin",
		"Khmer inherent vowel":     "admin\u17b4",
		"no-break space":           "ad\u00a0min",
		"ideographic space":        "ad\u3000min",
		"Braille blank":            "admin\u2800",
		"line separator":           "admin\u2028",
		"unassigned":               "admin\u0378",
		"non-character":            "admin\uffff",
		"private use":              "admin\ue000",
		"not UTF-8":                "admin\xff",
		"surrogate in bytes":       "admin\xed\xa0\x80",
		"more accents than stream": "a" + strings.Repeat("\u0301", 40),
	} {
		got, err := NormalName(in)
		if !errors.Is(err, ErrInvalid) || got != "" {
			t.Errorf("%s: NormalName = %+q, %v, want ErrInvalid", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "admin") {
			t.Errorf("%s: the refusal repeats what was typed: %v", name, err)
		}
	}
}

func TestEveryCharacterIsStableAndWithoutCase(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !unicode.IsGraphic(r) || unicode.Is(unicode.Han, r) {
			continue // refused, or without case and accents
		}
		stable(t, "a"+string(r))
		stable(t, string(r)+"\u0345\u0301")
		want, err := NormalName(string(r))
		if err != nil {
			continue
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if got, err := NormalName(string(other)); err != nil || got != want {
				t.Errorf("%U is %+q, and %U, which differs in case only, is %+q, %v", r, want, other, got, err)
			}
		}
	}
}

func TestPlainNameDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = NormalName("diku_admin") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzNormalName(f *testing.F) {
	for _, seed := range []string{
		"diku_admin", "DIKU_ADMIN", "Straße", "A\u030asa", "İ", "α\u0345\u0301", "ꭰ", "admin\u200b", " x", "\xff",
		"a" + strings.Repeat("\u0301", 31), "ŉ", "ǰ\u0323", "\u1100\u1161\u11a8",
	} {
		f.Add(seed)
	}
	f.Fuzz(stable)
}

// stable checks what every answer of NormalName has in common.
func stable(t *testing.T, s string) {
	once, err := NormalName(s)
	if err != nil {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("NormalName(%+q): %v, want ErrInvalid", s, err)
		}
		return
	}
	twice, err := NormalName(once)
	if err != nil || twice != once {
		t.Fatalf("NormalName(%+q) = %+q, and again %+q, %v", s, once, twice, err)
	}
	for _, other := range []string{norm.NFD.String(s), norm.NFC.String(s)} {
		if got, err := NormalName(other); err == nil && got != once {
			t.Fatalf("NormalName(%+q) = %+q, and written as %+q it is %+q", s, once, other, got)
		}
	}
}
