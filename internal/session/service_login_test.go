package session_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

const (
	inactiveID = "0a1b2c3d-0000-4000-8000-000000000001"
	silentID   = "0a1b2c3d-0000-4000-8000-000000000002"
	legacyID   = "0a1b2c3d-0000-4000-8000-000000000003"
)

// people adds a user who may not log in and one who has no password.
func people(w *world) {
	w.t.Helper()
	ctx := w.as("operator", "test")
	w.must(w.service.CreateUser(ctx, directory.User{ID: inactiveID, Tenant: "diku", Username: "inactive"}, directory.Grants{}, password))
	w.must(w.service.CreateUser(ctx, directory.User{ID: silentID, Tenant: "diku", Username: "silent", Active: true}, directory.Grants{}, ""))
}

// refusals are logins that must not be told apart.
var refusals = map[string]session.LoginRequest{
	"unknown user":    {Tenant: "diku", Username: "nobody", Password: password},
	"unknown id":      {Tenant: "diku", UserID: "0a1b2c3d-0000-4000-8000-00000000000f", Password: password},
	"unknown tenant":  {Tenant: "nowhere", Username: "reader", Password: password},
	"wrong password":  {Tenant: "diku", Username: "reader", Password: "wrong"},
	"inactive user":   {Tenant: "diku", Username: "inactive", Password: password},
	"no password set": {Tenant: "diku", Username: "silent", Password: password},
	"impossible name": {Tenant: "diku", Username: "a\x00b", Password: password},
	"too long":        {Tenant: "diku", Username: "reader", Password: strings.Repeat("x", 100_000)},
}

func TestT33RefusedLoginsAreAllTheSame(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		people(w)
		for name, req := range refusals {
			w.sleep(time.Hour)
			tokens, err := w.service.Login(from(home), req)
			if tokens != nil || err != session.ErrCredentials {
				t.Errorf("%s: %v, want ErrCredentials and nothing around it", name, err)
			}
		}
		if counted := slices.Compact(slices.Clone(w.seen.logins)); len(counted) != 1 || counted[0] != "refused" {
			t.Errorf("counted as %v", counted)
		}
	})
}

// argon2id takes its memory from the heap, so what was allocated tells whether
// it ran, on any machine and at any load.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestT34RefusedLoginsCostTheSameWork(t *testing.T) {
	const memory = 16 << 20
	inWorld(t, func(w *world) { w.hasher = &credential.Hasher{Memory: memory >> 10, Time: 1} }, func(w *world) {
		people(w)
		for name, req := range refusals {
			if name == "too long" {
				continue // refused before any work, for whatever name
			}
			w.sleep(time.Hour)
			got := allocated(func() { _, _ = w.service.Login(from(home), req) })
			if got < memory || got > memory+memory/4 {
				t.Errorf("%s: %d bytes allocated, want one hash of %d", name, got, memory)
			}
		}
	})
}

func TestT31FailedLoginsAreSlowedDown(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		wrong := refusals["wrong password"]
		for range 5 {
			if _, err := w.service.Login(from(home), wrong); !errors.Is(err, session.ErrCredentials) {
				t.Fatal(err)
			}
		}
		var limited *session.Limited
		_, err := w.service.Login(from(home), loginOf("reader"))
		if !errors.As(err, &limited) || limited.RetryAfter != time.Second {
			t.Fatalf("the right password after 5 wrong ones: %v, want a wait of a second", err)
		}
		w.sleep(time.Second)
		w.login("reader")
		want := append(slices.Repeat([]string{"login_failed by anonymous"}, 5),
			"login_limited by anonymous: limit of failed logins per user", "login by reader")
		if diff := cmp.Diff(want, w.told()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestT32AttackerElsewhereDoesNotLockTheUserOut(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.login("reader")
		wrong := refusals["wrong password"]
		for range 150 {
			_, _ = w.service.Login(from("203.0.113.9"), wrong)
		}
		w.login("reader")
		if last := w.seen.logins[len(w.seen.logins)-2]; last != "limited" {
			t.Errorf("the attacker's last attempt was %s, want limited", last)
		}
	})
}

