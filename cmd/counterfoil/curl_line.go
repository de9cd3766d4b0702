package main

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// curlOptions are those of the curl that is installed, as its own help lists
// them, so that this reads a command line as that curl will: each long name
// with whether a value follows, and the long names of letters.
type curlOptions struct {
	long  map[string]bool
	short map[byte]string
}

var optionLine = regexp.MustCompile(`(?m)^ *(?:-(.), )? *--([A-Za-z0-9][A-Za-z0-9.-]*)( <)?`)

func readCurlOptions(help string) (curlOptions, error) {
	o := curlOptions{map[string]bool{}, map[byte]string{}}
	for _, found := range optionLine.FindAllStringSubmatch(help, -1) {
		letter, name, value := found[1], found[2], found[3] != ""
		o.long[name] = value
		if letter != "" {
			o.short[letter[0]] = name
		}
		if positive, negated := strings.CutPrefix(name, "no-"); negated {
			o.long[positive] = false // --no-buffer is listed, --buffer is not
		}
	}
	for name, value := range map[string]bool{"url": true, "header": true, "config": true, "location": false, "next": false} {
		if has, known := o.long[name]; !known || has != value {
			return o, fmt.Errorf("the help of the installed curl cannot be understood: --%s is not as expected", name)
		}
	}
	return o, nil
}

// find returns the whole name of a long option and whether a value follows. As
// curl does, it takes the beginning of a name that is the only one.
func (o curlOptions) find(word string) (name string, value bool, err error) {
	if value, known := o.long[word]; known {
		return word, value, nil
	}
	if positive, negated := strings.CutPrefix(word, "no-"); negated {
		name, value, err := o.find(positive)
		if err == nil && value {
			err = usageError("curl's --" + name + " cannot be negated")
		}
		return name, value, err
	}
	if plain, expanded := strings.CutPrefix(word, "expand-"); expanded && o.long[plain] {
		return word, true, nil
	}
	for candidate := range o.long {
		if !strings.HasPrefix(candidate, word) {
			continue
		}
		if name != "" {
			return "", false, usageError("--" + word + " is the beginning of more than one of curl's options")
		}
		name, value = candidate, o.long[candidate]
	}
	if name == "" {
		return "", false, usageError("the installed curl has no option --" + word)
	}
	return name, value, nil
}

// refusedOptions would send the token elsewhere, or another one in its place.
var refusedOptions = map[string]string{
	"config":           "the URLs in the file would get the token unseen",
	"expand-url":       "where it leads is known to curl alone",
	"location-trusted": "it would take the token to wherever a redirect leads",
	"oauth2-bearer":    "the session's token goes along",
	"user":             "the session's token goes along (--user before all of curl's own options is whose session)",
}

// operation is what curl does with one set of options; --next begins another.
type operation struct {
	args []string
	urls int
	// tenant is whether a header of the user's own names the tenant, dumped
	// whether curl writes the headers of answers to where the user wants them.
	tenant, dumped bool
}

// lineReader takes a command line of curl apart.
type lineReader struct {
	options    curlOptions
	gateway    *url.URL
	operations []operation
}

func (l *lineReader) current() *operation { return &l.operations[len(l.operations)-1] }

// readCurlLine splits the arguments of curl into operations and aims each URL
// at the gateway. Whatever it does not understand it refuses: what it took for
// the value of an option and curl takes for a URL would get the token.
func readCurlLine(options curlOptions, gateway *url.URL, args []string) ([]operation, error) {
	l := &lineReader{options: options, gateway: gateway, operations: []operation{{}}}
	for len(args) > 0 {
		used, err := l.take(args)
		if err != nil {
			return nil, err
		}
		args = args[used:]
	}
	for _, op := range l.operations {
		if op.urls == 0 {
			return nil, usageError("there is no URL: name one at the gateway, or a path such as /users")
		}
	}
	return l.operations, nil
}

