package directory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyCallersAreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib := newLibrary("diku")
		lib.user("diku", "u1", "read")
		lib.user("diku", "u2", "read")
		c, _ := newCache(t, &Cache{Source: lib})
		_, release := lib.holdOnce("sets")
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				a, err := c.Access(t.Context(), "diku", []string{"u1", "u2"}[i%2])
				if err != nil || !a.Ordinary.Has("read") {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
		synctest.Wait() // all are waiting for the sets
		release()
		callers.Wait()
		for what, want := range map[string]int{"user": 2, "grants": 2, "sets": 1} {
			if n := lib.count(what); n != want {
				t.Errorf("%s: asked %d times, want %d", what, n, want)
			}
		}
	})
}

func TestCallerWhoLeavesTakesNobodyAlong(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1", "read")
	c, _ := newCache(t, &Cache{Source: lib})
	read, release := lib.holdOnce("user")
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := c.Access(ctx, "diku", "u1")
		left <- err
	}()
	<-read
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	release()
	access(t, c, "diku", "u1")
	if n := lib.count("user"); n != 1 {
		t.Errorf("the user was read %d times", n)
	}
}

func TestSourceThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lib := newLibrary("diku")
		lib.user("diku", "u1")
		c, _ := newCache(t, &Cache{Source: lib})
		lib.change(func() {
			lib.hold = func(ctx context.Context, _ string) { <-ctx.Done() }
		})
		start := time.Now()
		_, err := c.Access(t.Context(), "diku", "u1")
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != loadTimeout {
			t.Errorf("%v after %v", err, d)
		}
		lib.change(func() { lib.hold = nil })
		synctest.Wait() // the loads have ended too
		access(t, c, "diku", "u1")
	})
}

// TestLateAnswerIsNotKept holds an answer that was true when it was read,
// changes the truth, tells the cache, and lets the answer come in.
func TestLateAnswerIsNotKept(t *testing.T) {
	takeGrant := func(lib *library, c *Cache) error {
		lib.user("diku", "u1")
		c.ForgetUser("diku", "u1")
		return nil
	}
	takeMeaning := func(lib *library, c *Cache) error {
		lib.change(func() { lib.sets["diku"] = nil })
		c.ForgetPermissions("diku")
		return nil
	}
	takeTenant := func(lib *library, c *Cache) error {
		lib.change(func() { lib.tenants = nil })
		return c.ReloadTenants(t.Context())
	}
	for _, test := range []struct {
		name, held string
		change     func(*library, *Cache) error
		want       error
	}{
		{"user read, user changed", "user", takeGrant, nil},
		{"grants read, grant taken", "grants", takeGrant, nil},
		{"sets read, sets changed", "sets", takeMeaning, nil},
		{"user read, tenant gone", "user", takeTenant, ErrNotFound},
		{"sets read, tenant gone", "sets", takeTenant, ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			lib := newLibrary("diku")
			lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"purge"}}}
			lib.user("diku", "u1", "staff")
			c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
			read, release := lib.holdOnce(test.held)
			early := make(chan error)
			go func() {
				_, err := c.Access(t.Context(), "diku", "u1")
				early <- err
			}()
			<-read
			if err := test.change(lib, c); err != nil {
				t.Fatal(err)
			}
			// Who asks now is not made to wait for the old answer.
			now, err := c.Access(t.Context(), "diku", "u1")
			if !errors.Is(err, test.want) || err == nil && now.Ordinary.Has("purge") {
				t.Errorf("after the change: %+v, %v", now, err)
			}
			release()
			if err := <-early; err != nil {
				t.Errorf("who asked before: %v", err)
			}
			if a, ok := c.Cached("diku", "u1"); ok && (test.want != nil || a.Ordinary.Has("purge")) {
				t.Errorf("the late answer was kept: %v", a.Ordinary.Names())
			}
			s, err := c.Expand(t.Context(), "diku", []string{"staff"})
			if stands := len(lib.sets["diku"]) > 0 && test.want == nil; !errors.Is(err, test.want) || s.Has("purge") != stands {
				t.Errorf("for modules: %v, %v", s.Names(), err)
			}
		})
	}
}

// TestSetsAreForgottenBeforeUsers stops in between: a user who was read again
// with the old sets would be kept with them.
func TestSetsAreForgottenBeforeUsers(t *testing.T) {
	lib := newLibrary("diku")
	lib.user("diku", "u1")
	c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
	access(t, c, "diku", "u1")
	c.users.mu.Lock()
	var forgetting sync.WaitGroup
	forgetting.Go(func() { c.ForgetPermissions("diku") })
	deadline := time.Now().Add(10 * time.Second)
	for known := true; known; _, known = c.definitions.get("diku") {
		if time.Now().After(deadline) {
			t.Error("the users would be forgotten first")
			break
		}
		runtime.Gosched()
	}
	c.users.mu.Unlock()
	forgetting.Wait()
	if _, ok := c.Cached("diku", "u1"); ok {
		t.Error("the user was not forgotten")
	}
}

// TestNobodySeesWhatWasForgotten runs writers who number their changes against
// readers: after a number was acknowledged, no smaller one is seen.
func TestNobodySeesWhatWasForgotten(t *testing.T) {
	const changes = 300
	lib := newLibrary("diku", "other")
	lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{"sets.0"}}}
	lib.user("diku", "u1", "staff", "grant.0")
	lib.user("other", "u1")
	c, _ := newCache(t, &Cache{Source: lib, TTL: -1})
	var granted, defined atomic.Int64
	var writers, readers sync.WaitGroup
	writers.Go(func() {
		for i := range changes {
			lib.user("diku", "u1", "staff", fmt.Sprint("grant.", i))
			c.ForgetUser("diku", "u1")
			granted.Store(int64(i))
		}
	})
	writers.Go(func() {
		for i := range changes {
			lib.change(func() { lib.sets["diku"] = []PermissionSet{{Name: "staff", Sub: []string{fmt.Sprint("sets.", i)}}} })
			c.ForgetPermissions("diku")
			defined.Store(int64(i))
		}
	})
	writers.Go(func() {
		for range changes {
			if err := c.ReloadTenants(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				minGrant, minSet := granted.Load(), defined.Load()
				a, err := c.Access(t.Context(), "diku", "u1")
				if err != nil {
					t.Error(err)
					return
				}
				if g, s := numberOf(a.Ordinary, "grant."), numberOf(a.Ordinary, "sets."); g < minGrant || s < minSet {
					t.Errorf("saw grant %d and set %d after %d and %d were acknowledged", g, s, minGrant, minSet)
					return
				}
				x, err := c.Expand(t.Context(), "diku", []string{"staff"})
				if err != nil || numberOf(x, "sets.") < minSet {
					t.Errorf("saw set %v, %v, after %d was acknowledged", x.Names(), err, minSet)
					return
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	a := access(t, c, "diku", "u1")
	if want := []string{fmt.Sprint("grant.", changes-1), fmt.Sprint("sets.", changes-1), "staff"}; !slices.Equal(a.Ordinary.Names(), want) {
		t.Errorf("in the end %v, want %v", a.Ordinary.Names(), want)
	}
}

// numberOf is the number in the set's only name with the prefix.
func numberOf(s Set, prefix string) int64 {
	for _, name := range s.Names() {
		var n int64
		if _, err := fmt.Sscanf(name, prefix+"%d", &n); err == nil {
			return n
		}
	}
	return -1
}
