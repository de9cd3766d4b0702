package server_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/foliotest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

// with sends a request of a program that has an API key, and returns status and
// body.
func (s *shop) with(k *client.APIKey, path string) string {
	s.t.Helper()
	answer, err := k.Client().Get(k.BaseURL + path)
	s.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	s.must(err)
	return fmt.Sprint(answer.StatusCode, " ", string(text))
}

func (s *shop) keySession(id string) session.Session {
	s.t.Helper()
	page, err := s.Sessions().List(s.t.Context(), session.Filter{Tenant: "diku", UserID: readerID, Live: true})
	s.must(err)
	if len(page.Sessions) != 1 || page.Sessions[0].Client != apikey.Client(id) {
		s.t.Fatalf("sessions %+v, want one of the key", page.Sessions)
	}
	return page.Sessions[0]
}

// The key that the client sends is one that the program made, or one that it
// took over from an edge module; what becomes of it the client's caller reads.
func TestClientWithAnAPIKey(t *testing.T) {
	edge := base64.URLEncoding.EncodeToString([]byte(`{"s":"nZ56F3LeAaQ7rT2xW","t":"diku","u":"reader"}`))
	scope := apikey.Scope{Routes: []apikey.Route{{Method: "GET", Path: "/orders"}}, Permissions: []string{"orders.collection.get"}}
	for name, make := range map[string]func(*shop) (apikey.Key, string, error){
		"own": func(s *shop) (apikey.Key, string, error) {
			return s.Sessions().Keys.Create(s.operator(), session.NewAPIKey{Tenant: "diku", UserID: readerID, Name: "harvest", Scope: scope})
		},
		"edge module's": func(s *shop) (apikey.Key, string, error) {
			secret, err := apikey.Parse(edge)
			s.must(err)
			made, err := s.Sessions().Keys.Import(s.operator(), session.NewAPIKey{Name: "harvest", Scope: scope}, secret)
			return made, edge, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openShop(t, nil)
			made, secret, err := make(s)
			s.must(err)
			k := &client.APIKey{BaseURL: s.URL(server.Public), Key: secret, Base: s}
			defer k.CloseIdleConnections()
			is := func(want, path string) {
				t.Helper()
				if got := s.with(k, path); len(got) < len(want) || got[:len(want)] != want {
					t.Errorf("%s: got %s, want %s", path, got, want)
				}
			}
			s.together(20, func() error { is("200 ", "/orders"); return nil })
			s.wait(24 * time.Hour)
			is("200 ", "/orders")
			is("404 ", "/funds")
			_, err = s.Sessions().Revoke(s.operator(), s.keySession(made.ID).ID)
			s.must(err)
			served := s.served.Load()
			is("401 ", "/orders")
			if s.served.Load() != served {
				t.Error("the module was asked")
			}
			_, err = s.Sessions().Keys.Resume(s.operator(), made.ID)
			s.must(err)
			is("200 ", "/orders")
			_, err = s.Sessions().Keys.Revoke(s.operator(), made.ID)
			s.must(err)
			is("401 ", "/orders")
			if s.refreshes.Load() != 0 {
				t.Error("a key was refreshed")
			}
		})
	}
}

// Files are dropped only if the session has ended. A user whom FOLIO does not
// know for an hour has his session afterwards.
func TestClientDropsItsFileOnlyWhenTheSessionHasEnded(t *testing.T) {
	for name, login := range map[string]client.Login{
		"tokens in bodies":  client.Password{Username: "reader", Password: readerPW},
		"tokens in cookies": client.FOLIOPassword{Username: "reader", Password: readerPW},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLibrary(t, nil)
			s := &shop{office: l.office, base: l.client.Transport}
			store := client.FileStore{Path: filepath.Join(t.TempDir(), "session.json")}
			first := s.session()
			first.Login, first.Store = login, store
			s.must(s.buy(first))
			c := s.session()
			c.Login, c.Store = nil, store
			refused := func(reason client.Reason, kept bool) {
				t.Helper()
				var ended *client.SessionEnded
				if _, err := c.Token(t.Context()); !errors.As(err, &ended) || ended.Reason != reason {
					t.Errorf("got %v, want %s", err, reason)
				}
				tokens, err := store.Load(t.Context())
				s.must(err)
				if (tokens != nil) != kept {
					t.Errorf("after %s the file is kept: %v", reason, tokens != nil)
				}
			}
			s.wait(15 * time.Minute)
			l.folio.RemoveUser("diku", readerID)
			refused(client.ReasonNotNow, true)
			l.folio.AddUser("diku", foliotest.User{ID: readerID, Username: "reader", Active: foliotest.Active(true)})
			s.wait(15 * time.Minute)
			s.must(s.buy(c))
			s.wait(15 * time.Minute)
			s.must(s.Sessions().LogoutUser(t.Context(), "diku", readerID))
			refused(client.ReasonRefused, false)
		})
	}
}
