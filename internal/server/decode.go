package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/counterfoil/counterfoil/internal/session"
)

// decode reads a file over c and lists what is wrong with it, by line. The
// decoder of yaml stops at the first duration that it cannot read, and names
// Go types where it finds an unknown key; so the tree is looked through before.
func (c *Config) decode(path string, text []byte) []error {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return []error{fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))}
	}
	l := lookedThrough{path: path}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		l.fault(&document, "a second document follows, which would be ignored")
	}
	if len(document.Content) == 0 {
		return l.faults
	}
	root := document.Content[0]
	l.look(root, reflect.TypeFor[Config](), "")
	var faults *yaml.TypeError
	switch err := root.Decode(c); {
	case errors.As(err, &faults):
		for _, one := range faults.Errors {
			l.faults = append(l.faults, fmt.Errorf("%s: %s", path, one))
		}
	case err != nil:
		l.faults = append(l.faults, fmt.Errorf("%s: %s", path, strings.TrimPrefix(err.Error(), "yaml: ")))
	}
	return l.faults
}

// lookedThrough is a file with its faults.
type lookedThrough struct {
	path   string
	faults []error
}

func (l *lookedThrough) fault(at *yaml.Node, format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf("%s: line %d: %s", l.path, at.Line, fmt.Sprintf(format, args...)))
}

var durationType = reflect.TypeFor[session.Duration]()

// look finds keys that t does not have and durations that cannot be read, and
// takes them out of the tree. All else is left to the decoder.
func (l *lookedThrough) look(node *yaml.Node, t reflect.Type, prefix string) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice {
		for i, one := range node.Content {
			l.look(one, t.Elem(), fmt.Sprintf("%s[%d].", strings.TrimSuffix(prefix, "."), i))
		}
		return
	}
	if node.Kind != yaml.MappingNode || t.Kind() != reflect.Struct && t.Kind() != reflect.Map {
		return
	}
	kept := node.Content[:0:0]
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := prefix + key.Value
		field, known := memberType(t, key.Value)
		switch {
		case !known:
			l.fault(key, "unknown key %s", name)
			continue
		case field == durationType && value.Kind == yaml.ScalarNode:
			if _, err := session.ParseDuration(value.Value); err != nil {
				l.fault(value, "%s: %q is not a duration such as 90s, 10m, 12h or 7d", name, value.Value)
				continue
			}
		default:
			l.look(value, field, name+".")
		}
		kept = append(kept, key, value)
	}
	node.Content = kept
}

// memberType is the type of what stands under a key.
func memberType(t reflect.Type, key string) (reflect.Type, bool) {
	var member reflect.Type
	if t.Kind() == reflect.Map {
		member = t.Elem()
	} else {
		for i := range t.NumField() {
			if t.Field(i).Tag.Get("yaml") == key && key != "-" && key != "" {
				member = t.Field(i).Type
			}
		}
	}
	if member != nil && member.Kind() == reflect.Pointer {
		member = member.Elem()
	}
	return member, member != nil
}
