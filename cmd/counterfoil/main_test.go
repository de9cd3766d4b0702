package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// outcome is what a command line did.
type outcome struct {
	status    int
	out, errs string
}

func play(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	status := run(t.Context(), args, strings.NewReader(stdin), &out, &errs, func(string) (string, bool) { return "", false })
	return outcome{status, out.String(), errs.String()}
}

func parser(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(&commands{}, kong.Name("counterfoil"))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// leaves lists all commands that do something.
func leaves(t *testing.T) []*kong.Node {
	t.Helper()
	list := parser(t).Model.Leaves(true)
	if len(list) < 25 {
		t.Fatalf("found %d commands only", len(list))
	}
	return list
}

func words(leaf *kong.Node) []string {
	var list []string
	for n := leaf; n.Type == kong.CommandNode; n = n.Parent {
		list = append([]string{n.Name}, list...)
	}
	return list
}

func TestHelpOfEveryCommandHasAnExample(t *testing.T) {
	for _, leaf := range leaves(t) {
		words := words(leaf)
		name := "counterfoil " + strings.Join(words, " ")
		got := play(t, "", append(words, "--help")...)
		if got.status != 0 || got.errs != "" {
			t.Errorf("%s --help: exit %d, %s", name, got.status, got.errs)
		}
		if !strings.Contains(got.out, "\n    "+name) {
			t.Errorf("%s --help has no example:\n%s", name, got.out)
		}
		if len(leaf.Help) < 10 || !strings.HasSuffix(leaf.Help, ".") {
			t.Errorf("%s is explained as %q", name, leaf.Help)
		}
	}
}

func TestEveryCommandThatAnswersHasJSON(t *testing.T) {
	without := map[string]bool{"demo": true, "serve": true, "config reference": true, "curl": true, "descriptor module": true, "descriptor deployment": true}
	for _, leaf := range leaves(t) {
		name, has := strings.Join(words(leaf), " "), false
		for _, flags := range leaf.AllFlags(false) {
			for _, flag := range flags {
				has = has || flag.Name == "json"
			}
		}
		if has == without[name] {
			t.Errorf("%s has --json: %v", name, has)
		}
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		want int
		errs string
		args []string
	}{
		{0, "", []string{"version"}},
		{0, "", []string{"migrate", "--data", dir}},
		{0, "", []string{"tenant", "create", "diku", "--data", dir}},
		{1, "exists already", []string{"tenant", "create", "diku", "--data", dir}},
		{1, "Tenant id", []string{"tenant", "create", "No-Such", "--data", dir}},
		{1, "no database", []string{"tenant", "list", "--data", dir + "/elsewhere"}},
		{2, "counterfoil user --help tells more", []string{"user", "--nonsense"}},
		{2, "counterfoil user create --help tells more", []string{"user", "create", "reader"}},
		{2, "nonsense", []string{"nonsense"}},
		{2, "repeat it with --yes", []string{"tenant", "delete", "diku", "--data", dir}},
		{2, "not NAME=VALUE", []string{"policy", "set", "--tenant", "diku", "access_ttl", "--data", dir}},
		{2, "no password on standard input", []string{"user", "create", "--tenant", "diku", "reader", "--data", dir}},
	} {
		got := play(t, "", c.args...)
		if got.status != c.want || !strings.Contains(got.errs, c.errs) {
			t.Errorf("%q: exit %d, want %d, with %q in %q", c.args, got.status, c.want, c.errs, got.errs)
		}
	}
}

// Whatever a command answers with --json, a program can read it.
func TestJSONOfEveryKindOfAnswerParses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"version"}},
		{"", []string{"config", "check"}},
		{"", []string{"migrate"}},
		{"", []string{"tenant", "create", "diku", "--name", "x"}},
		{"", []string{"tenant", "list"}},
		{"correct horse battery", []string{"user", "create", "--tenant", "diku", "reader"}},
		{"", []string{"user", "list", "--tenant", "diku"}},
		{"", []string{"user", "show", "--tenant", "diku", "reader"}},
		{"", []string{"user", "grant", "--tenant", "diku", "reader", "a.get"}},
		{"", []string{"user", "ungrant", "--tenant", "diku", "reader", "a.get"}},
		{"another horse entirely", []string{"user", "password", "--tenant", "diku", "reader"}},
		{"", []string{"user", "deactivate", "--tenant", "diku", "reader"}},
		{"", []string{"user", "activate", "--tenant", "diku", "reader"}},
		{"", []string{"session", "list"}},
		{"", []string{"session", "revoke", "--tenant", "diku", "--user", "reader"}},
		{"", []string{"key", "list"}},
		{"", []string{"key", "rotate", "module"}},
		{"", []string{"policy", "list"}},
		{"", []string{"policy", "show", "--tenant", "diku"}},
		{"", []string{"policy", "set", "--tenant", "diku", "idle=2d"}},
		{"", []string{"policy", "unset", "--tenant", "diku"}},
		{"", []string{"user", "delete", "--yes", "--tenant", "diku", "reader"}},
		{"", []string{"tenant", "end-sessions", "--yes", "diku"}},
		{"", []string{"tenant", "delete", "--yes", "diku"}},
	} {
		args := append(c.args, "--json")
		if c.args[0] != "version" && c.args[0] != "config" {
			args = append(args, "--data", dir)
		}
		if got := play(t, c.stdin, args...); got.status != 0 || !json.Valid([]byte(got.out)) {
			t.Errorf("%q: exit %d, %s, answered %q", args, got.status, got.errs, got.out)
		}
	}
}

