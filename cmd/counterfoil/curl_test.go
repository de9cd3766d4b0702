package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clienttest"
)

// desk is a person at a terminal with curl, before a gateway.
type desk struct {
	*clienttest.Server
	t     *testing.T
	state string
	// password is a file.
	password string
}

func sitDown(t *testing.T) *desk {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	d := &desk{Server: clienttest.New(t), t: t, state: t.TempDir()}
	d.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "orders of %s\n", r.Header.Get("X-Okapi-Tenant"))
	})
	d.password = filepath.Join(d.state, "password")
	d.write(d.password, clienttest.Password+"\n")
	return d
}

func (d *desk) write(path, text string) {
	d.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// curl runs `counterfoil curl`.
func (d *desk) curl(args ...string) outcome { return d.with("", args...) }

func (d *desk) with(stdin string, args ...string) outcome {
	var out, errs bytes.Buffer
	environ := func(name string) (string, bool) {
		value, set := map[string]string{"XDG_STATE_HOME": d.state}[name]
		return value, set
	}
	status := run(d.t.Context(), append([]string{"curl"}, args...), strings.NewReader(stdin), &out, &errs, environ)
	return outcome{status, out.String(), errs.String()}
}

// ok fails unless curl ended well and said nothing beside the answer.
func (d *desk) ok(want string, args ...string) {
	d.t.Helper()
	if got := d.curl(args...); got != (outcome{0, want, ""}) {
		d.t.Errorf("%q: got %+v, want %q", args, got, want)
	}
}

func (d *desk) logIn() {
	d.t.Helper()
	got := d.curl(d.whose("--password-file", d.password)...)
	if got.status != 0 || got.out != "" || !strings.Contains(got.errs, "logged in as reader (diku at "+d.URL+")") {
		d.t.Fatalf("got %+v", got)
	}
}

func (d *desk) whose(more ...string) []string {
	return append([]string{"--url", d.URL + "/", "--tenant", clienttest.Tenant, "--user", clienttest.Username}, more...)
}

func (d *desk) count(want clienttest.Count) {
	d.t.Helper()
	if got := d.Count(); got != want {
		d.t.Errorf("got %+v, want %+v", got, want)
	}
}

// file is the one that holds the session.
func (d *desk) file() string {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.state, "counterfoil", "curl", "*.json"))
	if err != nil || len(files) != 1 {
		d.t.Fatalf("files: %v, %v", files, err)
	}
	return files[0]
}

