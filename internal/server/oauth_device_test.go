package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

func openScreens(t *testing.T, adjust func(*server.Config)) *standards {
	t.Helper()
	return openStandards(t, func(c *server.Config) {
		c.OAuth.Clients = append(c.OAuth.Clients, session.Client{
			ID: "screen", Tenant: "diku", Name: "A <screen>", Grants: []string{session.GrantDevice, session.GrantRefresh}, Scopes: []string{"orders.collection.get"},
		})
		if adjust != nil {
			adjust(c)
		}
	})
}

type waiting struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	Page       string `json:"verification_uri"`
	PageOfCode string `json:"verification_uri_complete"`
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`
}

func (s *standards) askForDevice(pairs ...string) (w waiting) {
	s.t.Helper()
	got := s.form("/oauth2/device_authorization", append([]string{"client_id", "screen"}, pairs...)...)
	want(s.t, "device authorization", got, 200, "")
	s.must(json.Unmarshal([]byte(got.body), &w))
	return w
}

func (s *standards) poll(w waiting, pairs ...string) *oauthReply {
	s.t.Helper()
	return s.tokenOf(append([]string{"grant_type", session.GrantDevice, "device_code", w.DeviceCode, "client_id", "screen"}, pairs...)...)
}

func (s *standards) answer(code, answer, password string) *oauthReply {
	s.t.Helper()
	return s.form("/oauth2/device", "user_code", code, "answer", answer, "username", "reader", "password", password)
}

func TestOAuthDeviceIsLetIn(t *testing.T) {
	s := openScreens(t, nil)
	w := s.askForDevice()
	if w.Page != issuer+"/oauth2/device" || w.PageOfCode != w.Page+"?user_code="+w.UserCode || w.ExpiresIn != 600 || w.Interval != 5 {
		t.Errorf("%+v", w)
	}
	want(t, "before", s.poll(w), 400, "authorization_pending")
	want(t, "at once again", s.poll(w), 400, "slow_down")
	s.wait(6 * time.Second)
	want(t, "after five seconds, of ten", s.poll(w), 400, "slow_down")

	r, err := http.NewRequest(http.MethodGet, strings.Replace(w.PageOfCode, issuer, s.URL(server.Public), 1), nil)
	s.must(err)
	shown := s.do(r)
	if shown.status != 200 || !strings.Contains(shown.body, w.UserCode) || !strings.Contains(shown.body, "A &lt;screen&gt;") || !strings.Contains(shown.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("page: %d %s", shown.status, shown.body)
	}
	if typed := s.form("/oauth2/device", "user_code", " "+strings.ToLower(strings.ReplaceAll(w.UserCode, "-", " "))); !strings.Contains(typed.body, `name="password"`) {
		t.Errorf("typed otherwise: %d %s", typed.status, typed.body)
	}
	if wrong := s.answer(w.UserCode, "allow", "wrong"); wrong.status != 422 || !strings.Contains(wrong.body, `role="alert"`) {
		t.Errorf("wrong password: %d", wrong.status)
	}
	s.wait(20 * time.Second)
	want(t, "after a wrong password", s.poll(w), 400, "authorization_pending")
	if done := s.answer(w.UserCode, "allow", readerPW); done.status != 200 || !strings.Contains(done.body, "connected") {
		t.Fatalf("let in: %d %s", done.status, done.body)
	}
	if again := s.answer(w.UserCode, "refuse", ""); again.status != 422 {
		t.Errorf("answered twice: %d", again.status)
	}
	want(t, "another client", s.poll(w, "@Authorization", "Basic c2hvcDp4"), 401, "invalid_client")
	got := s.poll(w)
	want(t, "after it", got, 200, "")
	if s.orders(got.json.AccessToken) != http.StatusOK {
		t.Error("the access token does not work")
	}
	next := s.tokenOf("grant_type", "refresh_token", "client_id", "screen", "refresh_token", got.json.RefreshToken)
	want(t, "refreshed", next, 200, "")
	// A code that is used twice may have been heard by two.
	want(t, "the code again", s.poll(w), 400, "invalid_grant")
	if status := s.orders(next.json.AccessToken); status != http.StatusUnauthorized {
		t.Errorf("the session goes on: %d", status)
	}
}

func TestOAuthDeviceIsNotLetIn(t *testing.T) {
	s := openScreens(t, nil)
	refused := s.askForDevice()
	if done := s.answer(refused.UserCode, "refuse", ""); done.status != 200 {
		t.Errorf("refuse: %d", done.status)
	}
	want(t, "refused", s.poll(refused), 400, "access_denied")
	late := s.askForDevice()
	s.wait(11 * time.Minute)
	want(t, "nobody answered", s.poll(late), 400, "expired_token")
	if got := s.answer(late.UserCode, "allow", readerPW); got.status != 422 {
		t.Errorf("let in too late: %d", got.status)
	}
	w := s.askForDevice()
	want(t, "garbage", s.poll(waiting{DeviceCode: "x"}), 400, "invalid_grant")
	want(t, "no code", s.poll(waiting{}), 400, "invalid_request")
	want(t, "client without the grant", s.form("/oauth2/device_authorization", "client_id", "web"), 400, "unauthorized_client")
	want(t, "scope", s.form("/oauth2/device_authorization", "client_id", "screen", "scope", "users.all"), 400, "invalid_scope")
	if evil := s.form("/oauth2/device", "user_code", w.UserCode, "answer", "allow", "username", "reader", "password", readerPW, "@Sec-Fetch-Site", "cross-site", "@Origin", "https://evil.test"); evil.status != 403 {
		t.Errorf("form of another site: %d", evil.status)
	}
	// Whoever guesses codes is soon made to wait, also for the right one.
	limited := 0
	for range 12 {
		if got := s.form("/oauth2/device", "user_code", "BBBB-BBBB"); got.status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited < 5 || s.form("/oauth2/device", "user_code", w.UserCode).status != http.StatusTooManyRequests {
		t.Errorf("of 12 guesses %d were refused", limited)
	}
}

func TestOAuthDeviceCodesAreSingleUseUnder50Tries(t *testing.T) {
	for engine, store := range map[string]func(*server.Config){
		"sqlite":   nil,
		"postgres": func(c *server.Config) { c.Store = pgtest.Database(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			s := openScreens(t, store)
			w := s.askForDevice()
			s.answer(w.UserCode, "allow", readerPW)
			var tries sync.WaitGroup
			answers := make([]*oauthReply, 50)
			for i := range answers {
				tries.Go(func() { answers[i] = s.poll(w) })
			}
			tries.Wait()
			granted := 0
			for _, a := range answers {
				if a.status == 200 {
					granted++
				} else if a.json.Error != "invalid_grant" {
					t.Errorf("%d %s", a.status, a.body)
				}
			}
			if granted != 1 {
				t.Errorf("granted %d times", granted)
			}
		})
	}
}

// An independent client goes through all of it.
func TestOAuthDeviceFlowWithAnUnmodifiedClient(t *testing.T) {
	s := openScreens(t, nil)
	base := s.URL(server.Public)
	c := &oauth2.Config{ClientID: "screen", Endpoint: oauth2.Endpoint{
		DeviceAuthURL: base + "/oauth2/device_authorization", TokenURL: base + "/oauth2/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	asked, err := c.DeviceAuth(t.Context())
	s.must(err)
	s.answer(asked.UserCode, "allow", readerPW)
	asked.Interval = 1
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := c.DeviceAccessToken(ctx, asked)
	s.must(err)
	if s.orders(got.AccessToken) != http.StatusOK {
		t.Error("the access token does not work")
	}
	_, err = c.DeviceAccessToken(ctx, asked)
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.ErrorCode != "invalid_grant" {
		t.Errorf("the code again: %v", err)
	}
}
