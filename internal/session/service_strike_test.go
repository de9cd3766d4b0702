package session_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/session"
)

// strike brings a session to an open strike: its owner holds newest, somebody
// presented what came before.
func strike(w *world) (newest *session.Tokens, old string, r *session.Refused) {
	w.t.Helper()
	first := w.login("reader")
	newest = w.refresh(first.Refresh)
	w.holds(newest.Access) // so that it is no late recovery
	w.sleep(25 * time.Second)
	return newest, first.Refresh, w.refused(first.Refresh)
}

func TestStrikeStopsRotationUntilItsOwnNonceComesWithTheNewestToken(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, old, r := strike(w)
		if r.Outcome != session.Stale || r.Final || r.HealFor != 30*time.Second {
			t.Fatalf("%+v, want superseded", r)
		}
		if again := w.refused(old, r.Heal); again.Outcome != session.StaleAgain || again.Heal != "" {
			t.Errorf("the nonce with an old token: %+v, want superseded and nothing new", again)
		}
		if w.refresh(newest.Refresh).Refresh != newest.Refresh {
			t.Error("the generation moved while a strike was open")
		}
		w.outcome("floor")
		next := w.refresh(newest.Refresh, "not a nonce", r.Heal)
		w.outcome("rotated")
		w.sleep(time.Hour)
		w.refresh(next.Refresh)
		want := []string{
			"login by reader", "superseded by anonymous: an old refresh token was presented",
			"strike_healed by anonymous: the owner came back with the newest token",
		}
		if diff := cmp.Diff(want, w.story(newest.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNonceOfAnotherSessionHealsNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, _, _ := strike(w)
		_, _, foreign := strike(w)
		w.refresh(newest.Refresh, foreign.Heal)
		w.outcome("floor")
		if !w.row(newest.Session).Struck() {
			t.Error("a foreign nonce closed the strike")
		}
	})
}

// A thief's strike cannot be closed by the owner, nor the owner's by a thief.
func TestEachNonceClosesItsOwnStrikeOnly(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, old, first := strike(w)
		second := w.refused(old)
		if second.Heal == first.Heal || second.HealSlot == first.HealSlot {
			t.Error("two strikes share a nonce or a cookie")
		}
		w.refresh(newest.Refresh, first.Heal)
		w.outcome("floor")
		w.refresh(newest.Refresh, first.Heal, second.Heal)
		w.outcome("rotated")
	})
}

func TestStrikeThatNobodyHealsEndsTheSessionAndItsAccessTokens(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, _, _ := strike(w)
		w.sleep(30*time.Second - time.Millisecond)
		w.holds(newest.Access)
		w.sleep(time.Millisecond)
		w.dead(newest.Access, session.ErrTokenInvalid)
		row := w.row(newest.Session)
		if row.RevokedWhy != session.RefreshReuse || row.RevokedBy != "strike timer" {
			t.Errorf("ended for %q by %q", row.RevokedWhy, row.RevokedBy)
		}
		if r := w.refused(newest.Refresh); !r.Final || r.Outcome != session.Ended {
			t.Errorf("%+v, want final", r)
		}
		want := "refresh_reuse by strike timer: an old refresh token was presented and nobody came back with the newest one in time"
		if story := w.story(newest.Session); story[len(story)-1] != want {
			t.Errorf("last event %q", story[len(story)-1])
		}
		if w.seen.ended[session.RefreshReuse] != 1 {
			t.Errorf("%v sessions counted as ended", w.seen.ended)
		}
	})
}

// A set of strikes that was healed and opened anew gets its whole time again.
func TestTimerOfAHealedStrikeDoesNotEndTheNextOne(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, old, r := strike(w)
		w.sleep(20 * time.Second)
		newest = w.refresh(newest.Refresh, r.Heal)
		again := w.refused(old)
		w.sleep(29 * time.Second)
		w.holds(newest.Access)
		w.refresh(newest.Refresh, again.Heal)
		w.sleep(time.Minute)
		w.holds(newest.Access)
	})
}