// take reads the first of args, and the next one if that is its value.
func (l *lineReader) take(args []string) (used int, err error) {
	switch word := args[0]; {
	case word == "--":
		l.current().args = append(l.current().args, word)
		for _, text := range args[1:] {
			if err := l.url(text); err != nil {
				return 0, err
			}
		}
		return len(args), nil
	case strings.HasPrefix(word, "--"):
		name, value, err := l.options.find(word[2:])
		if err != nil {
			return 0, err
		}
		return l.option(word, name, value, args[1:])
	case word == "-" || word == "":
		return 0, usageError(fmt.Sprintf("%q is neither one of curl's options nor a URL", word))
	case word[0] == '-':
		return l.letters(word, args[1:])
	default:
		return 1, l.url(word)
	}
}

// option adds an option, with the first of rest if it has a value.
func (l *lineReader) option(word, name string, value bool, rest []string) (used int, err error) {
	if why, refused := refusedOptions[name]; refused {
		return 0, usageError("not with " + word + ": " + why)
	}
	switch {
	case name == "next":
		l.operations = append(l.operations, operation{})
		return 1, nil
	case !value:
		l.current().args = append(l.current().args, word)
		return 1, nil
	case len(rest) == 0:
		return 0, usageError("curl's " + word + " needs a value")
	case name == "url":
		return 2, l.url(rest[0])
	}
	if err := l.note(name, rest[0]); err != nil {
		return 0, err
	}
	l.current().args = append(l.current().args, word, rest[0])
	return 2, nil
}

// letters adds a word such as -sSd, whose last letter may have a value in the
// rest of the word or in the first of rest.
func (l *lineReader) letters(word string, rest []string) (used int, err error) {
	for i := 1; i < len(word); i++ {
		letter := "-" + word[i:i+1]
		name, known := l.options.short[word[i]]
		if !known {
			return 0, usageError("the installed curl has no option " + letter)
		}
		value := l.options.long[name]
		if value && i+1 < len(word) {
			_, err = l.option(letter, name, true, []string{word[i+1:]})
			return 1, err
		}
		if used, err = l.option(letter, name, value, rest); err != nil {
			return 0, err
		}
	}
	return used, nil
}

// note looks at the values that say something about credentials.
func (l *lineReader) note(name, value string) error {
	switch name {
	case "dump-header":
		l.current().dumped = true
	case "header":
		header, _, _ := strings.Cut(value, ":")
		switch strings.ToLower(strings.TrimRight(header, "; ")) {
		case "authorization", "x-okapi-token":
			return usageError("not with the header " + header + ": the session's token goes along")
		case "x-okapi-tenant":
			l.current().tenant = true
		}
	}
	return nil
}

// url adds a URL, whole: curl is to guess nothing.
func (l *lineReader) url(text string) error {
	whole, err := aim(l.gateway, text)
	if err != nil {
		return err
	}
	l.current().args = append(l.current().args, whole)
	l.current().urls++
	return nil
}

// aim returns the URL for what somebody typed: a path at the gateway, or a
// URL whose origin is the gateway's and whose path is at or below its path.
// The origin is written anew, so that curl cannot read another one there.
func aim(gateway *url.URL, text string) (string, error) {
	elsewhere := usageError(fmt.Sprintf("%q is not at %s, and the session's token goes nowhere else", text, gateway))
	rest := gateway.Path + text
	if !strings.HasPrefix(text, "/") {
		scheme, after, found := strings.Cut(text, "://")
		if !found {
			scheme, after = "http", text // as curl has it
		}
		end := strings.IndexAny(after+"/", "/?#")
		if origin(scheme, after[:end]) != origin(gateway.Scheme, gateway.Host) {
			return "", elsewhere
		}
		rest = after[end:]
	}
	before, _, _ := strings.Cut(rest, "?")
	before, _, _ = strings.Cut(before, "#")
	plain, err := url.PathUnescape(before)
	if err != nil {
		return "", usageError(fmt.Sprintf("%q is no URL: %v", text, err))
	}
	below := path.Clean("/" + plain)
	if gateway.Path != "" && below != gateway.Path && !strings.HasPrefix(below, gateway.Path+"/") {
		return "", elsewhere
	}
	return gateway.Scheme + "://" + gateway.Host + rest, nil
}

// origin is scheme, host and port in one form.
func origin(scheme, host string) string {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	return scheme + "://" + strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
}