func TestT35BusyHasherRefusesWithoutCountingAFailure(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hasher = &credential.Hasher{Memory: 128 << 10, Time: 2, Concurrent: 1, Queue: -1}
		w.limits = &credential.Regulator{AddressMinute: credential.Limit{Burst: 2, Period: time.Minute}}
	}, func(w *world) {
		ctx := context.Background()
		var running sync.WaitGroup
		defer running.Wait()
		busy := 0
		for busy == 0 {
			running.Wait()
			running.Go(func() { _ = w.hasher.VerifyNothing(ctx, "x") })
			runtime.Gosched()
			for range 20 {
				_, err := w.service.Login(from(home), loginOf("reader"))
				if errors.Is(err, session.ErrBusy) {
					busy++
				} else if err != nil {
					t.Fatalf("error is %v, want busy", err)
				}
			}
		}
		running.Wait()
		_, err := w.service.Login(from(home), refusals["wrong password"])
		if !errors.Is(err, session.ErrCredentials) {
			t.Errorf("after %d busy answers: %v, want the password to be heard", busy, err)
		}
		want := []string{"login_failed by anonymous"}
		told := slices.DeleteFunc(w.told(), func(e string) bool { return e == "login by reader" })
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLoginReplacesHashesOfFOLIO(t *testing.T) {
	salt := []byte("0123456789abcdefghij")
	sum, err := pbkdf2.Key(sha1.New, password, salt, 1000, 20)
	if err != nil {
		t.Fatal(err)
	}
	upper := func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
	plain := "$folio-pbkdf2$" + upper(salt) + "$" + upper(sum)
	for name, encode := range map[string]func(*world) string{
		"as FOLIO keeps it": func(*world) string { return plain },
		"wrapped at import": func(w *world) string {
			wrapped, err := w.hasher.ImportFOLIO(context.Background(), upper(sum), upper(salt))
			w.must(err)
			return wrapped
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				ctx := context.Background()
				u := directory.User{ID: legacyID, Tenant: "diku", Username: "legacy", Active: true}
				stored := encode(w)
				w.must(w.db.CreateUser(ctx, u, directory.Grants{}, stored, audit.Event{Kind: audit.UserCreated, Tenant: "diku"}))
				if _, err := w.service.Login(from(home), session.LoginRequest{Tenant: "diku", Username: "legacy", Password: stored}); err == nil {
					t.Error("the stored hash was taken for the password")
				}
				tokens := w.login("legacy")
				encoded, err := w.db.Credential(ctx, "diku", legacyID)
				w.must(err)
				if !strings.HasPrefix(encoded, "$argon2id$") {
					t.Errorf("the hash still begins with %.20q", encoded)
				}
				w.login("legacy")
				w.holds(tokens.Access) // the password is the same, nobody is logged out
				want := []string{"user_created by system", "login_failed by anonymous", "credential_upgrade by anonymous", "login by legacy", "login by legacy"}
				if diff := cmp.Diff(want, w.told()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestFOLIOsDeactivationIsAnOption(t *testing.T) {
	inWorld(t, func(w *world) {
		w.limits = &credential.Regulator{Deactivation: credential.Deactivation{After: 3, Window: 10 * time.Minute}}
	}, func(w *world) {
		before := w.login("reader")
		for range 3 {
			_, _ = w.service.Login(from("203.0.113.9"), refusals["wrong password"])
		}
		w.dead(before.Access, session.ErrTokenInvalid)
		if _, err := w.service.Login(from(home), loginOf("reader")); !errors.Is(err, session.ErrCredentials) {
			t.Errorf("login of a deactivated user: %v", err)
		}
		if !slices.Contains(w.told(), "user_blocked by anonymous") {
			t.Errorf("events %q", w.told())
		}
	})
}

func TestOneSessionMoreThanAllowedEndsTheLongestIdle(t *testing.T) {
	inWorld(t, func(w *world) { w.policy.SessionsPerUser = 3 }, func(w *world) {
		var all []*session.Tokens
		for range 3 {
			all = append(all, w.login("reader"))
			w.sleep(time.Minute)
		}
		foreign := w.login("writer")
		all[0] = w.refresh(all[0].Refresh) // the first is the most active now
		w.sleep(time.Minute)
		all = append(all, w.login("reader"))
		w.dead(all[1].Access, session.ErrTokenInvalid)
		for _, i := range []int{0, 2, 3} {
			w.holds(all[i].Access)
		}
		w.holds(foreign.Access)
		want := []string{"login by reader", "session_evicted by reader: the user had too many sessions, this one was idle the longest"}
		if diff := cmp.Diff(want, w.story(all[1].Session)); diff != "" {
			t.Error(diff)
		}
		if row := w.row(all[1].Session); row.RevokedWhy != session.Evicted {
			t.Errorf("ended for %q", row.RevokedWhy)
		}
	})
}

func TestElevateGivesNamedPermissionsForMinutes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		caller, err := w.check(tokens.Access)
		w.must(err)
		for _, elevatedOnly := range []string{"orders.collection.delete", "orders.item.put"} {
			if caller.Access.Ordinary.Has(elevatedOnly) || !caller.Access.Elevated.Has(elevatedOnly) {
				t.Errorf("%s has effect in an ordinary token, or none in a raised one", elevatedOnly)
			}
		}
		w.policies.Default.ElevatedTTL = time.Hour // whatever a policy says
		raised, err := w.service.Elevate(from(home), &caller, password, []string{"orders.collection.delete"})
		w.must(err)
		if got := raised.AccessExpires.Sub(w.now()); got != 5*time.Minute {
			t.Errorf("raised for %s, want 5 minutes at most", got)
		}
		if raised.Refresh != "" {
			t.Error("raised scope can be refreshed")
		}
		up, err := w.check(raised.Access)
		w.must(err)
		if diff := cmp.Diff([]string{"orders.collection.delete"}, up.Claims.Permissions); diff != "" || up.Claims.Session != tokens.Session {
			t.Errorf("raised token of session %s: %s", up.Claims.Session, diff)
		}
		if _, err := w.service.Elevate(from(home), &up, password, []string{"orders.item.put"}); !errors.Is(err, session.ErrForbidden) {
			t.Errorf("raising a raised token: %v, want forbidden", err)
		}
		w.sleep(5 * time.Minute)
		w.dead(raised.Access, session.ErrTokenExpired)
		w.holds(tokens.Access)
	})
}

func TestElevateRefuses(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		tokens := w.login("reader")
		caller, err := w.check(tokens.Access)
		w.must(err)
		many := slices.Repeat([]string{"orders.item.put"}, 51)
		for name, test := range map[string]struct {
			password    string
			permissions []string
			want        error
		}{
			"no permission":    {password, nil, session.ErrInvalid},
			"too many":         {password, many, session.ErrInvalid},
			"not granted":      {password, []string{"orders.item.put", "users.item.delete"}, session.ErrForbidden},
			"a wrong password": {"wrong", []string{"orders.item.put"}, session.ErrCredentials},
		} {
			if _, err := w.service.Elevate(from(home), &caller, test.password, test.permissions); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
		}
		for range 5 {
			_, _ = w.service.Elevate(from(home), &caller, "wrong", []string{"orders.item.put"})
		}
		var limited *session.Limited
		if _, err := w.service.Login(from(home), loginOf("reader")); !errors.As(err, &limited) {
			t.Errorf("login after wrong passwords at elevate: %v, want them counted", err)
		}
	})
}
