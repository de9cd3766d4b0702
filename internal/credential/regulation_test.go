package credential

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const (
	owner = "0a1b2c3d-0000-4000-8000-000000000001"
	desk  = "198.51.100.7" // the owner's
)

func attempt(user, address string) Attempt {
	return Attempt{Tenant: "diku", User: user, Address: netip.MustParseAddr(address)}
}

// fail makes n attempts at once that all fail, and returns how many of them
// were let through.
func fail(r *Regulator, now time.Time, n int, a Attempt) (through int) {
	for range n {
		if r.Allow(now, a).Allowed {
			r.Failed(now, a)
			through++
		}
	}
	return through
}

func succeed(t testing.TB, r *Regulator, now time.Time, a Attempt) {
	t.Helper()
	if d := r.Allow(now, a); !d.Allowed {
		t.Fatalf("good login refused: %+v", d)
	}
	r.Succeeded(now, a)
}

func TestDelayDoublesAfterFiveFailures(t *testing.T) {
	var r Regulator
	a := attempt(owner, desk)
	now := noon
	if got := fail(&r, now, 5, a); got != 5 {
		t.Fatalf("%d of the free attempts let through, want 5", got)
	}
	var waits []time.Duration
	for range 9 {
		d := r.Allow(now, a)
		if d.Allowed || d.Limit != LimitUser {
			t.Fatalf("attempt %d: %+v", len(waits), d)
		}
		if early := r.Allow(now.Add(d.RetryAfter-1), a); early.Allowed {
			t.Fatalf("attempt %d: let through before its time", len(waits))
		}
		waits = append(waits, d.RetryAfter/time.Second)
		now = now.Add(d.RetryAfter)
		if got := fail(&r, now, 1, a); got != 1 {
			t.Fatalf("attempt %d: still refused after the wait", len(waits))
		}
	}
	if diff := cmp.Diff([]time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60}, waits); diff != "" {
		t.Errorf("seconds (-want +got)\n%s", diff)
	}
}

func TestTryingAgainDoesNotProlongTheWait(t *testing.T) {
	var r Regulator
	a := attempt(owner, desk)
	fail(&r, noon, 5, a)
	for i := range 1000 {
		r.Allow(noon.Add(time.Duration(i)*time.Millisecond), a)
	}
	if d := r.Allow(noon.Add(time.Second), a); !d.Allowed {
		t.Errorf("after the second that was asked for: %+v", d)
	}
}

func TestFailuresAreForgottenAfterTheWindow(t *testing.T) {
	var r Regulator
	a := attempt(owner, desk)
	fail(&r, noon, 5, a)
	if d := r.Allow(noon.Add(10*time.Minute-1), a); !d.Allowed {
		t.Fatalf("one attempt a long time after the failures: %+v", d)
	}
	r.Failed(noon.Add(10*time.Minute-1), a)
	if d := r.Allow(noon.Add(10*time.Minute), a); d.Allowed {
		t.Error("forgotten although failures went on")
	}
	if got := fail(&r, noon.Add(20*time.Minute), 6, a); got != 5 {
		t.Errorf("%d let through after ten quiet minutes, want 5", got)
	}
}

func TestSuccessClearsTheDelayOfThatNetworkOnly(t *testing.T) {
	var r Regulator
	here, there := attempt(owner, desk), attempt(owner, "203.0.113.9")
	fail(&r, noon, 4, here)
	fail(&r, noon, 5, there)
	succeed(t, &r, noon, here)
	if got := fail(&r, noon, 6, here); got != 5 {
		t.Errorf("%d let through where the owner succeeded, want 5", got)
	}
	if got := fail(&r, noon, 1, there); got != 0 {
		t.Error("a success elsewhere cleared the attacker's delay")
	}
}

// Brute force: attempts that start before the first has failed must count.
func TestT31ParallelGuessesGetNoFurtherThanSingleOnes(t *testing.T) {
	for name, test := range map[string]struct {
		known bool
		want  int64
	}{
		"network unknown to the user": {false, 5},
		"network known to the user":   {true, 25},
	} {
		t.Run(name, func(t *testing.T) {
			var r Regulator
			a := attempt(owner, desk)
			if test.known {
				succeed(t, &r, noon, a)
			}
			var through atomic.Int64
			var asked, done sync.WaitGroup
			asked.Add(1000)
			for range 1000 {
				done.Go(func() {
					allowed := r.Allow(noon, a).Allowed
					asked.Done()
					asked.Wait() // nobody has failed before all have asked
					if allowed {
						through.Add(1)
						r.Failed(noon, a)
					}
				})
			}
			done.Wait()
			if got := through.Load(); got != test.want {
				t.Errorf("%d of 1000 let through, want %d", got, test.want)
			}
			if got := fail(&r, noon.Add(time.Second), 1, a); test.known && got != 0 {
				t.Error("failures on a known network cost no delay")
			}
		})
	}
}

