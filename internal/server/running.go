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

	"github.com/counterfoil/counterfoil/internal/admin"
)

// Running is how the commands of another process reach a running program.
// The file is readable by its owner alone, as the database is.
type Running struct {
	// Admin is the base URL of the admin listener.
	Admin string `json:"admin"`
	// Token is good for this run only.
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

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
	text, err := json.Marshal(Running{Admin: s.URL(Admin), Token: s.admin.Token, PID: os.Getpid()})
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
// tenant has a user yet.
func (s *Server) openBootstrap(ctx context.Context) error {
	tenants, err := s.db.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		users, err := s.db.ListUsers(ctx, t.ID, "", 1)
		if err != nil || len(users) > 0 {
			return err
		}
	}
	s.admin.Bootstrap = &admin.Bootstrap{File: filepath.Join(s.config.Data, "bootstrap"), Now: s.config.Now}
	if s.config.Demo {
		return nil
	}
	s.Bootstrap, err = s.admin.Bootstrap.New()
	return err
}