func TestOrdinalsAndCounts(t *testing.T) {
	for n, want := range map[uint64]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th", 122: "122nd"} {
		if got := ordinal(n); got != want {
			t.Errorf("ordinal(%d) is %s, want %s", n, got, want)
		}
	}
	if got := count(1, "session") + ", " + count(0, "session"); got != "1 session, 0 sessions" {
		t.Error(got)
	}
}

func TestPasswordIsReadFromAPipeWithoutItsLineEnd(t *testing.T) {
	for stdin, want := range map[string]string{"secret\n": "secret", "secret\r\nmore\n": "secret", "secret": "secret", " a b \n": " a b "} {
		p := &program{in: strings.NewReader(stdin)}
		if got, err := p.password("?"); err != nil || got != want {
			t.Errorf("%q was read as %q, %v", stdin, got, err)
		}
	}
	p := &program{in: strings.NewReader("")}
	var usage usageError
	if _, err := p.password("?"); !errors.As(err, &usage) {
		t.Errorf("nothing on standard input is %v", err)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out := writerFunc(func(text []byte) (int, error) {
		if bytes.Contains(text, []byte("The whole story by itself")) {
			stop()
		}
		return len(text), nil
	})
	args := []string{"demo", "--data", t.TempDir(), "--listen", ":0", "--internal-listen", ":0", "--admin-listen", "127.0.0.1:0", "--grace", "40s"}
	var errs bytes.Buffer
	if status := run(ctx, args, strings.NewReader(""), out, &errs, func(string) (string, bool) { return "", false }); status != 0 {
		t.Errorf("exit %d: %s", status, errs.String())
	}
}

// What a page elsewhere and a program with an old cookie jar need, in the answer
// of the demonstration itself.
func TestDemoForPagesElsewhere(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const origin = "http://localhost:3000"
	var told bytes.Buffer
	var answer *http.Response
	out := writerFunc(func(text []byte) (int, error) {
		told.Write(text)
		public := regexp.MustCompile(`public +(http\S+)`).FindSubmatch(told.Bytes())
		if public == nil || answer != nil {
			return len(text), nil
		}
		defer stop()
		login := strings.NewReader(`{"username":"diku_admin","password":"admin"}`)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, string(public[1])+"/authn/login-with-expiry", login)
		if err != nil {
			return 0, err
		}
		request.Header = http.Header{"Origin": {origin}, "X-Okapi-Tenant": {"diku"}, "Content-Type": {"application/json"}}
		if answer, err = http.DefaultClient.Do(request); err != nil {
			return 0, err
		}
		return len(text), answer.Body.Close()
	})
	args := []string{
		"demo", "--data", t.TempDir(), "--listen", ":0", "--internal-listen", ":0", "--admin-listen", ":0",
		"--cors-origin", origin, "--plain-cookies",
	}
	var errs bytes.Buffer
	if status := run(ctx, args, strings.NewReader(""), out, &errs, func(string) (string, bool) { return "", false }); status != 0 {
		t.Fatalf("exit %d: %s", status, errs.String())
	}
	if answer == nil || answer.StatusCode != http.StatusCreated || answer.Header.Get("Access-Control-Allow-Origin") != origin {
		t.Fatalf("answer %+v", answer)
	}
	for _, cookie := range answer.Cookies() {
		if cookie.Secure {
			t.Errorf("cookie %s is Secure", cookie.Name)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(text []byte) (int, error) { return f(text) }
