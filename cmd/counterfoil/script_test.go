package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
)

// The scripts run this test binary as the command counterfoil, in processes of
// its own: signals, exit codes and locks are the real ones.
func TestMain(m *testing.M) {
	testscript.Main(withPostgres{m}, map[string]func(){"counterfoil": main})
}

// withPostgres stops the server that the tests have started.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return pgtest.Main(w.m) }

func TestScripts(t *testing.T) { runScripts(t, "testdata/script", func() string { return "" }) }

// The scripts of several nodes have an empty database of PostgreSQL in $POSTGRES.
func TestClusterScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/cluster/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	pgtest.Database(t) // or the whole test is skipped
	runScripts(t, "testdata/cluster", func() string { return pgtest.Database(t) })
}

func runScripts(t *testing.T, dir string, postgres func() string) {
	reference, err := filepath.Abs("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("REFERENCE", reference)
			env.Setenv("POSTGRES", postgres())
			env.Setenv("ID", `[0-9a-f]{8}-[0-9a-f-]{27}`)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"running": waitRunning, "http": request, "field": field, "match": match, "isjson": isJSON, "mode": mode, "example": example, "eventually": eventually, "hangup": hangup,
			"modlogin": modLogin, "user": makeUser, "events": countEvents,
		},
	})
}

// patience bounds every wait of a script.
const patience = 20 * time.Second

// waitRunning is `running DIR`: it waits until the program that works on DIR
// has announced itself and answers, and sets PUBLIC, INTERNAL and ADMIN.
func waitRunning(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: running DIR")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r, found, err := server.FindRunning(ts.MkAbs(args[0]))
		ts.Check(err)
		if !found {
			continue
		}
		answer, err := http.Get(r.Admin + "/admin/health")
		if err != nil {
			continue // a dead one's
		}
		answer.Body.Close()
		ts.Setenv("PUBLIC", r.Public)
		ts.Setenv("INTERNAL", r.Internal)
		ts.Setenv("ADMIN", r.Admin)
		return
	}
	ts.Fatalf("nothing runs on %s", args[0])
}

// eventually is `eventually STATUS URL`: it waits until a GET answers so.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: eventually STATUS URL")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		answer, err := http.Get(args[1])
		ts.Check(err)
		answer.Body.Close()
		if strconv.Itoa(answer.StatusCode) == args[0] {
			return
		}
	}
	ts.Fatalf("%s does not answer %s", args[1], args[0])
}

// hangup is `hangup DIR`: SIGHUP to the program that works on DIR.
func hangup(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hangup DIR")
	}
	r, found, err := server.FindRunning(ts.MkAbs(args[0]))
	ts.Check(err)
	if !found {
		ts.Fatalf("nothing runs on %s", args[0])
	}
	ts.Check(syscall.Kill(r.PID, syscall.SIGHUP))
}

// request is `http STATUS METHOD URL [NAME:VALUE …] [BODY]`: a request whose
// answer must have the status; its body becomes stdout. A body begins with {.
func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD URL [NAME:VALUE ...] [BODY]")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	r, err := http.NewRequest(args[1], args[2], nil)
	ts.Check(err)
	for _, arg := range args[3:] {
		if strings.HasPrefix(arg, "{") {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(arg)), int64(len(arg))
			r.Header.Set("Content-Type", "application/json")
			continue
		}
		name, value, ok := strings.Cut(arg, ":")
		if !ok {
			ts.Fatalf("%q is neither NAME:VALUE nor a body", arg)
		}
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
	if answer.StatusCode != status {
		ts.Fatalf("%s %s answered %d, want %d: %s", args[1], args[2], answer.StatusCode, status, body)
	}
}

// field is `field ENV PATH`: it sets a variable to a member of the JSON on
// stdout. PATH is of names and indices, with dots between.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field ENV PATH")
	}
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for name := range strings.SplitSeq(args[1], ".") {
		switch in := value.(type) {
		case map[string]any:
			value = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			ts.Check(err)
			if i >= len(in) {
				ts.Fatalf("%s: there are %d", args[1], len(in))
			}
			value = in[i]
		}
	}
	text, ok := value.(string)
	if !ok {
		ts.Fatalf("%s is no text on stdout", args[1])
	}
	ts.Setenv(args[0], text)
}

// match is `match ENV FILE REGEXP`: it sets a variable to the first group.
func match(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: match ENV FILE REGEXP")
	}
	found := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(found) < 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], found[1])
}

// isJSON is `isjson`: stdout is one JSON value and nothing else.
func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if valid := json.Valid([]byte(ts.ReadFile("stdout"))); valid == neg {
		ts.Fatalf("stdout is JSON: %v", valid)
	}
}

// mode is `mode OCTAL FILE`: who may read a file.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	if got := uint64(info.Mode().Perm()); neg || got != want {
		ts.Check(errors.New(args[1] + " has mode " + strconv.FormatUint(got, 8)))
	}
}
