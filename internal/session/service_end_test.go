package session_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

func TestLogoutTakesAnyGenuineTokenOfTheSession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		tokens := first
		for range 5 {
			w.sleep(time.Minute)
			tokens = w.refresh(tokens.Refresh)
		}
		w.must(w.service.Logout(from(home), first.Refresh))
		w.dead(tokens.Access, session.ErrTokenInvalid)
		w.must(w.service.Logout(from(home), first.Refresh))
		w.must(w.service.Logout(from(home), "garbage"))
		if diff := cmp.Diff([]string{"login by reader", "logout by anonymous"}, w.story(first.Session)); diff != "" {
			t.Errorf("told once: %s", diff)
		}
	})
}

func TestLogoutOfASessionThatIsGoneIsNoError(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.jump(60 * 24 * time.Hour)
		w.must(w.service.Sweep(context.Background(), w.now()))
		w.must(w.service.Logout(from(home), tokens.Refresh))
	})
}

func TestLogoutAllNeedsATokenOfALiveSession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		gone, live := w.login("reader"), w.login("reader")
		foreign := w.login("writer")
		w.must(w.service.Logout(from(home), gone.Refresh))
		for _, raw := range []string{"garbage", live.Access, gone.Refresh} {
			if err := w.service.LogoutAll(from(home), raw); !errors.Is(err, session.ErrTokenInvalid) {
				t.Errorf("error is %v, want an invalid token", err)
			}
		}
		w.holds(live.Access)
		w.must(w.service.LogoutAll(from(home), live.Refresh))
		w.dead(live.Access, session.ErrTokenInvalid)
		w.holds(foreign.Access)
	})
}

// The answer to a logout-all is lost, and this node does not know what was
// committed. Asked again it acknowledges, and holds to it.
func TestT53RepeatedLogoutAllIsAcknowledgedAndEndsNothingNew(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		one, other := w.login("reader"), w.login("reader")
		w.must(w.service.LogoutAll(from(home), one.Refresh))
		later := w.login("reader")
		w.must(w.service.LogoutAll(from(home), one.Refresh))
		w.must(w.service.LogoutAll(from(home), other.Refresh))
		w.dead(one.Access, session.ErrTokenInvalid)
		w.dead(other.Access, session.ErrTokenInvalid)
		w.holds(later.Access)
		w.refresh(later.Refresh)
		w.away(time.Hour) // acknowledged by the store alone
		if err := w.service.LogoutAll(from(home), one.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("error is %v, want unavailable", err)
		}
	})
}

func TestT52RevokedSessionNeverAnswersAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		second := w.refresh(first.Refresh)
		ended, err := w.service.Revoke(w.as("operator", "carl"), first.Session)
		w.must(err)
		again, err := w.service.Revoke(w.as("operator", "carl"), first.Session)
		w.must(err)
		if !ended || again {
			t.Errorf("ended %v, then %v", ended, again)
		}
		for _, offset := range []time.Duration{0, 5 * time.Second, time.Minute, 24 * time.Hour, -48 * time.Hour} {
			w.jump(offset)
			for _, raw := range []string{first.Refresh, second.Refresh} {
				if r := w.refused(raw); !r.Final || r.Outcome != session.Ended {
					t.Errorf("%s later: %+v, want final", offset, r)
				}
			}
		}
		if row := w.row(first.Session); row.RevokedBy != "carl" || row.RevokedWhy != session.RevokedByAdmin {
			t.Errorf("ended by %q for %q", row.RevokedBy, row.RevokedWhy)
		}
	})
}

// Rotation and revocation meet in the same row: whatever is under way, nothing
// that begins after the revocation was acknowledged is served.
func TestT52RevocationAmidRefreshesIsFinal(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		w.holds(first.Access)
		begun := make(chan struct{}, 1)
		var mu sync.Mutex
		given := []string{first.Refresh}
		var running sync.WaitGroup
		for range 20 {
			running.Go(func() {
				for {
					tokens, err := w.present(first.Refresh)
					select {
					case begun <- struct{}{}:
					default:
					}
					if err != nil {
						return
					}
					mu.Lock()
					given = append(given, tokens.Refresh)
					mu.Unlock()
				}
			})
		}
		<-begun
		_, err := w.service.Revoke(w.as("operator", "carl"), first.Session)
		w.must(err)
		if r := w.refused(first.Refresh); !r.Final {
			t.Errorf("%+v, want final", r)
		}
		running.Wait() // each ends with a refusal
		slices.Sort(given)
		for _, raw := range slices.Compact(given) {
			if r := w.refused(raw); !r.Final {
				t.Errorf("%+v, want final", r)
			}
		}
	})
}

