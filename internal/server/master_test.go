package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/server"
)

// A master key that is made anew beside an existing database opens nothing, and
// the next restore from a backup would find the wrong file in its place.
func TestMissingMasterKeyOfAnExistingDatabaseIsNotReplaced(t *testing.T) {
	data := t.TempDir()
	open := func() error {
		config := &server.Config{Data: data, Demo: true, LogTo: t.Output()}
		config.SetDefaults()
		s, err := server.OpenOffline(t.Context(), config)
		if err != nil {
			return err
		}
		return s.Close(t.Context())
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(data, "master.key")
	key, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "restore it from the backup") {
		t.Errorf("got %v, want a refusal that says what to do", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new master key was written: %v", err)
	}
	if err := os.WriteFile(file, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Errorf("with the key restored: %v", err)
	}
}
