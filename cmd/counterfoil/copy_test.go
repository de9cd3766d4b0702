package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// Threat: a copy that was killed leaves the half of an installation, without
// the epochs and the ends of sessions, and somebody starts a program on it.
func TestKilledCopyCanBeMadeAgain(t *testing.T) {
	database, dir := pgtest.Database(t), t.TempDir()
	from, to := "sqlite:"+filepath.Join(dir, "old", "counterfoil.db"), "sqlite:"+filepath.Join(dir, "new", "counterfoil.db")
	succeed := func(args ...string) string {
		t.Helper()
		got := play(t, "", args...)
		if got.status != 0 {
			t.Fatalf("%q: exit %d: %s", args, got.status, got.errs)
		}
		return got.out
	}
	succeed("migrate", "--data", filepath.Join(dir, "old"))
	succeed("tenant", "create", "diku", "--data", filepath.Join(dir, "old"))
	succeed("store", "copy", "--from", from, "--to", database)

	// The copy comes to a table that it cannot read yet, with most of the others
	// written.
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0])
	command.Args = []string{"counterfoil", "store", "copy", "--force", "--from", database, "--to", to}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	const waits = `SELECT count(*) > 0 FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted`
	for deadline := time.Now().Add(patience); !pgtest.Value[bool](t, database, waits); {
		if time.Now().After(deadline) {
			t.Fatal("the copy does not come to the events")
		}
	}
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("the copy was not killed: %v", err)
	}
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}

	if out := succeed("store", "copy", "--from", database, "--to", to); !strings.Contains(out, "source and target are equal") {
		t.Error(out)
	}
	// The keys are sealed with the key of the old place.
	key, err := os.ReadFile(filepath.Join(dir, "old", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "new", "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := succeed("tenant", "list", "--data", filepath.Join(dir, "new")); !strings.Contains(out, "diku") {
		t.Error(out)
	}
}