// older makes the saved tokens look so much older.
func (d *desk) older(by time.Duration) {
	d.t.Helper()
	store := client.FileStore{Path: d.file()}
	kept, err := store.Load(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	kept.Received = kept.Received.Add(-by)
	if err := store.Save(d.t.Context(), kept); err != nil {
		d.t.Fatal(err)
	}
}

func TestCurlLogsInOnceAndKeepsTheSession(t *testing.T) {
	d := sitDown(t)
	if got := d.curl("/orders"); got.status != 1 || !strings.Contains(got.errs, "not logged in: name gateway, tenant and user once") {
		t.Errorf("got %+v", got)
	}
	if got := d.curl(d.whose("/orders")...); got.status != 1 || !strings.Contains(got.errs, "not logged in as reader") || !strings.Contains(got.errs, "--password-file") {
		t.Errorf("got %+v", got)
	}
	d.logIn()
	d.ok("", d.whose()...) // again changes nothing
	for range 3 {
		d.ok("orders of diku\n", "-sS", "/orders")
		d.ok("orders of diku\n", d.whose("-sS", d.URL+"/orders")...)
	}
	d.count(clienttest.Count{Logins: 1, Sessions: 1})
	for path, want := range map[string]os.FileMode{d.file(): 0o600, filepath.Dir(d.file()): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestCurlProcessesAtOnceShareTheSession(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	const rounds = 3
	for range rounds {
		d.Advance(clienttest.AccessTTL)
		d.older(clienttest.AccessTTL)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { d.ok("orders of diku\n", "-sS", "/orders") })
		}
		all.Wait()
	}
	d.count(clienttest.Count{Logins: 1, Refreshes: rounds, Rotations: rounds, Sessions: 1})
}

func TestCurlRefreshesAheadWhenTheTokenMayEndOnTheWay(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	d.ok("orders of diku\n", "-sS", "/orders")
	d.Advance(clienttest.AccessTTL * 4 / 10)
	d.older(clienttest.AccessTTL * 4 / 10)
	d.ok("orders of diku\n", "-sS", "/orders")
	d.count(clienttest.Count{Logins: 1, Sessions: 1})
	d.Advance(clienttest.AccessTTL * 2 / 10)
	d.older(clienttest.AccessTTL * 2 / 10)
	d.ok("orders of diku\n", "-sS", "/orders")
	d.count(clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

// The token ends while curl is under way: curl shows the 401, and the next run
// has a new token. Nothing is sent twice.
func TestCurlWhoseTokenEndedOnTheWay(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	d.Advance(clienttest.AccessTTL) // which the clock here does not tell
	got := d.curl("-sS", "--fail-with-body", "/orders")
	if got.status != 22 || !strings.Contains(got.out, "TOKEN_EXPIRED") || !strings.Contains(got.errs, "there is a new one: run the command again") {
		t.Errorf("got %+v", got)
	}
	d.ok("orders of diku\n", "-sS", "/orders")
	d.count(clienttest.Count{Logins: 1, Refreshes: 1, Rotations: 1, Sessions: 1})
}

func TestCurlWhoseSessionWasEnded(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	d.EndSessions()
	got := d.curl("-s", "/orders")
	if got.status != 0 || !strings.Contains(got.out, "TOKEN_INVALID") || !strings.Contains(got.errs, "the session is over (refresh refused): log in anew") {
		t.Errorf("got %+v", got)
	}
	got = d.curl("-s", "/orders")
	if got.status != 1 || got.out != "" || !strings.Contains(got.errs, "not logged in as reader (diku at "+d.URL+")") || !strings.Contains(got.errs, "--password-file") {
		t.Errorf("got %+v", got)
	}
	got = d.curl("--password-file", d.password, "-s", "/orders")
	if got.status != 0 || got.out != "orders of diku\n" || !strings.Contains(got.errs, "logged in as") {
		t.Errorf("got %+v", got)
	}
}

func TestCurlOfSeveralSessions(t *testing.T) {
	d, other := sitDown(t), sitDown(t)
	other.state = d.state
	d.logIn()
	other.logIn()
	if got := d.curl("/orders"); got.status != 2 || !strings.Contains(got.errs, "diku at "+d.URL) || !strings.Contains(got.errs, "diku at "+other.URL) {
		t.Errorf("got %+v", got)
	}
	d.ok("orders of diku\n", "--url", other.URL, "-s", "/orders")
	if got := d.curl("--url", other.URL, "--user", "admin", "/orders"); got.status != 1 || !strings.Contains(got.errs, "not logged in") {
		t.Errorf("got %+v", got)
	}
	if got := d.curl("--url", other.URL, "--logout"); got.status != 0 {
		t.Errorf("got %+v", got)
	}
	d.ok("orders of diku\n", "-s", "/orders")
	other.count(clienttest.Count{Logins: 1})
	d.count(clienttest.Count{Logins: 1, Sessions: 1})
}

func TestCurlLogsOut(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	if got := d.curl("--logout", "/orders"); got.status != 2 {
		t.Errorf("got %+v", got)
	}
	if got := d.curl("--logout"); got.status != 0 || !strings.Contains(got.errs, "logged out reader") {
		t.Errorf("got %+v", got)
	}
	d.count(clienttest.Count{Logins: 1})
	for _, args := range [][]string{{"--logout"}, {"/orders"}, d.whose("--logout")} {
		if got := d.curl(args...); got.status != 1 || !strings.Contains(got.errs, "not logged in") {
			t.Errorf("%q: got %+v", args, got)
		}
	}
}

func TestCurlWithAWrongPassword(t *testing.T) {
	d := sitDown(t)
	d.write(d.password, "mistyped secret\n")
	got := d.curl(d.whose("--password-file", d.password, "/orders")...)
	if got.status != 1 || !strings.Contains(got.errs, `login refused: /authn/login answered 422 "Wrong username`) || strings.Contains(got.errs, "mistyped") {
		t.Errorf("got %+v", got)
	}
	for text, want := range map[string]string{"": "there is no password", "\n" + clienttest.Password: "there is no password"} {
		d.write(d.password, text)
		if got := d.curl(d.whose("--password-file", d.password)...); got.status != 2 || !strings.Contains(got.errs, want) {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	if got := d.curl(d.whose("--password-file", d.password+".missing")...); got.status != 1 || !strings.Contains(got.errs, "no such file") {
		t.Errorf("got %+v", got)
	}
}

func TestCurlThatIsMissing(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	t.Setenv("PATH", t.TempDir())
	if got := d.curl("/orders"); got.status != 1 || !strings.Contains(got.errs, "this runs curl, which is not there") {
		t.Errorf("got %+v", got)
	}
}

// What curl says and how it exits is passed on.
func TestCurlIsTheRealOne(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	d.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s ", r.Header.Get("Content-Type"), r.Header.Values("X-Okapi-Tenant"))
	})
	d.ok("200\n200\n", "-sS", "-o", os.DevNull, "-w", "%{http_code}\n", "/orders", "--next", "-s", "-o", os.DevNull, "-w", "%{http_code}\n", d.URL+"/orders")
	d.ok("orders of other\n", "-sS", "-H", "X-Okapi-Tenant: other", "/orders")
	d.ok("orders of diku\n", "-qsS", "/orders")
	d.ok("text/x [diku] ", "-sS", "-H", "Content-Type: text/x", "-d", "x", "--", "/echo")
	headers := filepath.Join(d.state, "headers")
	d.ok("orders of diku\n", "-sS", "-D", headers, "/orders")
	if text, err := os.ReadFile(headers); err != nil || !bytes.HasPrefix(text, []byte("HTTP/1.1 200")) {
		t.Errorf("the headers are %q, %v", text, err)
	}
	if got := d.curl("-sS", "--fail", "/nothing"); got.status != 22 || !strings.HasPrefix(got.errs, "curl: (22)") || strings.Contains(got.errs, "counterfoil") {
		t.Errorf("got %+v", got)
	}
	d.count(clienttest.Count{Logins: 1, Sessions: 1})
}

// Standard input is curl's, but for the line of the password.
func TestCurlReadsStandardInput(t *testing.T) {
	d := sitDown(t)
	d.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		var text bytes.Buffer
		_, _ = text.ReadFrom(r.Body)
		_, _ = w.Write(text.Bytes())
	})
	got := d.with(clienttest.Password+"\r\n{\"order\":1}\nline 2", d.whose("--password-file", "-", "-sS", "--data-binary", "@-", "/echo")...)
	if got.status != 0 || got.out != "{\"order\":1}\nline 2" {
		t.Errorf("got %+v", got)
	}
	got = d.with("{\"order\":2}", "-sS", "--data-binary", "@-", "/echo")
	if got.status != 0 || got.out != "{\"order\":2}" {
		t.Errorf("got %+v", got)
	}
}

// An old FOLIO's answer to a login of the other kind is not kept.
func TestCurlAtAPlainFOLIO(t *testing.T) {
	d := sitDown(t)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-okapi-token", "never.ending.token")
		w.WriteHeader(http.StatusCreated)
	}))
	defer plain.Close()
	got := d.curl("--url", plain.URL, "--tenant", "diku", "--user", "reader", "--password-file", d.password)
	if got.status != 1 || !strings.Contains(got.errs, "log in with --folio") {
		t.Errorf("got %+v", got)
	}
}

func TestCurlSessionsNeedAPlace(t *testing.T) {
	for name, environ := range map[string]map[string]string{
		"nothing":            {},
		"no absolute places": {"HOME": "home", "XDG_STATE_HOME": "state"},
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), []string{"curl", "/orders"}, strings.NewReader(""), &out, &errs, func(name string) (string, bool) {
			value, set := environ[name]
			return value, set
		})
		if status != 1 || !strings.Contains(errs.String(), "set HOME or XDG_STATE_HOME") {
			t.Errorf("%s: exit %d, %s", name, status, errs.String())
		}
	}
}

func TestCurlIsInterrupted(t *testing.T) {
	d := sitDown(t)
	d.logIn()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	d.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	})
	var out, errs bytes.Buffer
	status := run(ctx, []string{"curl", "-sS", "/slow"}, strings.NewReader(""), &out, &errs, func(name string) (string, bool) {
		return d.state, name == "XDG_STATE_HOME"
	})
	if status == 0 {
		t.Errorf("exit %d, %s", status, errs.String())
	}
}
