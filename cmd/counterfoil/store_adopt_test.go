package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestT50OperatorsSayThatTheDatabaseWasRestored(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	command := func(status int, want string, args ...string) {
		t.Helper()
		got := play(t, "", append(args, "--data", data)...)
		if got.status != status || !strings.Contains(got.out+got.errs, want) {
			t.Fatalf("%v: exit %d\n%s%s", args, got.status, got.out, got.errs)
		}
	}
	command(1, "there is no database", "store", "adopt", "--yes")
	command(0, "schema version", "migrate")
	command(0, "created", "tenant", "create", "diku")
	command(2, "--yes", "store", "adopt")
	command(2, "--within", "store", "adopt", "--yes", "--within", "721h")
	command(1, "not behind", "store", "adopt", "--yes")

	// The file remembers more than the database has.
	file := filepath.Join(data, "mark.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var mark map[string]any
	if err := json.Unmarshal(text, &mark); err != nil {
		t.Fatal(err)
	}
	mark["number"] = mark["number"].(float64) + 100
	if text, err = json.Marshal(mark); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	command(0, "store adopt` is called before", "tenant", "list")
	command(0, "sessions may catch up until", "store", "adopt", "--yes", "--within", "1h")
	command(1, "not behind", "store", "adopt", "--yes")
	command(0, "all sessions ended", "store", "restored", "--yes")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mark.json is %v, %v", info.Mode(), err)
	}
}
