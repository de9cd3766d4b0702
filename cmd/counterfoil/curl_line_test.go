package main

import (
	"errors"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// theHelp is what `curl --help all` prints, a few lines of it.
const theHelp = `Usage: curl [options...] <url>
     --anyauth            Pick any authentication method
 -K, --config <file>      Read config from a file
 -d, --data <data>        HTTP POST data
     --data-urlencode <data> HTTP POST data URL encoded
 -D, --dump-header <filename> Write the received headers to <filename>
 -H, --header <header/@file> Pass custom header(s) to server
 -i, --include            Include protocol response headers in the output
 -L, --location           Follow redirects
     --location-trusted   Like --location, and send auth to other hosts
 -:, --next               Make next URL use its separate set of options
 -N, --no-buffer          Disable buffering of the output stream
     --oauth2-bearer <token> OAuth 2 Bearer Token
 -o, --output <file>      Write to file instead of stdout
 -#, --progress-bar       Display transfer progress as a bar
 -s, --silent             Silent mode
     --url <url>          URL to work with
 -u, --user <user:password> Server user and password
`

func options(t *testing.T) curlOptions {
	t.Helper()
	o, err := readCurlOptions(theHelp)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func gatewayAt(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := gatewayURL(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestCurlLineIsReadAsCurlReadsIt(t *testing.T) {
	const g = "https://folio.example.org/okapi"
	for _, c := range []struct{ typed, want string }{
		{"/users", g + "/users"},
		{"-s /users?limit=1#x -i", "-s " + g + "/users?limit=1#x -i"},
		{"-sid /data /users", "-s -i -d /data " + g + "/users"},
		{"-sdi=/data /users", "-s -d i=/data " + g + "/users"},
		{"-so/dev/null /users", "-s -o /dev/null " + g + "/users"},
		{"--data -d /users", "--data -d " + g + "/users"},
		{"--data-u /x /users", "--data-u /x " + g + "/users"},
		{"--no-buffer --buffer --no-include --sil /users", "--no-buffer --buffer --no-include --sil " + g + "/users"},
		{"--expand-data {{x}} /users", "--expand-data {{x}} " + g + "/users"},
		{"-# --url /users --url HTTPS://FOLIO.example.org:443/okapi", "-# " + g + "/users " + g},
		{"-s -- /users", "-s -- " + g + "/users"},
		{"/a --next -s /b -: /c", g + "/a | -s " + g + "/b | " + g + "/c"},
		{"/users/[1-3]", g + "/users/[1-3]"},
		{g + "?x=https://elsewhere.org/", g + "?x=https://elsewhere.org/"},
	} {
		got, err := readCurlLine(options(t), gatewayAt(t, g+"/"), strings.Fields(c.typed))
		if err != nil {
			t.Errorf("%s: %v", c.typed, err)
			continue
		}
		var operations []string
		for _, op := range got {
			operations = append(operations, strings.Join(op.args, " "))
		}
		if text := strings.Join(operations, " | "); text != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.typed, text, c.want)
		}
	}
}

func TestCurlLineThatWouldLoseTheTokenIsRefused(t *testing.T) {
	for _, c := range []struct{ typed, want string }{
		{"https://elsewhere.org/", "is not at"},
		{"/users https://elsewhere.org/", "is not at"},
		{"/users --url https://elsewhere.org/", "is not at"},
		{"/users --next https://elsewhere.org/", "is not at"},
		{"-s -- https://elsewhere.org/", "is not at"},
		{"/users -- -s", "is not at"},
		{"http://folio.example.org/okapi/users", "is not at"},
		{"folio.example.org/okapi/users", "is not at"},
		{"https://folio.example.org:444/okapi/users", "is not at"},
		{"https://folio.example.org.evil.org/okapi", "is not at"},
		{"https://folio.example.org@evil.org/okapi", "is not at"},
		{"https://reader:pw@folio.example.org/okapi", "is not at"},
		{`https://folio.example.org\@evil.org/okapi`, "is not at"},
		{"https://{folio.example.org,evil.org}/okapi", "is not at"},
		{"https:/folio.example.org/okapi", "is not at"},
		{"https://folio.example.org/other", "is not at"},
		{"https://folio.example.org/okapis", "is not at"},
		{"https://folio.example.org/okapi/../other", "is not at"},
		{"/../other", "is not at"},
		{"/%2e%2E/other", "is not at"},
		{"/%zz", "no URL"},
		{"users", "is not at"},
		{"-K more /users", "get the token unseen"},
		{"-sKmore /users", "get the token unseen"},
		{"--config more /users", "get the token unseen"},
		{"--conf more /users", "get the token unseen"},
		{"--expand-url {{x}}", "known to curl alone"},
		{"-L --location-trusted /users", "wherever a redirect leads"},
		{"-u reader:pw /users", "session's token goes along"},
		{"--oauth2-bearer x /users", "session's token goes along"},
		{"-H authorization:x /users", "session's token goes along"},
		{"-HX-Okapi-Token:x /users", "session's token goes along"},
		{"--lo /users", "more than one of curl's options"},
		{"--nonsense /users", "no option --nonsense"},
		{"--no-data x /users", "cannot be negated"},
		{"-sX /users", "no option -X"},
		{"-s", "there is no URL"},
		{"/users --next -s", "there is no URL"},
		{"/users -o", "needs a value"},
		{"/users -", "neither"},
	} {
		got, err := readCurlLine(options(t), gatewayAt(t, "https://folio.example.org/okapi"), strings.Fields(c.typed))
		var usage usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want %q", c.typed, got, err, c.want)
		}
	}
}

// Whatever is typed, what comes of it has the gateway's origin for Go's parser,
// and the text is such that no other parser can see it differently.
func TestCurlURLsHaveTheGatewaysOriginWhateverIsTyped(t *testing.T) {
	gateway := gatewayAt(t, "https://folio.example.org/okapi")
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{
			"https", "http", ":", "/", "//", "://", "\\", "@", "?", "#", "..", "%2e", "folio.example.org", "evil.org", ":443", ":80", "okapi", "users", "[", "]", "{", "}", ",", " ", "\t",
		}), 0, 9).Draw(t, "parts")
		typed := strings.Join(parts, "")
		if rapid.Bool().Draw(t, "whole") {
			typed = "https://folio.example.org" + typed
		}
		whole, err := aim(gateway, typed)
		if err != nil {
			return
		}
		rest, ours := strings.CutPrefix(whole, "https://folio.example.org")
		if !ours || rest != "" && !strings.ContainsAny(rest[:1], "/?#") {
			t.Fatalf("%q became %q", typed, whole)
		}
		if u, err := url.Parse(whole); err == nil && u.Host != "folio.example.org" {
			t.Fatalf("%q became %q, whose host is %q", typed, whole, u.Host)
		}
	})
}

