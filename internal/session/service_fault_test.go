package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// away is a store that cannot answer for some time from now.
func (w *world) away(d time.Duration) {
	until := w.now().Add(d)
	w.store.fail(func() error {
		if w.now().Before(until) {
			return fmt.Errorf("%w: test", session.ErrUnavailable)
		}
		return nil
	}, nil)
}

// twiceAway is a store that cannot answer two times.
func twiceAway() func() error {
	times := 0
	return func() error {
		if times++; times <= 2 {
			return session.ErrUnavailable
		}
		return nil
	}
}

// replaced is a session whose first token was replaced a minute ago, and its newest
// tokens, which have been used.
func replaced(w *world) (old, newest *session.Tokens) {
	old = w.login("reader")
	newest = w.refresh(old.Refresh)
	w.holds(newest.Access)
	w.sleep(time.Minute)
	return old, newest
}

// One answer that is no success ends the session of a Stripes user.
func TestRefreshWaitsForAStoreThatIsAway(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.away(4 * time.Second)
		started := w.now()
		tokens = w.refresh(tokens.Refresh)
		w.outcome("rotated")
		if waited := w.now().Sub(started); waited < 4*time.Second || waited > 5*time.Second {
			t.Errorf("answered after %s, want soon after 4 s", waited)
		}
		w.away(time.Hour)
		started = w.now()
		if _, err := w.present(tokens.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("error is %v, want unavailable", err)
		}
		if waited := w.now().Sub(started); waited != 5*time.Second {
			t.Errorf("gave up after %s, want 5 s", waited)
		}
		w.store.fail(nil, nil)
		w.sleep(time.Minute)
		w.refresh(tokens.Refresh)
		w.outcome("rotated")
	})
}

func TestLogoutAndLoginWaitForAStoreThatIsAway(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.away(3 * time.Second)
		tokens := w.login("reader")
		w.away(3 * time.Second)
		w.must(w.service.Logout(from(home), tokens.Refresh))
		w.dead(tokens.Access, session.ErrTokenInvalid)
		w.away(time.Hour)
		if _, err := w.service.Login(from(home), loginOf("reader")); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("error is %v, want unavailable", err)
		}
	})
}

// A store may have committed and then lost its own answer, as one behind a
// network does. Asking again is then a retry like any other.
func TestT53CommitWhoseAnswerWasLostIsNoReuse(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.holds(tokens.Access) // the directory knows the user: one call is one decision
		w.store.fail(nil, twiceAway())
		next := w.refresh(tokens.Refresh)
		w.outcome("retry")
		if row := w.row(tokens.Session); row.Gen != 2 || row.Struck() {
			t.Errorf("generation %d, strike %d", row.Gen, row.StrikeNo)
		}
		w.store.fail(nil, twiceAway())
		w.must(w.service.Logout(from(home), next.Refresh))
		if diff := cmp.Diff([]string{"login by reader", "logout by anonymous"}, w.story(tokens.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

// A rule without a window takes a second use for a theft. The commit that was lost
// inside is not one.
func TestT53CommitWhoseAnswerWasLostIsNoReuseWithoutAWindow(t *testing.T) {
	inWorld(t, func(w *world) { w.policy = w.policy.FOLIOExact() }, func(w *world) {
		tokens := w.login("reader")
		w.holds(tokens.Access)
		w.store.fail(nil, twiceAway())
		next := w.refresh(tokens.Refresh)
		w.outcome("rotated")
		w.sleep(time.Minute)
		last := w.refresh(next.Refresh)
		if row := w.row(tokens.Session); row.Gen != 3 {
			t.Errorf("generation %d", row.Gen)
		}
		w.refused(tokens.Refresh)
		w.refused(last.Refresh)
	})
}

// A store may decide twice, and the directory may have learnt of the user in
// between. What was committed then is the answer.
func TestADecisionThatIsTakenTwiceIsAnsweredOnce(t *testing.T) {
	inWorld(t, func(w *world) { w.policy = w.policy.FOLIOExact() }, func(w *world) {
		tokens := w.login("reader")
		w.restart() // the directory has forgotten
		w.store.twice = func() { w.holds(tokens.Access) }
		w.refresh(tokens.Refresh)
		w.outcome("rotated")
		if row := w.row(tokens.Session); row.Gen != 2 {
			t.Errorf("generation %d", row.Gen)
		}
	})
}

// A store may have tokens made while it writes, and find that the row was not as
// it thought. They are not given.
func TestT52TokensOfADecisionThatDidNotStandAreNotGiven(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.holds(tokens.Access) // the directory knows the user
		w.store.twice = func() {
			w.refresh(tokens.Refresh)
			w.outcome("rotated")
			w.sleep(time.Second)
		}
		again := w.refresh(tokens.Refresh)
		w.outcome("retry")
		if !again.Issued.Equal(w.now()) {
			t.Errorf("issued at %s, want %s: of the decision that did not stand", again.Issued, w.now())
		}
		w.store.twice = func() { w.must(w.service.Logout(from(home), again.Refresh)) }
		w.refused(again.Refresh)
	})
}

// A refusal whose commit was not answered is decided again. It must not open a
// second strike, of which nobody gets the nonce.
func TestT53RefusalWhoseCommitWasLostIsHealedByItsOneNonce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		old, newest := replaced(w)
		w.store.fail(nil, twiceAway())
		refused := w.refused(old.Refresh)
		if !refused.Superseded() || refused.Heal == "" {
			t.Fatalf("%+v", refused)
		}
		if row := w.row(old.Session); row.StrikeNo != 1 {
			t.Errorf("%d strikes were opened", row.StrikeNo)
		}
		newest = w.refresh(newest.Refresh, refused.Heal)
		w.sleep(time.Minute)
		w.refresh(newest.Refresh)
	})
}

