package server_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

func (s *standards) deviceSession(file string) *client.Session {
	return &client.Session{
		BaseURL: s.URL(server.Public), Tenant: "diku", Now: s.office.config.Now, Store: client.FileStore{Path: file},
		HTTP: &http.Client{Transport: &shop{office: s.office, base: s.office.client.Transport}},
	}
}

// A program whose user is elsewhere begins a session and keeps it alive at
// OAuth's endpoints, beside another process that has the same file.
func TestClientOfADeviceKeepsItsSession(t *testing.T) {
	s := openScreens(t, nil)
	file := filepath.Join(t.TempDir(), "session.json")
	first := s.deviceSession(file)
	s.must(first.LogInDevice(t.Context(), client.Device{ClientID: "screen", Show: func(code client.DeviceCode) {
		if code.For != 10*time.Minute || code.Page != issuer+"/oauth2/device" {
			t.Errorf("%+v", code)
		}
		s.answer(code.UserCode, "allow", readerPW)
	}}))
	second := s.deviceSession(file)
	for range 5 {
		for _, one := range []*client.Session{first, second} {
			token, err := one.Token(t.Context())
			s.must(err)
			if status := s.orders(token); status != http.StatusOK {
				t.Fatalf("orders: %d", status)
			}
			s.wait(11 * time.Minute)
		}
	}
	page, err := s.Store().ListSessions(t.Context(), session.Filter{Client: "screen"})
	s.must(err)
	if len(page.Sessions) != 1 || page.Sessions[0].Gen < 5 {
		t.Errorf("%+v", page.Sessions)
	}
	s.must(second.Logout(t.Context()))
	var ended *client.SessionEnded
	if _, err := first.Token(t.Context()); !errors.As(err, &ended) {
		t.Errorf("after the logout: %v", err)
	}
	if row, err := s.Store().Session(t.Context(), page.Sessions[0].ID); err != nil || row.RevokedWhy != session.LoggedOut {
		t.Errorf("%+v, %v", row, err)
	}
}

func TestClientOfADeviceThatIsRefused(t *testing.T) {
	s := openScreens(t, nil)
	c := s.deviceSession(filepath.Join(t.TempDir(), "session.json"))
	err := c.LogInDevice(t.Context(), client.Device{ClientID: "screen", Show: func(code client.DeviceCode) { s.answer(code.UserCode, "refuse", "") }})
	var ended *client.SessionEnded
	if !errors.As(err, &ended) || ended.Reason != client.ReasonCredentials {
		t.Errorf("refused: %v", err)
	}
	err = c.LogInDevice(t.Context(), client.Device{ClientID: "web", Show: func(client.DeviceCode) { t.Error("a code is shown") }})
	if !errors.As(err, &ended) {
		t.Errorf("client without the grant: %v", err)
	}
}
