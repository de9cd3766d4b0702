package foliotest

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
	"golang.org/x/text/unicode/norm"
)

// query is a parsed CQL query: whether a record, given by its fields, matches.
type query func(field func(index string) []string) bool

// parseCQL reads the part of CQL that FOLIO's modules send each other:
// `field==value`, `field=="value"`, and, or, parentheses, and
// cql.allRecords=1. fields are the indexes of the table; a query for another
// one is refused, as is everything else that CQL has.
//
// It is as dangerous as the original: * and ? in a value are wildcards unless
// a backslash stands before them, and a quotation mark ends the value.
func parseCQL(text string, fields ...string) (query, error) {
	if text == "" {
		return func(func(string) []string) bool { return true }, nil
	}
	p := &cqlParser{left: text, fields: fields}
	q, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.skip(); p.left != "" {
		return nil, errCQL
	}
	return q, nil
}

var errCQL = errors.New("unsupported CQL")

type cqlParser struct {
	left   string
	fields []string
	depth  int
}

// or and and have the same precedence in CQL and associate to the left.
func (p *cqlParser) or() (query, error) {
	q, err := p.term()
	for err == nil {
		switch {
		case p.word("and"):
			left, right := q, query(nil)
			right, err = p.term()
			q = func(f func(string) []string) bool { return left(f) && right(f) }
		case p.word("or"):
			left, right := q, query(nil)
			right, err = p.term()
			q = func(f func(string) []string) bool { return left(f) || right(f) }
		default:
			return q, nil
		}
	}
	return nil, err
}

func (p *cqlParser) term() (query, error) {
	p.skip()
	if rest, ok := strings.CutPrefix(p.left, "("); ok {
		if p.depth++; p.depth > 100 {
			return nil, errCQL
		}
		p.left = rest
		q, err := p.or()
		if err != nil {
			return nil, err
		}
		p.skip()
		if p.left, ok = strings.CutPrefix(p.left, ")"); !ok {
			return nil, errCQL
		}
		return q, nil
	}
	index := p.plain()
	p.skip()
	if index == "cql.allRecords" && strings.HasPrefix(p.left, "=1") {
		p.left = p.left[2:]
		return func(func(string) []string) bool { return true }, nil
	}
	rest, ok := strings.CutPrefix(p.left, "==")
	if !ok || !slices.Contains(p.fields, index) {
		return nil, errCQL
	}
	p.left = rest
	pattern, err := p.value()
	if err != nil {
		return nil, err
	}
	return func(field func(string) []string) bool {
		for _, value := range field(index) {
			if pattern.matches(fold(value)) {
				return true
			}
		}
		return false
	}, nil
}

func (p *cqlParser) skip() { p.left = strings.TrimLeft(p.left, " \t\n") }

// word takes a boolean operator, in whatever case.
func (p *cqlParser) word(w string) bool {
	p.skip()
	if len(p.left) <= len(w) || !strings.EqualFold(p.left[:len(w)], w) || !strings.ContainsAny(p.left[len(w):len(w)+1], " (\t\n") {
		return false
	}
	p.left = p.left[len(w):]
	return true
}

// plain takes text without quotation marks.
func (p *cqlParser) plain() string {
	end := strings.IndexAny(p.left, " \t\n()=<>/\"")
	if end < 0 {
		end = len(p.left)
	}
	word := p.left[:end]
	p.left = p.left[end:]
	return word
}

func (p *cqlParser) value() (pattern, error) {
	p.skip()
	rest, quoted := strings.CutPrefix(p.left, `"`)
	if !quoted {
		word := p.plain()
		if word == "" {
			return nil, errCQL
		}
		return compile(word), nil
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			p.left = rest[i+1:]
			return compile(rest[:i]), nil
		}
	}
	return nil, errCQL
}

// pattern is a value with its wildcards.
type pattern []piece

// piece is one character, or a wildcard.
type piece struct {
	char rune
	wild bool
}

func compile(text string) (p pattern) {
	escaped := false
	for _, r := range fold(text) {
		switch {
		case escaped:
			p, escaped = append(p, piece{char: r}), false
		case r == '\\':
			escaped = true
		default:
			p = append(p, piece{char: r, wild: r == '*' || r == '?'})
		}
	}
	return p
}

func (p pattern) matches(s string) bool {
	if len(p) == 0 {
		return s == ""
	}
	if p[0].wild && p[0].char == '*' {
		for i := range s {
			if p[1:].matches(s[i:]) {
				return true
			}
		}
		return p[1:].matches("")
	}
	for i, r := range s {
		if i > 0 {
			return p[1:].matches(s[i:])
		}
		if !p[0].wild && p[0].char != r {
			return false
		}
	}
	return s != "" && p[1:].matches("")
}

// fold is how FOLIO's modules compare text unless a table says otherwise:
// without case and without accents.
func fold(s string) string {
	accents := runes.Remove(runes.In(unicode.Mn))
	s, _, _ = transform.String(transform.Chain(norm.NFD, accents, norm.NFC), s)
	return cases.Fold().String(s)
}
