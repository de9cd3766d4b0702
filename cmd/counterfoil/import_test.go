package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
)

// dumpLine is a row of mod-login's table as a line of JSON.
func dumpLine(t *testing.T, n int) string {
	t.Helper()
	salt := []byte(fmt.Sprintf("salt of user %07d", n))
	hash, err := pbkdf2.Key(sha1.New, fmt.Sprintf("password of %d", n), salt, 1000, 20)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{\"userId\":\"00000000-0000-4000-8000-%012d\",\"hash\":\"%X\",\"salt\":\"%X\"}\n", n, hash, salt)
}

// Threat: an import that was killed leaves some passwords out, or takes others
// twice. What it had done stays, and the next run does the rest.
func TestKilledImportCanBeRunAgain(t *testing.T) {
	const users = 2*credentialsAtOnce + 5
	database, dir := pgtest.Database(t), t.TempDir()
	file := filepath.Join(dir, "counterfoil.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "data: %s\nstore: %q\n", dir, database), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(stdin string, args ...string) string {
		t.Helper()
		got := play(t, stdin, append(args, "--config", file)...)
		if got.status != 0 {
			t.Fatalf("%q: exit %d: %s", args, got.status, got.errs)
		}
		return got.out
	}
	command("", "tenant", "create", "diku")
	createUsers(t, file, users)
	begun := exec.Command(os.Args[0])
	begun.Args = []string{"counterfoil", "import", "credentials", "--config", file, "--from", "-", "--tenant", "diku"}
	in, err := begun.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := begun.Start(); err != nil {
		t.Fatal(err)
	}
	var dump strings.Builder
	for n := range users {
		dump.WriteString(dumpLine(t, n))
	}
	// The first request is sent when the row after it is there. The next one
	// waits for rows that do not come.
	lines := strings.SplitAfter(dump.String(), "\n")
	if _, err := io.WriteString(in, strings.Join(lines[:credentialsAtOnce+1], "")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); pgtest.Value[int64](t, database, `SELECT count(*) FROM credentials`) < credentialsAtOnce; {
		if time.Now().After(deadline) {
			t.Fatal("the import does not begin")
		}
	}
	if err := begun.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := begun.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the import was not killed: %v", err)
	}

	whole := filepath.Join(dir, "dump.jsonl")
	if err := os.WriteFile(whole, []byte(dump.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	again := func(want string) {
		t.Helper()
		got := command("", "import", "credentials", "--from", whole, "--tenant", "diku", "--json")
		if got = strings.Join(strings.Fields(got), ""); !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	again(fmt.Sprintf(`"counts":{"imported":%d,"unchanged":%d}`, users-credentialsAtOnce, credentialsAtOnce))
	again(fmt.Sprintf(`"counts":{"unchanged":%d}`, users))
	if n := pgtest.Value[int64](t, database, `SELECT count(*) FROM credentials`); n != users {
		t.Errorf("%d credentials of %d users", n, users)
	}
	if got := play(t, "", "import", "credentials", "--from", whole, "--config", file); got.status == 0 || !strings.Contains(got.errs, "name the tenants with --tenant") {
		t.Errorf("without a tenant: %+v", got)
	}
}

// createUsers makes users with ids as FOLIO's are.
func createUsers(t *testing.T, file string, n int) {
	t.Helper()
	p := &program{ctx: t.Context(), errors: io.Discard, environ: func(string) (string, bool) { return "", false }}
	config, err := (&serveCommand{Config: file}).load(p)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	admin, token := s.AdminAPI()
	for i := range n {
		body := fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","username":"user%d"}`, i, i)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/counterfoil/tenants/diku/users", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		if admin.ServeHTTP(answer, r); answer.Code != http.StatusCreated {
			t.Fatalf("user %d: %d %s", i, answer.Code, answer.Body)
		}
	}
}