func TestStartArmsTheTimersOfOpenStrikesAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, _, _ := strike(w)
		w.sleep(10 * time.Second)
		w.restart()
		w.holds(newest.Access)
		w.sleep(20*time.Second - time.Millisecond)
		w.holds(newest.Access)
		w.sleep(time.Millisecond)
		w.dead(newest.Access, session.ErrTokenInvalid)
	})
}

func TestStrikeThatRanOutWhileNothingRanEndsTheSessionAtTheStart(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, _, _ := strike(w)
		w.close()
		w.sleep(time.Minute)
		w.open()
		w.sleep(time.Millisecond)
		w.dead(newest.Access, session.ErrTokenInvalid)
	})
}

// If the timer could not end it, the next presentation does.
func TestOverdueStrikeEndsTheSessionAtTheNextPresentation(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, _, r := strike(w)
		w.jump(31 * time.Second) // past the timer, which does not see it
		if refused := w.refused(newest.Refresh, r.Heal); refused.Outcome != session.Reused || !refused.Final {
			t.Errorf("%+v, want the end: the nonce is too old", refused)
		}
		w.dead(newest.Access, session.ErrTokenInvalid)
	})
}

func TestFifthOldTokenEndsTheSession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		newest, old, _ := strike(w)
		for range session.MaxStrikes - 1 {
			if r := w.refused(old); r.Outcome != session.Stale {
				t.Fatalf("%+v, want superseded", r)
			}
		}
		if r := w.refused(old); r.Outcome != session.Reused || !r.Final {
			t.Errorf("%+v, want the end", r)
		}
		w.dead(newest.Access, session.ErrTokenInvalid)
	})
}

