package gateway

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	// maxOutsideID bounds the chain that a client may start, in bytes.
	maxOutsideID = 128
	// maxInsideID bounds the chain that modules hand on and that they are
	// given, in bytes. Okapi lets it grow until a header limit breaks the call.
	maxInsideID = 1024
	// maxIDSegment bounds the path segment in one id, in bytes.
	maxIDSegment = 64
)

// RequestIDs numbers requests as Okapi does: six digits and the first segment
// of the path, put at the end of the chain that the caller sent, so that
// "821257/circulation;744931/users" is a call to users made while circulation
// was served. The number tells requests apart in a log and guards nothing.
type RequestIDs struct {
	// IntN returns a number in [0, n); nil means math/rand/v2.IntN.
	IntN func(n int) int
}

// Next returns the request's chain, at most 1 KiB long. sent is all values of
// X-Okapi-Request-Id; inside says whether the request came to the internal
// listener. A chain that could forge or break log lines is refused with a
// *Refusal of status 400, and so is one longer than 128 bytes from outside or
// 1 KiB from inside. A chain that its new link would make too long loses the
// oldest links after the first.
func (r RequestIDs) Next(sent []string, rawPath string, inside bool) (string, error) {
	chain, same := single(sent)
	if !same {
		return "", badRequest("Different values in X-Okapi-Request-Id. Use only one of them")
	}
	limit := maxOutsideID
	if inside {
		limit = maxInsideID
	}
	if len(chain) > limit || strings.ContainsFunc(chain, notInRequestID) {
		return "", badRequest("Invalid X-Okapi-Request-Id. Use at most " + strconv.Itoa(limit) +
			" letters, digits and _ . / ; -")
	}
	link := r.link(rawPath)
	if chain == "" {
		return link, nil
	}
	if len(chain)+1+len(link) > maxInsideID {
		chain = shorten(chain, maxInsideID-1-len(link))
	}
	return chain + ";" + link, nil
}

// adopt returns the chain to which somebody else has put this request's link
// already, at most 1 KiB long and without what could forge or break log lines.
// Okapi never shortens a chain, and a request must not fail because of one.
func (r RequestIDs) adopt(sent, rawPath string) string {
	if sent == "" {
		return r.link(rawPath)
	}
	if strings.ContainsFunc(sent, notInRequestID) {
		sent = strings.Map(func(c rune) rune {
			if notInRequestID(c) {
				return '_'
			}
			return c
		}, sent)
	}
	if len(sent) > maxInsideID {
		return shorten(sent, maxInsideID)
	}
	return sent
}

// link makes the id of this request alone.
func (r RequestIDs) link(rawPath string) string {
	intN := r.IntN
	if intN == nil {
		intN = rand.IntN
	}
	segment, management := strings.CutPrefix(rawPath, "/_/") // named by their second segment
	if !management {
		segment = strings.TrimPrefix(rawPath, "/")
	}
	if end := strings.IndexByte(segment, '/'); end >= 0 {
		segment = segment[:end]
	}
	var buf [6 + 1 + maxIDSegment]byte
	id := strconv.AppendInt(buf[:0], int64(1_000_000+intN(1_000_000)), 10)[1:]
	id = append(id, '/')
	for i := 0; i < min(len(segment), maxIDSegment); i++ {
		c := rune(segment[i])
		if notInRequestID(c) || c == ';' {
			c = '_'
		}
		id = append(id, byte(c))
	}
	return string(id)
}

// shorten drops links after the first until the chain has at most limit bytes,
// and says so with dots. The first link is what the client knows, the last ones
// are where it went wrong.
func shorten(chain string, limit int) string {
	first, rest, _ := strings.Cut(chain, ";")
	first += ";..."
	if len(first) > limit {
		return "..."
	}
	for rest != "" && len(first)+1+len(rest) > limit {
		_, rest, _ = strings.Cut(rest, ";")
	}
	if rest == "" {
		return first
	}
	return first + ";" + rest
}

func notInRequestID(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune("_./;-", c)
}
