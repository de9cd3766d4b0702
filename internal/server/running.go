package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/store"
)

// Running is how the commands of another process reach a running program.
// The file is readable by its owner alone, as the database is.
type Running struct {
	// Admin, Public and Internal are the base URLs of the listeners.
	Admin    string `json:"admin"`
	Public   string `json:"public"`
	Internal string `json:"internal"`
	// Token is good for this run only.
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

// ErrInUse is a data directory that another process works on.
var ErrInUse = store.ErrLocked

// HasStore is whether there is a database already. Opening it would make one.
func HasStore(c *Config) bool {
	if c.postgres() {
		return true
	}
	_, err := os.Stat(strings.TrimPrefix(c.Store, "sqlite:"))
	return err == nil
}

// runningFile is where a running program tells the commands of other processes
// how to reach it.
func runningFile(data string) string { return filepath.Join(data, "running.json") }

// FindRunning reads how to reach the program that uses the data directory.
// It returns false if none has announced itself there.
func FindRunning(data string) (Running, bool, error) {
	text, err := os.ReadFile(runningFile(data))
	if errors.Is(err, os.ErrNotExist) {
		return Running{}, false, nil
	}
	if err != nil {
		return Running{}, false, err
	}
	var r Running
	if err := json.Unmarshal(text, &r); err != nil {
		return Running{}, false, fmt.Errorf("%s cannot be read, remove it if nothing runs: %w", runningFile(data), err)
	}
	return r, true, nil
}

// announce writes the file at once and whole: a command that reads it meanwhile
// sees the old one or the new one.
func (s *Server) announce() error {
	text, err := json.Marshal(Running{Admin: s.URL(Admin), Public: s.URL(Public), Internal: s.URL(Internal), Token: s.admin.Token, PID: os.Getpid()})
	if err != nil {
		return err
	}
	temporary := runningFile(s.config.Data) + ".new"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return fmt.Errorf("announce the program to its commands: %w", err)
	}
	return os.Rename(temporary, runningFile(s.config.Data))
}

func (s *Server) unannounce() { _ = os.Remove(runningFile(s.config.Data)) }

// newAdminToken makes the token of this run.
func newAdminToken() string { return rand.Text() + rand.Text() }

// AdminAPI gives the admin API to a command of the same process, while nothing
// is served.
func (s *Server) AdminAPI() (handler http.Handler, token string) {
	mux := http.NewServeMux()
	s.admin.Mount(mux)
	return s.observe("offline", mux), s.admin.Token
}

// openBootstrap draws the one-time code for the first administrator where no
// tenant has a user yet. A demonstration has users of its own.
func (s *Server) openBootstrap(ctx context.Context) error {
	if taken, err := admin.HasUsers(ctx, s.db); err != nil {
		return err
	} else if taken || s.config.Demo {
		return s.admin.Bootstrap.Drop()
	}
	var err error
	s.Bootstrap, err = s.admin.Bootstrap.New()
	return err
}
