package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Each way in which a session ends, and what is said to somebody who asks why.
func TestWhyASessionEnded(t *testing.T) {
	const away = "198.51.100.7"
	strict := func(w *world) { w.policy.Strict, w.policy.Grace, w.policy.LateBudget = true, 0, 0 }
	for _, c := range []struct {
		name   string
		adjust func(*world)
		// end ends the session of tokens.
		end func(w *world, tokens *session.Tokens)
		// why has the time of the bubble, which begins at midnight of 1 January 2000.
		why string
	}{
		{"live", nil, func(*world, *session.Tokens) {}, ""},
		{"logged out", nil, func(w *world, s *session.Tokens) {
			w.must(w.service.Logout(from(away), s.Refresh))
		}, "ended at 2000-01-01 01:00:00 UTC: the user logged out from " + away},
		{"logged out everywhere", nil, func(w *world, s *session.Tokens) {
			w.must(w.service.LogoutUser(from(away), "diku", readerID))
		}, "ended at 2000-01-01 01:00:00 UTC: the user ended all sessions from " + away},
		{"revoked", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.Revoke(w.as("operator", "olga"), s.Session)
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: it was revoked by olga from " + home},
		{"all of a user revoked", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.EndUser(w.as("operator", "olga"), session.Scope{Tenant: "diku", UserID: readerID}, session.RevokedByAdmin, audit.SessionRevoked)
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: it was revoked by olga from " + home},
		{"used twice", strict, func(w *world, s *session.Tokens) {
			w.refresh(s.Refresh)
			w.sleep(time.Minute)
			_, err := w.service.Refresh(from(away), session.RefreshRequest{Token: s.Refresh})
			w.refusal(nil, err)
		}, "ended at 2000-01-01 01:01:00 UTC: a token was used twice, the second time from " + away},
		{"old token and nobody came back", nil, func(w *world, s *session.Tokens) {
			next := w.refresh(s.Refresh)
			w.sleep(time.Minute)
			w.refresh(next.Refresh)
			w.sleep(time.Minute)
			_, err := w.service.Refresh(from(away), session.RefreshRequest{Token: s.Refresh})
			w.refusal(nil, err)
			w.sleep(5 * time.Minute)
		}, "ended at 2000-01-01 01:02:30 UTC: an old token was used from " + away + ", and the owner did not come back with the newest one in time"},
		{"reuse in another session", func(w *world) { strict(w); w.policy.EndUser = true }, func(w *world, s *session.Tokens) {
			other := w.login("reader")
			w.refresh(other.Refresh)
			w.sleep(time.Minute)
			_, err := w.service.Refresh(from(away), session.RefreshRequest{Token: other.Refresh})
			w.refusal(nil, err)
		}, "ended at 2000-01-01 01:01:00 UTC: a token of another session of the user was used twice, and the policy ends all"},
		{"too many sessions", func(w *world) { w.policy.SessionsPerUser = 1 }, func(w *world, s *session.Tokens) {
			w.login("reader")
		}, "ended at 2000-01-01 01:00:00 UTC: the user logged in once more than there may be sessions, and this one was idle the longest"},
		{"made inactive", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.UpdateUser(w.as("operator", "olga"), directory.User{ID: readerID, Tenant: "diku", Username: "reader"})
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: the user was made inactive by olga"},
		{"deleted", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.DeleteUser(w.as("operator", "olga"), "diku", readerID)
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: the user was deleted by olga"},
		{"password changed", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.SetPassword(w.as("operator", "olga"), "diku", readerID, "another horse battery", token.SessionID{})
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: the password was changed by olga from " + home},
		{"tenant ended", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.EndUser(w.as("operator", "olga"), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
			w.must(err)
		}, "ended at 2000-01-01 01:00:00 UTC: all sessions of the tenant were ended by olga"},
		{"tenant ended, and refreshed since", nil, func(w *world, s *session.Tokens) {
			_, err := w.service.EndUser(w.as("operator", "olga"), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
			w.must(err)
			w.sleep(time.Minute)
			w.refused(s.Refresh)
		}, "ended at 2000-01-01 01:00:00 UTC: all sessions of the tenant were ended by olga"},
		{"not used", nil, func(w *world, s *session.Tokens) { w.jump(8 * 24 * time.Hour) }, "expired at 2000-01-08 00:00:00 UTC: nobody refreshed it for 7 days"},
		{"too old", func(w *world) { w.policy.Absolute = 5 * 24 * time.Hour }, func(w *world, s *session.Tokens) {
			w.jump(6 * 24 * time.Hour)
		}, "expired at 2000-01-06 00:00:00 UTC: a session lasts 5 days from the login at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, c.adjust, func(w *world) {
				tokens := w.login("reader")
				w.sleep(time.Hour)
				c.end(w, tokens)
				row := w.row(tokens.Session)
				story, err := w.service.Story(context.Background(), row)
				w.must(err)
				if got := w.service.Why(row, story); got != c.why {
					t.Errorf("%q,\nwant %q", got, c.why)
				}
				if c.why != "" && !strings.Contains(c.why, "expired") && w.service.StateOf(row, w.now()) != session.StateEnded {
					t.Error("it has not ended")
				}
			})
		})
	}
}

// Between reading a row and telling of it, the session may end. What is told must
// be of one moment: "ended" with the reason, or live, and never "ended" for a
// reason that is guessed.
func TestWhatEndsWhileItIsReadIsNotGuessed(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, tokens *session.Tokens) error
		// before and after are told of the row and the story of before the end,
		// and of those of after it.
		before, after string
	}{
		{"logged out", func(w *world, s *session.Tokens) error {
			return w.service.Logout(from(home), s.Refresh)
		}, "", "ended at 2000-01-01 00:00:00 UTC: the user logged out from " + home},
		{"logged out everywhere", func(w *world, _ *session.Tokens) error {
			return w.service.LogoutUser(from(home), "diku", readerID)
		}, "", "ended at 2000-01-01 00:00:00 UTC: the user ended all sessions from " + home},
		{"tenant ended", func(w *world, _ *session.Tokens) error { // which no row says
			_, err := w.service.EndUser(w.as("operator", "olga"), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
			return err
		}, "ended: all sessions of the tenant were ended", "ended at 2000-01-01 00:00:00 UTC: all sessions of the tenant were ended by olga"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				tokens := w.login("reader")
				before := w.row(tokens.Session)
				story, err := w.service.Story(context.Background(), before)
				w.must(err)
				w.must(c.end(w, tokens))
				if got := w.service.Why(before, story); got != c.before {
					t.Errorf("%q, want %q", got, c.before)
				}
				after := w.row(tokens.Session)
				story, err = w.service.Story(context.Background(), after)
				w.must(err)
				if got := w.service.Why(after, story); got != c.after {
					t.Errorf("%q, want %q", got, c.after)
				}
			})
		})
	}
}
