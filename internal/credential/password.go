package credential

import (
	_ "embed"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Rules are what a new password must keep (NIST SP 800-63B-4 §3.1.1). They ask
// for length and refuse what is tried first; which kinds of characters a
// password has, and how old it is, is nobody's business.
type Rules struct {
	// MinLength is in code points of the composed form; 0 is 15, the least
	// for a password that stands alone.
	MinLength int
	// AllowWeak accepts short, common and name-like passwords. It is for a
	// demo whose passwords are printed in its manual, and for nothing else.
	AllowWeak bool
}

const (
	defaultMinLength = 15
	// minName is the shortest user name that is looked for inside a password:
	// "al" is in too many words.
	minName = 3
)

// Check fails with ErrPassword, and says what to do, if password cannot be the
// new password of username. Too long a one is ErrTooLong as well.
func (r Rules) Check(password, username string) error {
	switch {
	case password == "":
		return fmt.Errorf("%w: it must not be empty", ErrPassword)
	case len(password) > maxPassword:
		return fmt.Errorf("%w: %w", ErrPassword, ErrTooLong)
	case !utf8.ValidString(password):
		return fmt.Errorf("%w: it must be valid UTF-8", ErrPassword)
	case strings.ContainsFunc(password, unicode.IsControl):
		return fmt.Errorf("%w: it must not contain control characters, such as a tab or a line break", ErrPassword)
	case r.AllowWeak:
		return nil
	}
	least := r.MinLength
	if least == 0 {
		least = defaultMinLength
	}
	if utf8.RuneCountInString(norm.NFC.String(password)) < least {
		return fmt.Errorf("%w: it must have at least %d characters, a few words will do", ErrPassword, least)
	}
	folded, name := fold(password), fold(username)
	if utf8.RuneCountInString(name) >= minName && strings.Contains(folded, name) {
		return fmt.Errorf("%w: it must not contain the user name", ErrPassword)
	}
	if guessable(folded) {
		return fmt.Errorf("%w: it is made of words or sequences that are tried first, add something of your own", ErrPassword)
	}
	return nil
}

// fold is the form in which letters of either case, composed or not, compare
// equal. A Caser may keep state, so it is not shared.
func fold(s string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFD.String(s)))
}

// The list is short on purpose. Most lists of leaked passwords hold words that
// are refused for their length already; what remains are those words said
// twice, put together, or followed by digits, which guessable knows.
//
//go:embed blocklist.txt
var blocklist string

var blocked = strings.Fields(blocklist)

const (
	// minRun is how many characters in a row make a sequence, as in aaa, abc
	// or 321.
	minRun = 3
	// maxPeriod is the longest group whose repetition counts as nothing new.
	maxPeriod = 4
)

// guessable is whether a folded password has nothing but words of the list
// and sequences. Digits and signs beside such words do not help, because they
// are what everybody adds.
func guessable(folded string) bool {
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, folded)
	return periodic([]rune(folded)) || covered(folded) || letters != "" && covered(letters)
}

// periodic is whether s is one group of a few characters over and over.
func periodic(s []rune) bool {
	for period := 1; period <= maxPeriod && 2*period <= len(s); period++ {
		i := period
		for i < len(s) && s[i] == s[i-period] {
			i++
		}
		if i == len(s) {
			return true
		}
	}
	return false
}

// covered is whether s can be cut into words of the list and sequences.
func covered(s string) bool {
	reached := make([]bool, len(s)+1)
	reached[0] = true
	for at := range s {
		if !reached[at] {
			continue
		}
		for _, word := range blocked {
			if strings.HasPrefix(s[at:], word) {
				reached[at+len(word)] = true
			}
		}
		for step := rune(-1); step <= 1; step++ {
			markRun(reached[at:], s[at:], step)
		}
	}
	return reached[len(s)]
}

// markRun marks every end of a sequence at the start of s whose characters
// are step apart. 0 follows 9, as on a keyboard.
func markRun(reached []bool, s string, step rune) {
	var last rune
	n := 0
	for at, r := range s {
		next := last + step
		if (last == '9' && step == 1) || (last == '0' && step == -1) {
			next = '0' + '9' - last
		}
		if n > 0 && r != next {
			return
		}
		last, n = r, n+1
		if n >= minRun {
			reached[at+utf8.RuneLen(r)] = true
		}
	}
}