func TestT65DeactivatedUserDoesNotGetOldSessionsBack(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		ctx, user := w.as("operator", "test"), directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
		n, err := w.service.UpdateUser(ctx, user)
		w.must(err)
		if n != 1 {
			t.Errorf("%d sessions ended, want 1", n)
		}
		user.Active = true
		_, err = w.service.UpdateUser(ctx, user)
		w.must(err)
		w.dead(tokens.Access, session.ErrTokenInvalid)
		if r := w.refused(tokens.Refresh); !r.Final {
			t.Errorf("%+v, want final", r)
		}
		w.login("reader")
		want := []string{"login by reader", "session_revoked by test: the user was deactivated"}
		if diff := cmp.Diff(want, w.story(tokens.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPasswordChangeEndsAllSessionsButTheSpared(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		spared, ended := w.login("reader"), w.login("reader")
		n, err := w.service.SetPassword(w.as("operator", "test"), "diku", readerID, "another correct horse", spared.Session)
		w.must(err)
		if n != 1 {
			t.Errorf("%d sessions ended, want 1", n)
		}
		w.holds(spared.Access)
		w.refresh(spared.Refresh)
		w.dead(ended.Access, session.ErrTokenInvalid)
		if _, err := w.service.Login(from(home), loginOf("reader")); !errors.Is(err, session.ErrCredentials) {
			t.Errorf("login with the old password: %v", err)
		}
	})
}

func TestChangePasswordProvesTheOldOne(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		err := w.service.ChangePassword(from(home), "diku", "reader", "", "wrong", "another correct horse")
		if !errors.Is(err, session.ErrCredentials) {
			t.Errorf("with a wrong password: %v", err)
		}
		err = w.service.ChangePassword(from(home), "diku", "reader", "", password, "short")
		if !errors.Is(err, session.ErrInvalid) {
			t.Errorf("to one that breaks the rules: %v", err)
		}
		w.holds(tokens.Access)
		w.must(w.service.ChangePassword(from(home), "diku", "reader", "", password, "another correct horse"))
		w.dead(tokens.Access, session.ErrTokenInvalid)
	})
}

// Each thing that an operator does is told once, and once more in the story of
// each session that it ends.
func TestWhatOperatorsDoIsTold(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		ctx, user := w.as("operator", "carl"), directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
		w.login("reader")
		_, err := w.service.SetPassword(ctx, "diku", readerID, "another correct horse", token.SessionID{})
		w.must(err)
		w.must(w.service.SetGrants(ctx, "diku", readerID, directory.Grants{}))
		w.login("writer")
		_, err = w.service.EndUser(ctx, session.Scope{Tenant: "diku", UserID: writerID}, session.RevokedByAdmin, audit.SessionRevoked)
		w.must(err)
		_, err = w.service.UpdateUser(ctx, user)
		w.must(err)
		user.Active = true
		_, err = w.service.UpdateUser(ctx, user)
		w.must(err)
		w.login("writer")
		_, err = w.service.DeleteUser(ctx, "diku", writerID)
		w.must(err)
		_, err = w.service.EndUser(ctx, session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
		w.must(err)
		want := []string{
			"login by reader", "credential_change by carl", "session_revoked by carl: the password was changed",
			"permission_changed by carl",
			"login by writer", "session_revoked by carl",
			"user_deactivated by carl", "user_changed by carl",
			"login by writer", "user_deleted by carl", "session_revoked by carl: the user was deleted",
			"tenant_sessions_ended by carl",
		}
		if diff := cmp.Diff(want, w.told()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestEpochOfATenantEndsItsSessionsAndNoOthers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		before := []*session.Tokens{w.login("reader"), w.login("writer")}
		other, err := w.service.Login(from(home), session.LoginRequest{Tenant: "other", Username: "reader", Password: password, Client: session.ClientAPI})
		w.must(err)
		n, err := w.service.EndUser(w.as("operator", "test"), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
		w.must(err)
		if n != 2 {
			t.Errorf("%d sessions ended, want 2", n)
		}
		after := w.login("reader")
		w.restart() // epochs are remembered
		for _, tokens := range before {
			w.dead(tokens.Access, session.ErrTokenInvalid)
			if state := w.service.StateOf(w.row(tokens.Session), w.now()); state != session.StateEnded {
				t.Errorf("session is %s, want ended", state)
			}
			if r := w.refused(tokens.Refresh); !r.Final {
				t.Errorf("%+v, want final", r)
			}
		}
		w.holds(after.Access)
		w.refresh(after.Refresh)
		w.holds(other.Access)
		w.refresh(other.Refresh)
	})
}

func TestEndedSessionsAreRememberedAcrossARestart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		ended, live := w.login("reader"), w.login("writer")
		w.must(w.service.Logout(from(home), ended.Refresh))
		w.restart()
		w.dead(ended.Access, session.ErrTokenInvalid)
		w.holds(live.Access)
	})
}

