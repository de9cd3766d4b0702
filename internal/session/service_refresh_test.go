package session_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/session"
)

func TestRefreshRotates(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		second := w.refresh(first.Refresh)
		w.outcome("rotated")
		if second.Refresh == first.Refresh || second.Session != first.Session {
			t.Fatal("a rotation gives another refresh token of the same session")
		}
		w.holds(first.Access) // requests under way with it go on
		w.holds(second.Access)
		row := w.row(first.Session)
		if row.Gen != 2 || !row.RotatedAt.Equal(w.now()) || !row.WindowAt.Equal(w.now()) {
			t.Fatalf("generation %d, rotated %s, window %s", row.Gen, row.RotatedAt, row.WindowAt)
		}
		if want := w.now().Add(w.policy.AccessTTL); !second.AccessExpires.Equal(want) {
			t.Errorf("access token expires %s, want %s", second.AccessExpires, want)
		}
		if want := w.now().Add(w.policy.Idle); !second.RefreshExpires.Equal(want) {
			t.Errorf("refresh token expires %s, want %s: the session slides", second.RefreshExpires, want)
		}
		if diff := cmp.Diff([]string{"login by reader"}, w.story(first.Session)); diff != "" {
			t.Errorf("a plain refresh is no event: %s", diff)
		}
	})
}

func TestRefreshSoonAfterARotationGivesNoNewGeneration(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.refresh(w.login("reader").Refresh)
		before := w.row(tokens.Session)
		w.sleep(20*time.Second - time.Millisecond)
		again := w.refresh(tokens.Refresh)
		w.outcome("floor")
		if again.Refresh != tokens.Refresh {
			t.Error("a client that keeps its token itself is given the same one again")
		}
		w.holds(again.Access)
		browser, err := w.service.Refresh(from(home), session.RefreshRequest{Token: tokens.Refresh, Browser: true})
		w.must(err)
		if browser.Refresh != "" || browser.Access == "" {
			t.Error("a browser keeps its cookie: an overtaken answer must not turn its jar back")
		}
		w.sleep(3 * time.Second) // the floor is over, and retries are stored
		if diff := cmp.Diff(before.Family, w.row(tokens.Session).Family); diff == "" {
			t.Error("presenting the newest token is to be noted as seen")
		}
		next := w.refresh(tokens.Refresh)
		w.outcome("rotated")
		if row := w.row(tokens.Session); row.Gen != 3 || row.Retries != 2 || next.Refresh == tokens.Refresh {
			t.Errorf("generation %d and %d retries, want 3 and 2", row.Gen, row.Retries)
		}
	})
}

func TestT7RetryGivesTheSameSuccessor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		second := w.refresh(first.Refresh)
		w.sleep(10*time.Second - time.Millisecond)
		again := w.refresh(first.Refresh)
		w.outcome("retry")
		if again.Refresh != second.Refresh {
			t.Error("a retry is given another successor")
		}
		w.holds(again.Access)
		if row := w.row(first.Session); row.Gen != 2 || !row.WindowAt.Equal(w.now().Add(-10*time.Second+time.Millisecond)) {
			t.Errorf("generation %d, window %s: a retry changes neither", row.Gen, row.WindowAt)
		}
	})
}

func TestT6FiftyRefreshesAtOnceGiveOneSuccessor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := w.login("reader")
		var mu sync.Mutex
		successors := map[string]int{}
		var running sync.WaitGroup
		for range 50 {
			running.Go(func() {
				tokens, err := w.present(first.Refresh)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("refused: %v", err)
					return
				}
				successors[tokens.Refresh]++
			})
		}
		running.Wait()
		if len(successors) != 1 {
			t.Errorf("%d different successors", len(successors))
		}
		if row := w.row(first.Session); row.Gen != 2 || !row.RevokedAt.IsZero() {
			t.Errorf("generation %d, revoked %s", row.Gen, row.RevokedAt)
		}
		synctest.Wait()
	})
}

// lost rotates, forgets the answer and lets the retry window pass.
func lost(w *world) *session.Tokens {
	first := w.login("reader")
	w.refresh(first.Refresh)
	w.sleep(11 * time.Second)
	return first
}

