package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// withAndWithoutCache runs test in two worlds: what was verified before and is
// remembered must be refused as readily as what is verified anew.
func withAndWithoutCache(t *testing.T, test func(*world)) {
	t.Helper()
	for name, noCache := range map[string]bool{"remembered": false, "verified anew": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) { w.noCache = noCache }, func(w *world) {
				test(w)
				if (w.seen.hits == 0) != noCache {
					t.Errorf("%d tokens were remembered", w.seen.hits)
				}
			})
		})
	}
}

// twice logs in and sees that the access token holds, so that it is remembered.
func twice(w *world) *session.Tokens {
	w.t.Helper()
	tokens := w.login("reader")
	w.holds(tokens.Access)
	w.holds(tokens.Access)
	return tokens
}

func TestAccessTokenHoldsUntilTheSecondOfItsExpiry(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		tokens := twice(w)
		w.sleep(10*time.Minute - time.Millisecond)
		w.holds(tokens.Access)
		w.sleep(time.Millisecond)
		w.dead(tokens.Access, session.ErrTokenExpired)
	})
}

// Each way in which a session can end reaches its access token before whoever
// ended it is answered.
func TestAccessTokenDiesWith(t *testing.T) {
	reader := session.Scope{Tenant: "diku", UserID: readerID}
	operator := func(w *world) context.Context { return w.as("operator", "test") }
	user := directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
	for name, end := range map[string]func(*world, *session.Tokens) error{
		"logout":     func(w *world, s *session.Tokens) error { return w.service.Logout(from(home), s.Refresh) },
		"logout-all": func(w *world, s *session.Tokens) error { return w.service.LogoutAll(from(home), s.Refresh) },
		"revocation": func(w *world, s *session.Tokens) error {
			_, err := w.service.Revoke(operator(w), s.Session)
			return err
		},
		"the end of all sessions of the user": func(w *world, _ *session.Tokens) error {
			_, err := w.service.EndUser(operator(w), reader, session.RevokedByAdmin, audit.SessionRevoked)
			return err
		},
		"the epoch of its tenant": func(w *world, _ *session.Tokens) error {
			_, err := w.service.EndUser(operator(w), session.Scope{Tenant: "diku"}, session.TenantEnded, audit.TenantEnded)
			return err
		},
		"the password": func(w *world, _ *session.Tokens) error {
			_, err := w.service.SetPassword(operator(w), "diku", readerID, "another correct horse", token.SessionID{})
			return err
		},
		"its user's deactivation": func(w *world, _ *session.Tokens) error {
			_, err := w.service.UpdateUser(operator(w), user)
			return err
		},
		"its user": func(w *world, _ *session.Tokens) error {
			_, err := w.service.DeleteUser(operator(w), "diku", readerID)
			return err
		},
		"its tenant": func(w *world, _ *session.Tokens) error {
			return w.db.DeleteTenant(operator(w), "diku", audit.Event{Kind: audit.TenantDeleted, Tenant: "diku"})
		},
		"its key": func(w *world, _ *session.Tokens) error { return removeKey(w, token.PurposeAccess) },
	} {
		t.Run(name, func(t *testing.T) {
			withAndWithoutCache(t, func(w *world) {
				tokens := twice(w)
				w.must(end(w, tokens))
				w.dead(tokens.Access, session.ErrTokenInvalid)
				if name == "its key" {
					return // the session goes on with a token of the next key
				}
				if r := w.refused(tokens.Refresh); !r.Final {
					t.Errorf("%+v, want final", r)
				}
			})
		})
	}
}

// removeKey removes the active key of a purpose.
func removeKey(w *world, purpose string) error {
	for _, k := range w.ring.Keys() {
		if k.Purpose == purpose && k.State == token.StateActive {
			return w.ring.Remove(w.as("operator", "test"), purpose, k.ID)
		}
	}
	return errors.New("no active key")
}

func TestRaisedTokenDiesWithItsSession(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		tokens := twice(w)
		caller, err := w.check(tokens.Access)
		w.must(err)
		raised, err := w.service.Elevate(from(home), &caller, password, []string{"orders.item.put"})
		w.must(err)
		w.holds(raised.Access)
		w.must(w.service.Logout(from(home), tokens.Refresh))
		w.dead(raised.Access, session.ErrTokenInvalid)
	})
}