// The same while another presentation's strike is open: each is told from the other,
// whichever of the commits was lost.
func TestT53RefusalThatWasLostBesideAnotherIsHealedByItsOwnNonce(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				old, newest := replaced(w)
				first := w.refused(old.Refresh)
				if committed {
					w.store.fail(nil, twiceAway())
				} else {
					w.store.fail(twiceAway(), nil)
				}
				second := w.refused(old.Refresh)
				if row := w.row(old.Session); row.StrikeNo != 2 || first.Heal == second.Heal {
					t.Errorf("%d strikes were opened, nonces alike: %v", row.StrikeNo, first.Heal == second.Heal)
				}
				newest = w.refresh(newest.Refresh, second.Heal)
				w.outcome("floor") // the other's is open
				newest = w.refresh(newest.Refresh, first.Heal)
				w.outcome("rotated")
				w.sleep(time.Minute)
				w.refresh(newest.Refresh)
			})
		})
	}
}

// The answer to the commit never comes, and the client is told to come again. The
// strike that may stand is nobody's to heal, and is taken back.
func TestT53RefusalThatWasNeverGivenEndsNoSession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		old, newest := replaced(w)
		until := w.now().Add(10 * time.Second)
		w.store.fail(nil, func() error {
			if w.now().Before(until) {
				return session.ErrUnavailable
			}
			return nil
		})
		if _, err := w.present(old.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Fatalf("error is %v, want unavailable", err)
		}
		if !w.row(old.Session).Struck() {
			t.Fatal("no strike stands: the test shows nothing")
		}
		w.sleep(6 * time.Second)
		if w.row(old.Session).Struck() {
			t.Error("the strike still stands")
		}
		w.sleep(time.Minute)
		w.refresh(newest.Refresh)
		w.outcome("rotated")
		want := []string{"login by reader", "superseded by anonymous: an old refresh token was presented", "strike_healed by refresh rule: nobody was told of it"}
		if diff := cmp.Diff(want, w.story(old.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

// Somebody else opens the strike of that number while the commit is unknown, and
// was not made. Its nonce is not given to both.
func TestT53StrikeOfAnotherIsNotTakenForOnesOwn(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		old, _ := replaced(w)
		var theirs *session.Refused
		w.store.twice = func() { theirs = w.refused(old.Refresh) }
		ours := w.refused(old.Refresh)
		if ours.Heal == theirs.Heal || w.row(old.Session).StrikeNo != 2 {
			t.Errorf("one nonce for two strikes, or %d strikes", w.row(old.Session).StrikeNo)
		}
	})
}

func TestCancelledRequestLeavesNoTrace(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		before := w.row(tokens.Session)
		ctx, cancel := context.WithCancel(from(home))
		cancel()
		if _, err := w.service.Refresh(ctx, session.RefreshRequest{Token: tokens.Refresh}); !errors.Is(err, context.Canceled) {
			t.Errorf("refresh: %v, want cancelled", err)
		}
		if err := w.service.Logout(ctx, tokens.Refresh); !errors.Is(err, context.Canceled) {
			t.Errorf("logout: %v, want cancelled", err)
		}
		if _, err := w.service.Login(ctx, loginOf("reader")); !errors.Is(err, context.Canceled) {
			t.Errorf("login: %v, want cancelled", err)
		}
		if diff := cmp.Diff(before, w.row(tokens.Session)); diff != "" {
			t.Errorf("the row changed: %s", diff)
		}
		if diff := cmp.Diff([]string{"login by reader"}, w.told()); diff != "" {
			t.Error(diff)
		}
		for range 10 {
			_, _ = w.service.Login(ctx, refusals["wrong password"])
		}
		w.login("reader") // ten cancelled attempts are no failures
	})
}

