package credential

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestNetworkIsForgottenAfterAMonthOrWhenOthersAreNewer(t *testing.T) {
	knows := func(r *Regulator, now time.Time, address string) bool {
		return r.known(now, keysOf(attempt(owner, address)))
	}
	var r Regulator
	succeed(t, &r, noon, attempt(owner, desk))
	if !knows(&r, noon.Add(30*24*time.Hour-1), desk) || knows(&r, noon.Add(30*24*time.Hour), desk) {
		t.Error("want a network known for 30 days, and no longer")
	}
	if r.known(noon, keysOf(attempt("another", desk))) || r.known(noon, keysOf(Attempt{Tenant: "other", User: owner, Address: netip.MustParseAddr(desk)})) {
		t.Error("the network knows another user, or another tenant's")
	}
	for i := range maxKnown - 1 {
		succeed(t, &r, noon.Add(time.Hour), attempt(owner, fmt.Sprintf("10.0.%d.1", i)))
	}
	if !knows(&r, noon.Add(time.Hour), desk) {
		t.Errorf("forgotten after %d networks", maxKnown)
	}
	succeed(t, &r, noon.Add(time.Hour), attempt(owner, "203.0.113.9"))
	if knows(&r, noon.Add(time.Hour), desk) || !knows(&r, noon.Add(time.Hour), "203.0.113.9") {
		t.Errorf("one user fills more than %d networks", maxKnown)
	}
}

func TestNetworksByAddressFamily(t *testing.T) {
	var r Regulator
	for _, a := range []string{desk, "2001:db8:1:2::1"} {
		succeed(t, &r, noon, attempt(owner, a))
	}
	for address, want := range map[string]bool{
		"198.51.100.200":          true,
		"::ffff:198.51.100.200":   true,
		"198.51.101.7":            false,
		"2001:db8:1:2:ffff::9":    true,
		"2001:db8:1:2::1%eth0":    true,
		"2001:db8:1:3::1":         false,
		"::ffff:203.0.113.9":      false,
		"64:ff9b::198.51.100.200": false,
	} {
		if got := r.known(noon, keysOf(attempt(owner, address))); got != want {
			t.Errorf("%s: known %v, want %v", address, got, want)
		}
	}
}

func TestAttemptWithoutAddressIsLimitedAndNeverKnown(t *testing.T) {
	var r Regulator
	a := Attempt{Tenant: "diku", User: owner}
	succeed(t, &r, noon, a)
	if r.known(noon, keysOf(a)) {
		t.Error("no address became a known network")
	}
	through := 0
	for i := range 100 {
		through += fail(&r, noon, 1, Attempt{Tenant: "diku", User: fmt.Sprint(i)})
	}
	if through != 20 {
		t.Errorf("%d let through without an address, want 20", through)
	}
}

// People behind one network share its fate as little as can be: the address
// is that of one router, the network that of a neighbourhood.
func TestAddressesOfOneNetworkAreLimitedApart(t *testing.T) {
	var r Regulator
	for i := range 30 {
		fail(&r, noon, 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	if d := r.Allow(noon, attempt("user-30", desk)); d.Allowed || d.Limit != LimitAddress {
		t.Fatalf("address not used up: %+v", d)
	}
	if d := r.Allow(noon, attempt("user-30", "198.51.100.8")); !d.Allowed {
		t.Errorf("its neighbour: %+v", d)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	r := Regulator{Entries: 10, Tenant: Limit{Burst: 1 << 20, Period: time.Minute}}
	for i := range 1000 {
		a := Attempt{Tenant: fmt.Sprint(i), User: fmt.Sprint(i), Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})}
		fail(&r, noon, 2, a)
		succeed(t, &r, noon, a)
		fail(&r, noon, 1, a)
		r.Remind(noon, a.Tenant, a.User)
	}
	got := []int{
		r.tables.pairs.Len(), r.tables.known.Len(), r.tables.reminders.Len(),
		r.tables.minutes.Len(), r.tables.hours.Len(), r.tables.users.Len(), r.tables.tenants.Len(),
	}
	for i, n := range got {
		if n > 10 {
			t.Errorf("table %d has %d entries, want at most 10", i, n)
		}
	}
}

// Otherwise an attacker could push his own count out for free.
func TestRefusedAttemptsPushNothingOut(t *testing.T) {
	r := Regulator{Entries: 30}
	target := attempt(owner, desk)
	fail(&r, noon, 5, target)
	for i := range 15 { // uses the address up
		fail(&r, noon, 1, attempt(fmt.Sprintf("user-%d", i), desk))
	}
	for i := range 1000 {
		if got := fail(&r, noon, 1, attempt(fmt.Sprintf("flood-%d", i), desk)); got != 0 {
			t.Fatal("the address is not used up")
		}
	}
	if r.pair(noon, keysOf(target)).failures != 5 {
		t.Error("the failures of the user were pushed out by attempts that were refused")
	}
}
