package gateway

import "strings"

// CheckPath refuses a raw path that a module may take for another path than
// the gateway did, and so serve with the permissions of the wrong route: dot
// segments, backslashes and empty segments. rawPath is URL.EscapedPath(), read
// once; the same string must then be routed and forwarded.
//
// Dots and backslashes count plain and encoded. A segment that only begins
// with a parameter after its dots ("..;x") is a dot segment to servlet
// containers, and so is one cut out by %2F ("..%2f") to modules that decode
// early. Otherwise %2F is part of a segment and stays as it is, as is every
// other character. A slash at the end is no empty segment. The error is a
// *Refusal with status 400.
func CheckPath(rawPath string) error {
	if !strings.HasPrefix(rawPath, "/") {
		return badRequest("Invalid path: it must begin with a slash")
	}
	if strings.Contains(rawPath, "//") {
		return badRequest("Invalid path: empty segment")
	}
	if strings.IndexByte(rawPath, '\\') >= 0 {
		return badRequest("Invalid path: backslash")
	}
	if !strings.Contains(rawPath, "/.") && strings.IndexByte(rawPath, '%') < 0 {
		return nil
	}
	return checkEncoded(rawPath)
}

// checkEncoded walks a path that has dots or percent signs to look at.
func checkEncoded(path string) error {
	dots, onlyDots := 0, true // of the segment so far
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			switch path[i+1 : i+3] {
			case "2e", "2E":
				c = '.'
			case "2f", "2F":
				c = '/'
			case "3b", "3B":
				c = ';'
			case "5c", "5C":
				return badRequest("Invalid path: backslash")
			}
			i += 2
		}
		switch c {
		case '.':
			dots++
		case '/', ';':
			if onlyDots && (dots == 1 || dots == 2) {
				return badRequest("Invalid path: dot segment")
			}
			dots, onlyDots = 0, c == '/'
		default:
			onlyDots = false
		}
	}
	if onlyDots && (dots == 1 || dots == 2) {
		return badRequest("Invalid path: dot segment")
	}
	return nil
}