func TestCallerWhoLeavesDoesNotWaitForAStoreThatIsAway(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.away(time.Hour)
		ctx, cancel := context.WithTimeout(from(home), time.Second)
		defer cancel()
		started := w.now()
		if _, err := w.service.Refresh(ctx, session.RefreshRequest{Token: tokens.Refresh}); err == nil {
			t.Error("a store that is away gave an answer")
		}
		if waited := w.now().Sub(started); waited != time.Second {
			t.Errorf("returned after %s, want 1 s", waited)
		}
	})
}

// A flush that fails must not lose what was seen: a late client would recover
// although the successor is in use.
func TestSeenGenerationsSurviveAFailedFlush(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		second := w.refresh(first.Refresh)
		w.holds(second.Access)
		w.store.deaf.Store(true)
		w.sleep(9 * time.Second)
		w.store.deaf.Store(false)
		w.sleep(4 * time.Second)
		if row := w.row(first.Session); row.SeenGen != 2 {
			t.Errorf("generation %d was stored as seen, want 2", row.SeenGen)
		}
		if r := w.refused(first.Refresh); r.Outcome != session.Stale {
			t.Errorf("%+v, want superseded", r)
		}
	})
}

// While flushes fail, what is seen by others is not known either.
func TestLateRecoveryWaitsWhileFlushesFail(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first, second := w.login("reader"), w.login("writer")
		w.refresh(first.Refresh)
		w.holds(second.Access) // something to flush
		w.store.deaf.Store(true)
		w.sleep(11 * time.Second)
		if _, err := w.present(first.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("error is %v, want unavailable", err)
		}
		w.store.deaf.Store(false)
		w.sleep(2 * time.Second)
		w.refresh(first.Refresh)
		w.outcome("late_recovery")
	})
}

func TestCloseStoresWhatWasSeenLast(t *testing.T) {
	inWorld(t, func(w *world) { w.flushEvery = time.Hour }, func(w *world) {
		first := w.login("reader")
		second := w.refresh(first.Refresh)
		w.sleep(time.Minute)
		w.holds(second.Access)
		used := w.now()
		w.restart()
		row := w.row(first.Session)
		if row.SeenGen != 2 || !row.LastActivity.Equal(used) {
			t.Errorf("seen generation %d, last activity %s, want 2 and %s", row.SeenGen, row.LastActivity, used)
		}
	})
}

// Whoever asks "why was I logged out?" gets the whole story of the session,
// and each fact is told once, with who did it.
func TestTimelineTellsTheStoryOfASession(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		w.refresh(first.Refresh)
		w.sleep(11 * time.Second)
		second := w.refresh(first.Refresh) // its answer was lost
		w.sleep(20 * time.Second)
		third := w.refresh(second.Refresh)
		w.holds(third.Access)
		w.sleep(25 * time.Second)
		stale := w.refused(second.Refresh) // a tab that was away
		third = w.refresh(third.Refresh, stale.Heal)
		caller, err := w.check(third.Access)
		w.must(err)
		_, err = w.service.Elevate(from(home), &caller, password, []string{"orders.item.put"})
		w.must(err)
		if _, err = w.service.Elevate(from(home), &caller, password, []string{"users.item.delete"}); err == nil {
			t.Error("a permission that was not granted was raised")
		}
		_, err = w.service.Revoke(w.as("operator", "carl"), first.Session)
		w.must(err)
		want := []string{
			"login by reader",
			"late_recovery by anonymous: an answer was lost; its token was given again",
			"superseded by anonymous: an old refresh token was presented",
			"strike_healed by anonymous: the owner came back with the newest token",
			"elevated by anonymous: for orders.item.put",
			"elevation_failed by anonymous: a permission was asked for that the user does not have",
			"session_revoked by carl",
		}
		if diff := cmp.Diff(want, w.story(first.Session)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(want, w.told()); diff != "" {
			t.Errorf("and nothing else: %s", diff)
		}
		events, err := w.service.Timeline(context.Background(), w.row(first.Session))
		w.must(err)
		if detail := events[2].Detail; detail["presented"] != "2" || detail["newest"] != "3" {
			t.Errorf("superseded: %v, want which generations", detail)
		}
		if address := events[1].Actor.Address; address != home {
			t.Errorf("recovered from %q", address)
		}
		if !slices.IsSortedFunc(events, func(a, b audit.Event) int { return a.Time.Compare(b.Time) }) {
			t.Error("not in order")
		}
	})
}
