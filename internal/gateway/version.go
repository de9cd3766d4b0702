package gateway

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Version is a semantic version, as liberal as Okapi takes it: one numeric
// component is enough, and there may be more than three.
type Version struct {
	numbers []uint64
	pre     []string
	build   string // with its plus sign
}

var errVersion = errors.New("want digits separated by dots, such as 1.2.3 or 1.2.3-SNAPSHOT.4")

// ParseVersion reads a version such as 1, 1.2.3 or 1.2.3-SNAPSHOT.12+build.
func ParseVersion(s string) (Version, error) {
	var v Version
	if i := strings.IndexByte(s, '+'); i >= 0 {
		s, v.build = s[:i], s[i:]
	}
	numbers, pre, isPre := strings.Cut(s, "-")
	for component := range strings.SplitSeq(numbers, ".") {
		n, ok := parseDigits(component)
		if !ok {
			return Version{}, errVersion
		}
		v.numbers = append(v.numbers, n)
	}
	if isPre {
		v.pre = strings.Split(pre, ".")
		if slices.Contains(v.pre, "") {
			return Version{}, errVersion
		}
	}
	return v, nil
}

// parseDigits refuses signs and more than 18 digits, which Okapi also does.
func parseDigits(s string) (uint64, bool) {
	if len(s) > 18 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// Compare orders versions: -1 if v is older than w, 0 if they are the same, +1
// if it is newer. A pre-release is older than what it leads to.
func (v Version) Compare(w Version) int {
	if c := slices.Compare(v.numbers, w.numbers); c != 0 {
		return c
	}
	switch {
	case len(v.pre) == 0 && len(w.pre) > 0:
		return 1
	case len(v.pre) > 0 && len(w.pre) == 0:
		return -1
	}
	if c := slices.CompareFunc(v.pre, w.pre, comparePre); c != 0 {
		return c
	}
	return cmp.Compare(v.build, w.build)
}

// comparePre takes numbers as older than words.
func comparePre(a, b string) int {
	m, aNumeric := parseDigits(a)
	n, bNumeric := parseDigits(b)
	switch {
	case aNumeric && bNumeric:
		return cmp.Compare(m, n)
	case aNumeric:
		return -1
	case bNumeric:
		return 1
	}
	return cmp.Compare(a, b)
}

// CompareModuleIDs orders by product, then by version. An id without a version
// comes before the same product with one.
func CompareModuleIDs(a, b string) int {
	productA, textA := splitModuleID(a)
	productB, textB := splitModuleID(b)
	if c := cmp.Compare(productA, productB); c != 0 {
		return c
	}
	versionA, _ := ParseVersion(textA)
	versionB, _ := ParseVersion(textB)
	return versionA.Compare(versionB)
}

// splitModuleID splits at the first hyphen before a digit.
func splitModuleID(id string) (product, version string) {
	for i := 0; i+1 < len(id); i++ {
		if id[i] == '-' && id[i+1] >= '0' && id[i+1] <= '9' {
			return id[:i], id[i+1:]
		}
	}
	return id, ""
}

// interfaceVersion is major, minor and patch; without a patch it is -1, which
// is older than any.
type interfaceVersion [3]int

// parseInterfaceVersion reads x.y or x.y.z.
func parseInterfaceVersion(s string) (interfaceVersion, bool) {
	v := interfaceVersion{0, 0, -1}
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return v, false
	}
	for i, part := range parts {
		n, ok := parseDigits(part)
		if !ok {
			return v, false
		}
		v[i] = int(n)
	}
	return v, true
}

// Satisfies says whether the provided interface i serves one of the versions
// that required asks for: the same major, and not an older minor or patch.
func (i *InterfaceDescriptor) Satisfies(required *InterfaceDescriptor) bool {
	have, ok := parseInterfaceVersion(i.Version)
	if !ok || i.ID != required.ID {
		return false
	}
	for alternative := range strings.FieldsSeq(required.Version) {
		need, ok := parseInterfaceVersion(alternative)
		if ok && have[0] == need[0] && slices.Compare(have[1:], need[1:]) >= 0 {
			return true
		}
	}
	return false
}