func TestCurlHeadersOfTheUserAreNoticed(t *testing.T) {
	got, err := readCurlLine(options(t), gatewayAt(t, "https://folio.example.org"), strings.Fields("-H x-okapi-tenant:other -D headers /a --next /b"))
	if err != nil || len(got) != 2 || !got[0].tenant || !got[0].dumped || got[1].tenant || got[1].dumped {
		t.Errorf("got %+v, %v", got, err)
	}
}

// The help of the curl that is installed is read whole.
func TestCurlThatIsInstalledIsUnderstood(t *testing.T) {
	help, err := exec.Command("curl", "--help", "all").Output()
	if err != nil {
		t.Skip("there is no curl: ", err)
	}
	o, err := readCurlOptions(string(help))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]bool{
		"data": true, "json": true, "form": true, "output": true, "request": true, "upload-file": true, "user": true, "write-out": true, "retry": true,
		"silent": false, "include": false, "fail": false, "compressed": false, "get": false, "head": false, "insecure": false, "verbose": false, "buffer": false,
	} {
		if got, known := o.long[name]; !known || got != value {
			t.Errorf("--%s: known %v, with a value %v", name, known, got)
		}
	}
	for letter, name := range map[byte]string{'d': "data", 'X': "request", 'H': "header", 'K': "config", ':': "next", '#': "progress-bar", 'q': "disable", 'u': "user"} {
		if o.short[letter] != name {
			t.Errorf("-%c is %q", letter, o.short[letter])
		}
	}
	lines := strings.Count(string(help), "\n  ") + strings.Count(string(help), "\n -")
	if len(o.long) < lines*9/10 {
		t.Errorf("%d options of %d lines", len(o.long), lines)
	}
}

func TestCurlFlagsAreToldApart(t *testing.T) {
	for typed, want := range map[string]string{
		"curl":                                "curl",
		"curl /users":                         "curl -- /users",
		"curl -sS /users":                     "curl -- -sS /users",
		"curl --tenant diku --user x -sS /a":  "curl --tenant diku --user x -- -sS /a",
		"curl --tenant=diku -s --user a:b /x": "curl --tenant=diku -- -s --user a:b /x",
		"curl --folio --logout":               "curl --folio --logout",
		"curl --user":                         "curl --user",
		"curl -- -s /x":                       "curl -- -s /x",
		"curl --help":                         "curl --help",
		"user list --tenant diku":             "user list --tenant diku",
	} {
		got := separateCurl(parser(t).Model, strings.Fields(typed))
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: got %q", typed, got)
		}
	}
}
