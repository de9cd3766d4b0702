package folioclient

import "strings"

// equals is the CQL term that finds what is exactly value, taken literally: *,
// ? and ^ are wildcards and anchors in CQL, a quotation mark ends a value, and
// a backslash takes the meaning of what follows. index is our own text.
func equals(index, value string) string {
	var b strings.Builder
	b.Grow(len(index) + len(value) + 8)
	b.WriteString(index)
	b.WriteString(`=="`)
	for i := range len(value) {
		switch c := value[i]; c {
		case '\\', '"', '*', '?', '^':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// anyOf is the CQL query that finds what is exactly one of values.
func anyOf(index string, values []string) string {
	terms := make([]string, len(values))
	for i, value := range values {
		terms[i] = equals(index, value)
	}
	return "(" + strings.Join(terms, " or ") + ")"
}
