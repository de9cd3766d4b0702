package directory

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// maxName bounds every name of this package, in bytes.
const maxName = 255

// maxTenantID is ADR-000002 of FOLIO's Technical Council, in bytes.
const maxTenantID = 31

// ValidTenantID refuses ids that new tenants must not have, in the words of
// Okapi's TenantValidator. The error is ErrInvalid and its text is the whole
// message. Tenants that exist already may have ids of an older style.
func ValidTenantID(id string) error {
	if id != "" && len(id) <= maxTenantID && isLower(id[0]) && strings.IndexFunc(id, notLowerOrDigit) < 0 {
		return nil
	}
	switch {
	case strings.Contains(id, "_"):
		return invalid("Tenant id must not contain underscore: " + quoted(id))
	case strings.Contains(id, "-"):
		return invalid("Tenant id must not contain minus: " + quoted(id))
	case len(id) > maxTenantID:
		return invalid("Tenant id must not exceed 31 characters: " + quoted(id))
	case id != "" && isDigit(id[0]):
		return invalid("Tenant id must not start with a digit: " + quoted(id))
	}
	return invalid("Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is " + quoted(id))
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func notLowerOrDigit(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9')
}

// ValidUser refuses a record that must not be stored. The error is ErrInvalid
// and names the field, never its content.
func ValidUser(u User) error {
	// Ids are compared as bytes everywhere, so one user has one spelling.
	if id, err := uuid.Parse(u.ID); err != nil || id.String() != u.ID {
		return invalid("id: must be a UUID in lower case with hyphens")
	}
	if _, err := NormalName(u.Username); err != nil {
		return err
	}
	for _, field := range []struct{ name, value string }{
		{"firstName", u.FirstName},
		{"lastName", u.LastName},
		{"email", u.Email},
	} {
		if err := validText(field.name, field.value); err != nil {
			return err
		}
	}
	return nil
}

// validText accepts what a person may be called in any script. Joiners stay:
// Persian and the scripts of India need them.
func validText(field, s string) error {
	if len(s) > maxName {
		return tooLong(field)
	}
	if !utf8.ValidString(s) {
		return invalid(field + ": must be UTF-8")
	}
	for _, r := range s {
		// Bidi controls would let a name rewrite the line in which an operator
		// reads it.
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return invalid(fmt.Sprintf("%s: must not contain the control character %U", field, r))
		}
	}
	return nil
}

// ValidPermission refuses names that must not be defined or granted: a
// wildcard would grant what nobody listed, and a comma would make two names
// of one in Okapi's comma-joined headers. The error is ErrInvalid.
func ValidPermission(name string) error {
	switch {
	case name == "":
		return invalid("permission: must not be empty")
	case len(name) > maxName:
		return tooLong("permission")
	case !utf8.ValidString(name):
		return invalid("permission: must be UTF-8")
	case strings.Contains(name, "*"):
		return invalid(fmt.Sprintf("permission %q: must not contain a wildcard, name each permission", quoted(name)))
	case strings.Contains(name, ","):
		return invalid(fmt.Sprintf("permission %q: must not contain a comma", quoted(name)))
	case strings.TrimSpace(name) != name:
		return invalid(fmt.Sprintf("permission %q: must not begin or end with a blank", quoted(name)))
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) {
			return invalid(fmt.Sprintf("permission %q: must not contain the control character %U", quoted(name), r))
		}
	}
	return nil
}

// invalid is a refusal whose text is the whole message, because some of the
// texts are Okapi's and clients read them. It is ErrInvalid to errors.Is.
type invalid string

func (e invalid) Error() string        { return string(e) }
func (e invalid) Is(target error) bool { return target == ErrInvalid }

func tooLong(what string) error {
	return invalid(fmt.Sprintf("%s: must not exceed %d bytes", what, maxName))
}

// quoted is a refused value in a message: printable, and not so long that it
// floods a log.
func quoted(s string) string {
	const enough = 64
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}
