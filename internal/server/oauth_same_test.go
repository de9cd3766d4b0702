package server_test

import (
	"context"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// rejections make a refresh token that is refused, for every row of the refresh
// rule that refuses. lives is whether the session goes on.
var rejections = map[string]struct {
	spoil  func(*standards, *session.Tokens) string
	reason string
	lives  bool
	// policy is the tenant's, nil for the standard one.
	policy func(*session.PolicyPatch)
}{
	"garbage": {func(*standards, *session.Tokens) string { return "x" }, "", true, nil},
	"cut":     {func(_ *standards, t *session.Tokens) string { return t.Refresh[:len(t.Refresh)-1] }, "", true, nil},
	"forged": {func(_ *standards, t *session.Tokens) string {
		raw := []byte(t.Refresh)
		raw[40] ^= 1
		return string(raw)
	}, "", true, nil},
	"access token": {func(_ *standards, t *session.Tokens) string { return t.Access }, "", true, nil},
	"no such session": {func(s *standards, _ *session.Tokens) string {
		return s.Tokens().MintRefresh(token.Binding{Session: token.NewSessionID()}, 1)
	}, "ended", true, nil},
	"altered row": {func(s *standards, t *session.Tokens) string {
		return s.Tokens().MintRefresh(token.Binding{Session: t.Session}, 1)
	}, "", true, nil},
	"ahead": {func(s *standards, t *session.Tokens) string {
		row, err := s.Store().Session(context.Background(), t.Session)
		s.must(err)
		return s.Tokens().MintRefresh(row.Binding(), 9)
	}, "", true, nil},
	"logged out": {func(s *standards, t *session.Tokens) string {
		s.must(s.Sessions().Logout(context.Background(), t.Refresh))
		return t.Refresh
	}, "ended", false, nil},
	"another client's": {func(s *standards, _ *session.Tokens) string { return s.tokens("web").RefreshToken }, "", true, nil},
	"superseded":       {func(s *standards, t *session.Tokens) string { return s.age(t) }, "superseded", true, nil},
	"used too often": {func(s *standards, t *session.Tokens) string {
		old := s.age(t)
		for range session.MaxStrikes {
			_, err := s.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: old})
			if err == nil {
				s.t.Fatal("an old token was accepted")
			}
		}
		return old
	}, "ended", false, nil},
	"nobody healed": {func(s *standards, t *session.Tokens) string {
		old := s.age(t)
		_, _ = s.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: old}) // opens the strike
		s.wait(31 * time.Second)
		return old
	}, "ended", false, nil},
	"superseded again": {spoil: func(s *standards, t *session.Tokens) string {
		old := s.age(t)
		_, err := s.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: old})
		if err == nil {
			s.t.Fatal("an old token was accepted")
		}
		return old
	}, reason: "superseded", lives: true},
	"used twice under a strict policy": {
		spoil: func(s *standards, t *session.Tokens) string {
			_, err := s.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: t.Refresh})
			s.must(err)
			return t.Refresh
		}, reason: "ended",
		policy: func(p *session.PolicyPatch) {
			yes, none, never := true, session.Duration(0), 0
			p.Strict, p.Grace, p.LateBudget = &yes, &none, &never
		},
	},
	"from another network than at login": {
		spoil: func(s *standards, _ *session.Tokens) string {
			ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "user", Address: "198.51.100.7"})
			t, err := s.Sessions().Login(ctx, session.LoginRequest{Tenant: "diku", Username: "reader", Password: readerPW, Client: session.ClientAPI})
			s.must(err)
			return t.Refresh
		}, lives: true,
		policy: func(p *session.PolicyPatch) { subnet := session.BindingSubnet; p.Binding = &subnet },
	},
	"idle": {func(s *standards, t *session.Tokens) string {
		s.wait(8 * 24 * time.Hour)
		return t.Refresh
	}, "ended", false, nil},
	"inactive user": {func(s *standards, t *session.Tokens) string {
		ctx := audit.WithActor(context.Background(), &audit.Actor{Kind: "operator", Name: "test"})
		_, err := s.Sessions().UpdateUser(ctx, directory.User{ID: readerID, Tenant: "diku", Username: "reader"})
		s.must(err)
		return t.Refresh
	}, "ended", false, nil},
}

// age rotates twice and makes the last token the newest that is known.
func (s *standards) age(t *session.Tokens) (old string) {
	s.t.Helper()
	old = t.Refresh
	for range 2 {
		next, err := s.Sessions().Refresh(context.Background(), session.RefreshRequest{Token: t.Refresh})
		s.must(err)
		s.wait(25 * time.Second)
		*t = *next
	}
	return old
}

func TestOAuthRefusesWhatFOLIOsDoorRefuses(t *testing.T) {
	for name, test := range rejections {
		t.Run(name, func(t *testing.T) {
			for _, door := range []string{"/authn/refresh", "/oauth2/token"} {
				s := openStandards(t, func(c *server.Config) {
					if test.policy != nil {
						test.policy(&c.Policy)
					}
				})
				tokens := s.login()
				raw := test.spoil(s, tokens)
				reason := ""
				if door == "/authn/refresh" {
					got := s.refresh(raw)
					if got.status != 422 || len(got.json.Errors) != 1 || got.json.Errors[0].Code != "token.refresh.unprocessable" {
						t.Fatalf("%s: %d %s", door, got.status, got.body)
					}
					for _, p := range got.json.Errors[0].Parameters {
						if p.Key == "reason" {
							reason = p.Value
						}
					}
				} else {
					got := s.tokenOf("grant_type", "refresh_token", "client_id", session.ClientAPI, "refresh_token", raw)
					want(t, door, got, 400, "invalid_grant")
					reason = got.json.Reason
					if (got.json.Heal != "") != (reason == "superseded") {
						t.Errorf("heal %q with reason %q", got.json.Heal, reason)
					}
				}
				if reason != test.reason {
					t.Errorf("%s: reason %q, want %q", door, reason, test.reason)
				}
				row, err := s.Store().Session(context.Background(), tokens.Session)
				s.must(err)
				if lives := s.Sessions().StateOf(row, s.office.config.Now()) == session.StateLive; lives != test.lives {
					t.Errorf("%s: session lives: %v", door, lives)
				}
			}
		})
	}
}

// The owner of the newest token, told of the strike at one door, heals it with
// the nonce at the other.
func TestOAuthSupersededHealsWithItsNonce(t *testing.T) {
	s := openStandards(t, nil)
	tokens := s.login()
	old := s.age(tokens)
	refused := s.tokenOf("grant_type", "refresh_token", "client_id", session.ClientAPI, "refresh_token", old)
	healed := s.tokenOf("grant_type", "refresh_token", "client_id", session.ClientAPI, "refresh_token", tokens.Refresh, "heal", refused.json.Heal)
	want(t, "the newest with the nonce", healed, 200, "")
	row, err := s.Store().Session(context.Background(), tokens.Session)
	s.must(err)
	if row.Struck() {
		t.Error("the strike is open")
	}
}
