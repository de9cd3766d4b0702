package directory

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// NormalName returns the form in which user names are compared and indexed:
// case folded in full and composed (NFC), so that spellings which a person
// takes for the same name find the same user, and the limits of failed logins
// cannot be multiplied by writing one name in many ways.
//
// It fails with ErrInvalid if the name is empty, longer than 255 bytes, not
// UTF-8, begins or ends with a blank, or has a character that nobody can see
// or tell from a blank. Accents count, and look-alikes of another script are
// other names: mod-users ignores accents when it compares, this does not.
//
// The result is the same when it is normalised again. A name in plain lower
// case is returned as it is, without allocation.
func NormalName(s string) (string, error) {
	if s == "" {
		return "", invalid("user name: must not be empty")
	}
	if len(s) > maxName {
		return "", tooLong("user name")
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		return "", invalid("user name: must not begin or end with a blank")
	}
	if plain(s) {
		return s, nil
	}
	if err := visible(s); err != nil {
		return "", err
	}
	// Folding looks at single characters, so they are taken apart before
	// (Unicode definition D145). A Caser may keep state and is not shared.
	folded := cases.Fold().String(norm.NFD.String(s))
	normal := norm.NFC.String(strings.Map(foldCherokee, folded))
	if len(normal) > maxName {
		return "", tooLong("user name")
	}
	// Normalising puts an invisible joiner into a heap of more than 30
	// accents, and may do so to a name that had none.
	if err := visible(normal); err != nil {
		return "", err
	}
	return normal, nil
}

// foldCherokee mends what x/text does to this one script, whose letters fold
// to upper case: it exchanges upper and lower (golang/go issue 46101).
func foldCherokee(r rune) rune {
	if unicode.Is(unicode.Cherokee, r) {
		return unicode.ToUpper(r)
	}
	return r
}

// plain is whether s is printable ASCII without upper case, which is its own
// normal form.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// visible refuses what makes two names look the same, or one name look like
// nothing.
func visible(s string) error {
	if !utf8.ValidString(s) {
		return invalid("user name: must be UTF-8")
	}
	for _, r := range s {
		switch {
		case !unicode.IsGraphic(r):
			return invalid(fmt.Sprintf("user name: must not contain the control, format or unassigned character %U", r))
		case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			return invalid(fmt.Sprintf("user name: must not contain the invisible character %U", r))
		case r != ' ' && (unicode.Is(unicode.Zs, r) || r == brailleBlank):
			return invalid(fmt.Sprintf("user name: must not contain the blank %U, use a space", r))
		}
	}
	return nil
}

// brailleBlank is a symbol to Unicode and a blank to the eye.
const brailleBlank = '\u2800'
