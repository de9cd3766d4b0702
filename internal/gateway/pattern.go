package gateway

import (
	"fmt"
	"strings"
)

const (
	maxPattern = 1024 // bytes
	maxStars   = 8
	// notInPatterns are the characters that Okapi refuses in a pathPattern.
	notInPatterns = "\\%+{}()[].;:=?@#^$\"' "
)

// Pattern is a compiled pathPattern. It is immutable and safe for concurrent
// use, and matching allocates nothing.
//
//   - {name} is one or more characters other than "/", always the rest of the
//     segment, so nothing can follow it there;
//   - * is any characters, also none and also "/";
//   - everything else is itself, upper and lower case apart.
//
// A path is matched as it was sent, still percent-encoded: %2F is three
// characters inside a segment and no separator.
type Pattern struct {
	source string
	parts  []part
}

type part struct {
	kind    partKind
	literal string
}

type partKind uint8

const (
	partLiteral partKind = iota
	partSegment
	partStar
)

// CompilePattern checks and compiles a pathPattern. The error is a *Refusal.
func CompilePattern(source string) (*Pattern, error) {
	if len(source) > maxPattern {
		return nil, badRequest(fmt.Sprintf("pathPattern is longer than %d bytes", maxPattern))
	}
	p := compileParts(source)
	stars := 0
	for _, part := range p.parts {
		switch part.kind {
		case partStar:
			stars++
		case partSegment:
			if err := checkName(part.literal); err != nil {
				return nil, err
			}
		case partLiteral:
			if err := checkCharacters(part.literal, notInPatterns, "for pathPattern"); err != nil {
				return nil, err
			}
		}
	}
	if stars > maxStars {
		return nil, badRequest(fmt.Sprintf("pathPattern has more than %d stars", maxStars))
	}
	return p, nil
}

// checkName takes the text between braces, which lacks a closing brace unless
// the pattern had one.
func checkName(name string) error {
	inside, closed := strings.CutSuffix(name, "}")
	if err := checkCharacters(inside, notInPatterns+"/", "inside {}-construct in pathPattern"); err != nil {
		return err
	}
	if !closed {
		return badRequest("Missing }-character for {}-construct in pathPattern")
	}
	return nil
}

func checkCharacters(s, forbidden, where string) error {
	if i := strings.IndexAny(s, forbidden); i >= 0 {
		return badRequest(fmt.Sprintf("Invalid character %c %s", s[i], where))
	}
	return nil
}

// compileParts compiles without checking; the literal of a {name} part is what
// follows the opening brace, up to and with the closing one.
func compileParts(source string) *Pattern {
	p := &Pattern{source: source}
	for rest := source; rest != ""; {
		switch rest[0] {
		case '*':
			p.parts = append(p.parts, part{kind: partStar})
			rest = strings.TrimLeft(rest, "*")
		case '{':
			end := strings.IndexByte(rest, '}') + 1
			if end == 0 {
				end = len(rest)
			}
			p.parts = append(p.parts, part{kind: partSegment, literal: rest[1:end]})
			rest = rest[end:]
		default:
			end := strings.IndexAny(rest, "*{")
			if end < 0 {
				end = len(rest)
			}
			p.parts = append(p.parts, part{kind: partLiteral, literal: rest[:end]})
			rest = rest[end:]
		}
	}
	return p
}

// String is the pathPattern as it was declared.
func (p *Pattern) String() string { return p.source }

// StaticPrefix is what every matching path begins with, cut after its last
// slash unless the pattern has no wildcard at all.
func (p *Pattern) StaticPrefix() string {
	wildcard := strings.IndexAny(p.source, "*{")
	if wildcard < 0 {
		return p.source
	}
	return p.source[:strings.LastIndexByte(p.source[:wildcard], '/')+1]
}

// Match says whether the whole raw path fits.
//
// After a mismatch only the latest star takes one more character. That finds
// every match, because where a part ends never moves back when it begins later,
// so an earlier star that took more could not help. The work is bounded by the
// square of the path's length however many stars there are, where trying all
// ways is exponential in them.
func (p *Pattern) Match(path string) bool {
	next, pos := 0, 0           // the part to match, and from where
	afterStar, starEnd := -1, 0 // where to go on when the latest star takes more
	for {
		if next < len(p.parts) && p.parts[next].kind == partStar {
			next++
			if next == len(p.parts) {
				return true
			}
			afterStar, starEnd = next, pos
			continue
		}
		if next == len(p.parts) && pos == len(path) {
			return true
		}
		if next < len(p.parts) {
			if end, ok := p.parts[next].match(path, pos); ok {
				next, pos = next+1, end
				continue
			}
		}
		if afterStar < 0 || starEnd == len(path) {
			return false
		}
		starEnd++
		next, pos = afterStar, starEnd
	}
}

// match returns where the part, which is no star, ends when it begins at pos.
func (p part) match(path string, pos int) (end int, ok bool) {
	rest := path[pos:]
	if p.kind == partLiteral {
		return pos + len(p.literal), strings.HasPrefix(rest, p.literal)
	}
	length := strings.IndexByte(rest, '/')
	if length < 0 {
		length = len(rest)
	}
	return pos + length, length > 0
}
