package gateway

import "strings"

// accessCookie carries the access token of a browser, under FOLIO's name.
const accessCookie = "folioAccessToken"

// ownCookie says whether a cookie is one that Counterfoil sets. Modules get
// none of these and can set none: what they need to know about the caller is
// in the headers that the gateway sets.
func ownCookie(name string) bool {
	switch name {
	case accessCookie, "folioRefreshToken", "counterfoilDevice":
		return true
	}
	return strings.HasPrefix(name, "counterfoilHeal")
}

// cookieName is the name of a name=value pair as the most lenient reader sees
// it: without white space and control characters around it, and without a
// leading "=", because browsers keep "=a=b" as a cookie without a name and
// send it as "a=b".
func cookieName(pair string) string {
	pair = strings.TrimLeftFunc(pair, func(r rune) bool { return r <= ' ' || r == '=' })
	name, _, _ := strings.Cut(pair, "=")
	return strings.TrimRightFunc(name, func(r rune) bool { return r <= ' ' })
}

// withoutOwnCookies returns the Cookie values without Counterfoil's own
// cookies. The others keep their order and every byte, and lines without any
// of ours are returned as they are. The slice is reused.
func withoutOwnCookies(lines []string) []string {
	kept := lines[:0]
	for _, line := range lines {
		if line = withoutOwn(line); line != "" {
			kept = append(kept, line)
		}
	}
	return kept
}

func withoutOwn(line string) string {
	var b strings.Builder
	dropped, first := false, true
	for pair := range strings.SplitSeq(line, ";") {
		if ownCookie(cookieName(pair)) {
			if !dropped {
				dropped = true
				b.Grow(len(line))
			}
			continue
		}
		if first {
			pair = strings.TrimLeft(pair, " \t")
		} else {
			b.WriteByte(';')
		}
		b.WriteString(pair)
		first = false
	}
	if !dropped {
		return line
	}
	return b.String()
}

// accessTokens returns the value of the last access cookie and how many there
// are. A cookie whose value RFC 6265 does not allow is no cookie, as in Okapi.
func accessTokens(lines []string) (token string, n int) {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, ok := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
			if !ok || name != accessCookie {
				continue
			}
			value = strings.TrimRight(value, " \t")
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			if !strings.ContainsFunc(value, notInCookie) {
				token = value
				n++
			}
		}
	}
	return token, n
}

// notInCookie is the complement of cookie-octet of RFC 6265 section 4.1.1.
func notInCookie(c rune) bool {
	return c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\'
}