// moduleToken is what a module has while it serves a request with tokens.
func moduleToken(w *world, s *session.Tokens) string {
	w.t.Helper()
	raw, err := w.ring.Mint(token.Claims{
		Kind: token.KindModule, Tenant: s.Tenant, Subject: s.Username, UserID: s.UserID, Session: s.Session,
		Module: "mod-test-1.0.0", RequestID: "1/test", IssuedAt: w.now(), Expires: w.now().Add(w.policy.ModuleTTL),
	})
	w.must(err)
	return raw
}

// What a module has begun must not fail half-way because its caller left.
func TestModuleTokenOutlivesItsCallersSessionOnly(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		tokens := twice(w)
		module := moduleToken(w, tokens)
		holds := func(want error) {
			t := w.t
			t.Helper()
			if _, err := w.check(module, token.KindModule); !errors.Is(err, want) {
				t.Fatalf("module token: %v, want %v", err, want)
			}
		}
		holds(nil)
		w.must(w.service.Logout(from(home), tokens.Refresh))
		holds(nil)
		user := directory.User{ID: readerID, Tenant: "diku", Username: "reader"}
		_, err := w.service.UpdateUser(w.as("operator", "test"), user)
		w.must(err)
		holds(session.ErrTokenInvalid)
		user.Active = true
		_, err = w.service.UpdateUser(w.as("operator", "test"), user)
		w.must(err)
		holds(nil)
		w.sleep(20*time.Minute - time.Millisecond)
		holds(nil)
		w.must(removeKey(w, token.PurposeModule))
		holds(session.ErrTokenInvalid)
		w.sleep(time.Millisecond)
		holds(session.ErrTokenInvalid)
	})
}

func TestT10TokenIsAcceptedAsItsOwnKindOnly(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		tokens := twice(w)
		module := moduleToken(w, tokens)
		if _, err := w.check(module, token.KindModule); err != nil {
			w.t.Fatal(err)
		}
		w.dead(module, session.ErrTokenInvalid)
		if _, err := w.check(tokens.Access, token.KindModule, token.KindElevated, token.KindDummy); !errors.Is(err, session.ErrTokenInvalid) {
			w.t.Errorf("access token in the place of others: %v", err)
		}
		for _, raw := range []string{"", "garbage", tokens.Refresh, "a.b.c"} {
			w.dead(raw, session.ErrTokenInvalid)
		}
	})
}

// override changes the lifetime of access tokens of a tenant; 0 removes it.
func override(w *world, ttl time.Duration) {
	w.t.Helper()
	o := session.PolicyOverride{Tenant: "diku", Scope: "tenant"}
	if ttl > 0 {
		d := session.Duration(ttl)
		o.Patch.AccessTTL = &d
	}
	w.must(w.db.SavePolicy(w.as("operator", "test"), o, audit.Event{Kind: audit.PolicyChanged, Tenant: "diku"}))
}

// Ended sessions are remembered for the longest lifetime of today's policies.
// A token issued under a longer one must not come back when its session is
// forgotten.
func TestShortenedPolicyEndsTokensIssuedBefore(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		override(w, time.Hour)
		kept, ended := twice(w), twice(w)
		w.must(w.service.Logout(from(home), ended.Refresh))
		override(w, 0)
		w.sleep(10*time.Minute - time.Second)
		w.holds(kept.Access)
		w.sleep(time.Second)
		w.dead(kept.Access, session.ErrTokenExpired)
		w.sleep(10 * time.Minute)
		w.dead(ended.Access, session.ErrTokenExpired)
	})
}

func TestPermissionsAreThoseOfNow(t *testing.T) {
	withAndWithoutCache(t, func(w *world) {
		tokens := twice(w)
		w.must(w.service.SetGrants(w.as("operator", "test"), "diku", readerID, directory.Grants{Permissions: []string{"users.item.get"}}))
		caller, err := w.check(tokens.Access)
		w.must(err)
		if caller.Access.Ordinary.Has("orders.collection.get") || !caller.Access.Ordinary.Has("users.item.get") {
			w.t.Error("the token still has the permissions of its issue")
		}
	})
}

// behind is a cluster whose news stopped coming.
type behind struct {
	session.Cluster
	since time.Time
}