// Credential stuffing: one password for many users, from one address or many.
func TestT31StuffingTripsTheLimitsOfAddressAndTenant(t *testing.T) {
	count := func(address func(i int) string) (through int, last Decision) {
		var r Regulator
		for i := range 1000 {
			a := attempt(fmt.Sprintf("user-%d", i), address(i))
			if d := r.Allow(noon, a); d.Allowed {
				r.Failed(noon, a)
				through++
			} else {
				last = d
			}
		}
		return through, last
	}
	through, last := count(func(int) string { return desk })
	if want := (Decision{RetryAfter: 3 * time.Second, Limit: LimitAddress}); through != 20 || last != want {
		t.Errorf("one address: %d through, then %+v; want 20, then %+v", through, last, want)
	}
	through, last = count(func(i int) string { return fmt.Sprintf("2001:db8::%x", i) })
	if through != 20 || last.Limit != LimitAddress {
		t.Errorf("one IPv6 /64: %d through, then %+v; want 20 by address", through, last)
	}
	through, last = count(func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) })
	if want := (Decision{RetryAfter: 200 * time.Millisecond, Limit: LimitTenant}); through != 300 || last != want {
		t.Errorf("many addresses: %d through, then %+v; want 300, then %+v", through, last, want)
	}
}

func TestT31AddressIsLimitedByTheHourToo(t *testing.T) {
	var r Regulator
	through := 0
	for i := range 3600 {
		through += fail(&r, noon.Add(time.Duration(i)*time.Second), 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	// 200 at first, and one every 18 s meanwhile.
	if through < 380 || through > 400 {
		t.Errorf("%d failures of an address within the first hour, want nearly 400", through)
	}
	for i := range 3600 {
		through += fail(&r, noon.Add(time.Hour+time.Duration(i)*time.Second), 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	if through > 600 {
		t.Errorf("%d failures of an address within two hours, want at most 600", through)
	}
}

func TestT31OneUserFromManyNetworksIsLimited(t *testing.T) {
	var r Regulator
	through := 0
	for i := range 250 {
		through += fail(&r, noon, 1, attempt(owner, fmt.Sprintf("10.0.%d.1", i)))
	}
	if through != 100 {
		t.Errorf("%d networks guessed at one user, want 100", through)
	}
	d := r.Allow(noon, attempt(owner, "203.0.113.9"))
	if want := (Decision{RetryAfter: 36 * time.Second, Limit: LimitUser}); d != want {
		t.Errorf("got %+v, want %+v", d, want)
	}
}

// FOLIO lets anybody lock anybody out with five wrong passwords. Here the
// owner gets in from where he did lately, whatever happens elsewhere.
func TestT32AttackersElsewhereDoNotLockTheOwnerOut(t *testing.T) {
	var r Regulator
	succeed(t, &r, noon, attempt(owner, desk))
	now := noon.Add(time.Hour)
	for i := range 5000 { // the user, the tenant
		fail(&r, now, 3, attempt(owner, fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
		fail(&r, now, 1, attempt(fmt.Sprintf("user-%d", i), fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	for i := range 300 { // the address, by strangers behind the same router
		fail(&r, now, 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	if d := r.Allow(now, attempt("user-1", desk)); d.Allowed {
		t.Fatal("the attack trips no limit, so this test shows nothing")
	}
	if d := r.Allow(now, attempt(owner, "198.51.100.99")); !d.Allowed {
		t.Errorf("owner, another address of a known network: %+v", d)
	}
	succeed(t, &r, now, attempt(owner, desk))
}

// Whatever anybody does on whatever network, no wait is longer than a minute,
// and who waits as told gets through.
func TestT32NobodyWaitsLongerThanAMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &Regulator{Deactivation: Deactivation{After: 3}}
		now := noon
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			a := attempt(
				rapid.SampledFrom([]string{owner, "other", "third"}).Draw(t, "user"),
				rapid.SampledFrom([]string{desk, "198.51.100.8", "203.0.113.9", "2001:db8::1"}).Draw(t, "address"))
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 30, 700}).Draw(t, "pause")) * time.Second)
			burst := rapid.SampledFrom([]int{1, 1, 7, 40}).Draw(t, "burst")
			outcome := rapid.IntRange(0, 4).Draw(t, "outcome")
			for range burst {
				d := r.Allow(now, a)
				if !d.Allowed {
					if d.RetryAfter <= 0 || d.RetryAfter > time.Minute || d.Limit == "" {
						t.Fatalf("refused with %+v", d)
					}
					now = now.Add(d.RetryAfter)
					if d = r.Allow(now, a); !d.Allowed {
						t.Fatalf("refused after the wait: %+v", d)
					}
				}
				switch outcome {
				case 0, 1:
					r.Failed(now, a)
				case 2:
					r.Succeeded(now, a)
				case 3:
					r.Abandoned(now, a)
				} // 4: the caller forgot to tell
			}
		}
	})
}

func TestGoodLoginsAreNotCounted(t *testing.T) {
	var r Regulator
	for i := range 2000 {
		succeed(t, &r, noon, attempt(fmt.Sprintf("user-%d", i%700), desk))
	}
	if n := r.tables.minutes.Len() + r.tables.tenants.Len() + r.tables.users.Len() + r.tables.pairs.Len(); n != 0 {
		t.Errorf("%d entries left by logins that succeeded", n)
	}
}

func TestAbandonedAttemptsLeaveNothing(t *testing.T) {
	var r Regulator
	a := attempt(owner, desk)
	fail(&r, noon, 3, a)
	for range 500 {
		if d := r.Allow(noon, a); !d.Allowed {
			t.Fatalf("refused after attempts that were abandoned: %+v", d)
		}
		r.Abandoned(noon, a)
	}
	if got := fail(&r, noon, 5, a); got != 2 {
		t.Errorf("%d let through, want the 2 that were left before", got)
	}
	var empty Regulator
	empty.Allow(noon, a)
	empty.Abandoned(noon, a)
	if n := empty.tables.pairs.Len() + empty.tables.minutes.Len() + empty.tables.users.Len(); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

func TestUnparsableInputCountsForTheAddressAlone(t *testing.T) {
	var r Regulator
	through := 0
	for range 50 {
		if r.Unparsable(noon, netip.MustParseAddr(desk)).Allowed {
			through++
		}
	}
	if through != 20 {
		t.Errorf("%d let through, want 20", through)
	}
	if d := r.Allow(noon, attempt(owner, desk)); d.Allowed || d.Limit != LimitAddress {
		t.Errorf("login from that address: %+v, want refused by address", d)
	}
	if d := r.Allow(noon, attempt(owner, "203.0.113.9")); !d.Allowed {
		t.Errorf("login from another address: %+v", d)
	}
	if r.tables.tenants.Len() != 1 || r.tables.pairs.Len() != 1 {
		t.Error("unparsable input was counted for a tenant or user")
	}
}

func TestExemptNetworksAreNotLimitedByAddress(t *testing.T) {
	r := Regulator{Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	through := 0
	for i := range 100 {
		through += fail(&r, noon, 1, attempt(fmt.Sprintf("user-%d", i), "::ffff:"+desk))
	}
	if through != 100 {
		t.Errorf("%d let through, want all 100", through)
	}
	if got := fail(&r, noon, 10, attempt(owner, desk)); got != 5 {
		t.Errorf("%d guesses at one user, want 5", got)
	}
}

func TestClockSetBackKeepsNobodyWaiting(t *testing.T) {
	var r Regulator
	a := attempt(owner, desk)
	later := noon.Add(5 * time.Hour)
	fail(&r, later, 5, a)
	for i := range 15 {
		fail(&r, later, 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	now := noon
	for range 3 {
		d := r.Allow(now, a)
		if d.Allowed {
			return
		}
		if d.RetryAfter > time.Minute {
			t.Fatalf("%+v", d)
		}
		now = now.Add(d.RetryAfter)
	}
	t.Error("still refused after waiting three times as told")
}

func BenchmarkAllowAndFail(b *testing.B) {
	var r Regulator
	a := attempt(owner, desk)
	now := noon
	for b.Loop() {
		now = now.Add(time.Minute)
		r.Allow(now, a)
		r.Failed(now, a)
	}
}