func TestSweepKeepsEndedSessionsForWhoeverAsksWhy(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		ended := w.login("reader")
		w.must(w.service.Logout(from(home), ended.Refresh))
		w.jump(29 * 24 * time.Hour)
		live := w.login("writer")
		w.sleep(time.Minute + time.Second) // the loop's own sweep
		if diff := cmp.Diff([]string{"login by reader", "logout by anonymous"}, w.story(ended.Session)); diff != "" {
			t.Errorf("after 29 days: %s", diff)
		}
		w.jump(24 * time.Hour)
		w.sleep(time.Minute)
		if _, err := w.db.Session(context.Background(), ended.Session); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("after 30 days: %v, want not found", err)
		}
		if told := w.told(); slices.Contains(told, "logout by anonymous") || !slices.Contains(told, "login by writer") {
			t.Errorf("events %q, want those of the live session alone", told)
		}
		w.refresh(live.Refresh)
	})
}

// forge changes a session's row behind the program's back.
func forge(w *world, change string, id token.SessionID) {
	w.t.Helper()
	conn, err := sqlite.OpenConn(w.path, sqlite.OpenReadWrite)
	w.must(err)
	defer conn.Close()
	w.must(sqlitex.Execute(conn, `UPDATE sessions SET `+change+` WHERE id = ?`, &sqlitex.ExecOptions{Args: []any{id[:]}}))
}

func TestT64AlteredRowIsRefusedWithAnAlarm(t *testing.T) {
	for name, change := range map[string]string{
		"given to another user":   `user_id = '` + writerID + `'`,
		"moved to another tenant": `tenant = 'other'`,
		"prolonged":               `absolute_expiry = absolute_expiry + 86400000000`,
		"with another secret":     `secret = zeroblob(32)`,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				tokens := w.login("reader")
				forge(w, change, tokens.Session)
				for range 3 {
					if r := w.refused(tokens.Refresh); r.Outcome != session.Altered || r.Final {
						t.Errorf("%+v, want a refusal that is not final", r)
					}
				}
				w.must(w.service.Logout(from(home), tokens.Refresh))
				if row := w.row(tokens.Session); !row.RevokedAt.IsZero() || row.Gen != 1 {
					t.Errorf("generation %d, revoked %s: a token of another row changed it", row.Gen, row.RevokedAt)
				}
				alarms := slices.DeleteFunc(w.told(), func(e string) bool { return e == "login by reader" })
				want := []string{"tag_mismatch by anonymous: the session's row was altered, or a key leaked"}
				if diff := cmp.Diff(want, alarms); diff != "" {
					t.Errorf("told once a minute: %s", diff)
				}
			})
		})
	}
}

// racing lets something happen between the moment at which a login reads the
// password's hash and the moment at which its session is stored.
type racing struct {
	session.AccountStore
	meanwhile func()
}

func (r *racing) Credential(ctx context.Context, tenant, userID string) (string, error) {
	encoded, err := r.AccountStore.Credential(ctx, tenant, userID)
	r.meanwhile()
	return encoded, err
}

// raced is the directory with the same.
type raced struct {
	directory.Source
	meanwhile func()
}

func (r *raced) UserByName(ctx context.Context, tenant, username string) (directory.User, error) {
	user, err := r.Source.UserByName(ctx, tenant, username)
	r.meanwhile()
	return user, err
}

// T52, for logins: whoever proves the old password while it is being changed
// must not keep a session that the change should have ended.
func TestT52LoginWithThePasswordThatIsBeingChangedGetsNoSession(t *testing.T) {
	for name, change := range map[string]func(*world, directory.User) error{
		"the password is changed": func(w *world, u directory.User) error {
			_, err := w.service.SetPassword(w.as("operator", "test"), u.Tenant, u.ID, "another long password", token.SessionID{})
			return err
		},
		"the user is deactivated": func(w *world, u directory.User) error {
			u.Active = false
			_, err := w.service.UpdateUser(w.as("operator", "test"), u)
			return err
		},
	} {
		for when, before := range map[string]func(w *world, meanwhile func()){
			"after the user was found": func(w *world, meanwhile func()) {
				users := w.service.Users
				w.service.Users = &raced{users, func() { w.service.Users = users; meanwhile() }}
			},
			"after the hash was read": func(w *world, meanwhile func()) {
				accounts := w.service.Accounts
				w.service.Accounts = &racing{accounts, func() { w.service.Accounts = accounts; meanwhile() }}
			},
		} {
			t.Run(name+" "+when, func(t *testing.T) {
				inWorld(t, nil, func(w *world) {
					user, err := w.service.Users.UserByName(from(home), "diku", "reader")
					w.must(err)
					before(w, func() { w.must(change(w, user)) })
					_, err = w.service.Login(from(home), loginOf("reader"))
					if !errors.Is(err, session.ErrCredentials) {
						t.Errorf("error is %v, want refused credentials", err)
					}
					page, err := w.service.List(from(home), session.Filter{Tenant: "diku", UserID: user.ID, Live: true})
					w.must(err)
					if len(page.Sessions) != 0 {
						t.Errorf("%d sessions live", len(page.Sessions))
					}
				})
			})
		}
	}
}