func (b *behind) HeardAt() time.Time {
	if b.since.IsZero() {
		return b.Cluster.HeardAt()
	}
	return b.since
}

// Threat: a node that is cut off from the others does not hear of a revocation
// and serves the thief for as long as his access token lives.
func TestANodeThatHearsNothingStopsServingFromMemory(t *testing.T) {
	cluster := &behind{}
	inWorld(t, func(w *world) {
		w.cluster = func(c session.Cluster) session.Cluster { cluster.Cluster = c; return cluster }
	}, func(w *world) {
		tokens := w.login("reader")
		cluster.since = w.now()
		w.sleep(session.DefaultTrust)
		w.holds(tokens.Access)
		w.sleep(time.Second)
		if _, err := w.check(tokens.Access); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("access token: %v, want ErrUnavailable", err)
		}
		if _, err := w.present(tokens.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("refresh token: %v, want ErrUnavailable", err)
		}
		cluster.since = time.Time{}
		w.holds(tokens.Access)
		w.refresh(tokens.Refresh)
	})
}

// A node that has not stored what it saw, or has lost some of it, keeps a late
// client waiting on all nodes: another node may have seen the successor, until the
// moment at which the client came.
func TestLateRecoveryWaitsForWhatOtherNodesSaw(t *testing.T) {
	withOthers(t, func(w *world, others *flushes) {
		first := lost(w)
		until := w.now().Add(1900 * time.Millisecond)
		others.at = func() time.Time {
			if w.now().Before(until) {
				return until.Add(-2 * time.Second) // after the rotation, before the client came
			}
			return until
		}
		started := w.now()
		w.refresh(first.Refresh)
		w.outcome("late_recovery")
		if waited := w.now().Sub(started); waited < 1900*time.Millisecond || waited > 3*time.Second {
			t.Errorf("waited for %s, want about 1.9 s", waited)
		}
	})
}

// What the other node tells then decides.
func TestT5UseOnAnotherNodeThatIsToldLateIsNoLostAnswer(t *testing.T) {
	withOthers(t, func(w *world, others *flushes) {
		first := lost(w)
		before := w.now().Add(-time.Second)
		var told atomic.Bool
		time.AfterFunc(time.Second, func() {
			w.must(w.db.MergeSeen(context.Background(), []session.Seen{{Session: first.Session, Gen: 2, At: w.now()}}))
			told.Store(true)
		})
		others.at = func() time.Time {
			if told.Load() {
				return w.now()
			}
			return before
		}
		if r := w.refused(first.Refresh); r.Outcome != session.Stale {
			t.Errorf("%+v, want superseded", r)
		}
	})
}

// A node that never tells keeps late clients waiting for five minutes.
func TestLateClientWaitsForTheFeed(t *testing.T) {
	withOthers(t, func(w *world, others *flushes) {
		before := w.now()
		others.at = func() time.Time { return before }
		first := lost(w)
		started := w.now()
		if _, err := w.present(first.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Fatalf("error is %v, want unavailable", err)
		}
		w.outcome("feed_behind")
		if waited := w.now().Sub(started); waited != 5*time.Second {
			t.Errorf("waited for %s, want 5 s", waited)
		}
		w.sleep(4 * time.Minute)
		if _, err := w.present(first.Refresh); !errors.Is(err, session.ErrUnavailable) {
			t.Fatalf("after 4 minutes: %v, want unavailable", err)
		}
		if row := w.row(first.Session); row.StrikeNo != 0 {
			t.Error("waiting for the feed opened a strike")
		}
		w.sleep(time.Minute)
		if r := w.refused(first.Refresh); r.Outcome != session.Stale {
			t.Errorf("after 5 minutes: %+v, want superseded", r)
		}
	})
}

// withOthers makes a world with another node.
func withOthers(t *testing.T, test func(*world, *flushes)) {
	others := &flushes{}
	inWorld(t, func(w *world) {
		w.cluster = func(c session.Cluster) session.Cluster {
			others.Cluster, others.at = c, c.FlushedAt
			return others
		}
	}, func(w *world) { test(w, others) })
}

// flushes is a cluster with another node, which stored what it saw until at.
type flushes struct {
	session.Cluster
	at func() time.Time
}

func (f *flushes) FlushedAt() time.Time { return f.at() }