func TestT5ReuseUnderFOLIOExactEndsAllSessionsOfTheUser(t *testing.T) {
	inWorld(t, func(w *world) { w.policy = w.policy.FOLIOExact() }, func(w *world) {
		first, second, foreign := w.login("reader"), w.login("reader"), w.login("writer")
		other, err := w.service.Login(from(home), session.LoginRequest{Tenant: "other", Username: "reader", Password: password, Client: session.ClientAPI})
		w.must(err)
		newest := w.refresh(first.Refresh)
		w.refresh(newest.Refresh)
		w.outcome("rotated") // no floor either
		if r := w.refused(first.Refresh); r.Outcome != session.Reused || !r.Final {
			t.Errorf("%+v, want the end", r)
		}
		for _, tokens := range []*session.Tokens{newest, second} {
			w.dead(tokens.Access, session.ErrTokenInvalid)
			if r := w.refused(tokens.Refresh); r.Outcome != session.Ended {
				t.Errorf("%+v, want ended", r)
			}
		}
		for _, tokens := range []*session.Tokens{foreign, other} {
			w.holds(tokens.Access)
			w.refresh(tokens.Refresh)
		}
		want := []string{"login by reader", "refresh_reuse by anonymous: another session of the user ended so"}
		if diff := cmp.Diff(want, w.story(second.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestReuseUnderStrictEndsThatSessionOnly(t *testing.T) {
	inWorld(t, func(w *world) { w.policy.Strict = true }, func(w *world) {
		first, second := w.login("reader"), w.login("reader")
		newest := w.refresh(first.Refresh)
		if r := w.refused(first.Refresh); r.Outcome != session.Reused {
			t.Errorf("%+v, want the end, in the retry window, too", r)
		}
		w.dead(newest.Access, session.ErrTokenInvalid)
		w.refresh(second.Refresh)
	})
}

func TestBindingToSubnet(t *testing.T) {
	inWorld(t, func(w *world) { w.policy.Binding = session.BindingSubnet }, func(w *world) {
		tokens := w.login("reader")
		for _, address := range []string{"198.51.100.1", "2001:db8::1", "", "192.0.3.17"} {
			r := w.refusal(w.service.Refresh(from(address), session.RefreshRequest{Token: tokens.Refresh}))
			if r.Outcome != session.NotAllowed || r.Final {
				t.Errorf("from %q: %+v, want a refusal that is not final", address, r)
			}
		}
		_, err := w.service.Refresh(from("192.0.2.254"), session.RefreshRequest{Token: tokens.Refresh})
		w.must(err)
		if row := w.row(tokens.Session); row.LastAddress != "192.0.2.254" || row.LoginAddress != home {
			t.Errorf("last seen at %s, logged in at %s", row.LastAddress, row.LoginAddress)
		}
		want := []string{"login by reader", "binding_mismatch by anonymous: refreshed from another subnet than at login"}
		if diff := cmp.Diff(want, w.story(tokens.Session)); diff != "" {
			t.Errorf("told once a minute, or a stranger fills the log: %s", diff)
		}
	})
}

func TestBindingToDevice(t *testing.T) {
	inWorld(t, func(w *world) { w.policy.Binding = session.BindingDevice }, func(w *world) {
		tokens := w.login("reader")
		if len(tokens.Device) < 43 {
			t.Fatalf("device cookie of %d characters, want 256 random bits", len(tokens.Device))
		}
		for _, device := range []string{"", "another"} {
			r := w.refusal(w.service.Refresh(from(home), session.RefreshRequest{Token: tokens.Refresh, Device: device}))
			if r.Outcome != session.NotAllowed || r.Final {
				t.Errorf("device %q: %+v, want a refusal that is not final", device, r)
			}
		}
		_, err := w.service.Refresh(from("198.51.100.1"), session.RefreshRequest{Token: tokens.Refresh, Device: tokens.Device})
		w.must(err)
		req := loginOf("reader")
		req.Device = tokens.Device
		again, err := w.service.Login(from(home), req)
		w.must(err)
		if again.Device != "" {
			t.Error("a known device was given another cookie")
		}
		_, err = w.service.Refresh(from(home), session.RefreshRequest{Token: again.Refresh, Device: tokens.Device})
		w.must(err)
	})
}

func TestT50RestoredDatabaseIsNoticed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		w.close()
		backup, err := os.ReadFile(w.path)
		w.must(err)
		w.open()
		second := w.refresh(first.Refresh)
		w.close()
		w.must(os.WriteFile(w.path, backup, 0o600))
		w.open()
		for range 3 {
			if r := w.refused(second.Refresh); r.Outcome != session.Ahead || r.Final {
				t.Errorf("%+v, want a refusal that is not final", r)
			}
		}
		want := []string{"login by reader", "generation_ahead by anonymous: a genuine token is newer than the row: the database was restored"}
		if diff := cmp.Diff(want, w.story(first.Session)); diff != "" {
			t.Errorf("told once a minute: %s", diff)
		}
	})
}

func TestT16ClockThatGoesBackLogsNobodyOut(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		idle := w.login("reader")
		first := w.login("writer")
		second := w.refresh(first.Refresh)
		w.jump(-time.Hour)
		if w.refresh(first.Refresh).Refresh != second.Refresh {
			t.Error("the retry is given another successor")
		}
		w.outcome("retry")
		third := w.refresh(second.Refresh)
		w.outcome("rotated")
		w.jump(time.Hour)
		w.refresh(third.Refresh)
		want := []string{"login by writer", "clock_backwards by anonymous: the clock is behind the session's last rotation"}
		if diff := cmp.Diff(want, w.story(first.Session)); diff != "" {
			t.Error(diff)
		}
		// What has expired stays so, and what was ended does at any time.
		w.jump(7*24*time.Hour + 2*time.Hour)
		w.must(w.service.Logout(context.Background(), third.Refresh))
		for _, step := range []time.Duration{0, -time.Hour, -8 * 24 * time.Hour, 3 * 24 * time.Hour} {
			w.jump(step)
			if step > -24*time.Hour {
				w.dead(idle.Access, session.ErrTokenExpired)
			}
			if step == 0 || step == -time.Hour {
				w.refused(idle.Refresh)
				w.outcome("ended")
			}
			if r := w.refused(third.Refresh); !r.Final {
				t.Errorf("%+v, want final for ever", r)
			}
		}
	})
}