func TestLateClientWhoseAnswerWasLostRecovers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		first := lost(w)
		second := w.refresh(first.Refresh)
		w.outcome("late_recovery")
		if row := w.row(first.Session); row.Gen != 2 || row.LateN != 1 || !row.WindowAt.Equal(w.now()) {
			t.Errorf("generation %d, late %d, window %s", row.Gen, row.LateN, row.WindowAt)
		}
		w.sleep(20 * time.Second)
		third := w.refresh(second.Refresh)
		w.outcome("rotated")
		w.sleep(11 * time.Second)
		if r := w.refused(second.Refresh); !r.Superseded() || r.Final {
			t.Errorf("second late recovery of the day: %+v, want superseded", r)
		}
		want := []string{
			"login by reader", "late_recovery by anonymous: an answer was lost; its token was given again",
			"superseded by anonymous: an old refresh token was presented",
		}
		if diff := cmp.Diff(want, w.story(third.Session)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLateRecoveryIsRefusedOnceTheSuccessorWasSeen(t *testing.T) {
	for name, use := range map[string]func(*world, *session.Tokens){
		"its access token was used":       func(w *world, s *session.Tokens) { w.holds(s.Access) },
		"its refresh token was presented": func(w *world, s *session.Tokens) { w.refresh(s.Refresh) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				first := w.login("reader")
				use(w, w.refresh(first.Refresh))
				w.sleep(11 * time.Second)
				if r := w.refused(first.Refresh); r.Outcome != session.Stale || r.Heal == "" || r.HealFor != 30*time.Second {
					t.Errorf("%+v, want superseded with a nonce for 30 s", r)
				}
			})
		})
	}
}

func TestT8RefreshInAnotherTenantChangesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		before := w.row(tokens.Session)
		r := w.refusal(w.service.Refresh(from(home), session.RefreshRequest{Token: tokens.Refresh, Tenant: "other"}))
		if r.Final || r.Outcome != session.NotAllowed {
			t.Errorf("%+v, want a refusal that is not final", r)
		}
		if diff := cmp.Diff(before, w.row(tokens.Session)); diff != "" {
			t.Errorf("the row changed: %s", diff)
		}
		_, err := w.service.Refresh(from(home), session.RefreshRequest{Token: tokens.Refresh, Tenant: "diku"})
		w.must(err)
	})
}

func TestRefreshTakesNothingThatIsNotARefreshToken(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		damaged := []byte(tokens.Refresh)
		damaged[len(damaged)-3] ^= 1
		for name, raw := range map[string]string{"nothing": "", "garbage": "cfrt_x", "an access token": tokens.Access, "a damaged one": string(damaged)} {
			if r := w.refused(raw); r.Final || r.Superseded() {
				t.Errorf("%s: %+v, want a refusal that says nothing and clears nothing", name, r)
			}
			w.outcome("forged")
		}
		w.refresh(tokens.Refresh)
	})
}

func TestRefreshOfASweptSessionIsFinal(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		w.jump(60 * 24 * time.Hour)
		w.must(w.service.Sweep(context.Background(), w.now()))
		if r := w.refused(tokens.Refresh); !r.Final {
			t.Errorf("%+v, want final: the row is gone", r)
		}
		w.outcome("unknown")
	})
}

func TestSessionExpires(t *testing.T) {
	for name, test := range map[string]struct {
		steps []time.Duration
		live  bool
	}{
		"idle, just not":     {[]time.Duration{7*24*time.Hour - time.Second}, true},
		"idle":               {[]time.Duration{7 * 24 * time.Hour}, false},
		"sliding":            {slices.Repeat([]time.Duration{6 * 24 * time.Hour}, 3), true},
		"absolute, in use":   {slices.Repeat([]time.Duration{6 * 24 * time.Hour}, 4), false},
		"absolute, just not": {append(slices.Repeat([]time.Duration{6 * 24 * time.Hour}, 3), 6*24*time.Hour-2*time.Second), true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				tokens := w.login("reader")
				last := len(test.steps) - 1
				for _, step := range test.steps[:last] {
					w.jump(step)
					tokens = w.refresh(tokens.Refresh)
				}
				w.jump(test.steps[last])
				if test.live {
					tokens = w.refresh(tokens.Refresh)
					if end := w.row(tokens.Session).AbsoluteExpiry; tokens.AccessExpires.After(end) || tokens.RefreshExpires.After(end) {
						t.Errorf("tokens until %s and %s outlive the session's end %s", tokens.AccessExpires, tokens.RefreshExpires, end)
					}
					return
				}
				if r := w.refused(tokens.Refresh); !r.Final || r.Outcome != session.Ended {
					t.Errorf("%+v, want final", r)
				}
			})
		})
	}
}
