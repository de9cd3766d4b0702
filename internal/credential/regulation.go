package credential

import (
	"net/netip"
	"sync"
	"time"
)

// Regulator delays attempts to prove a password, by what failed before. Every
// attempt counts as failed from the moment it is let through until it has
// succeeded, so that a thousand at once get no further than a thousand in turn.
//
//	limit    counted per                          lets through
//	user     user and network                     Free failures, then one after 1, 2, 4 … s, up to MaxDelay
//	user     user, from networks not known        User
//	address  IPv4 address or IPv6 /64             AddressMinute and AddressHour
//	tenant   tenant                               Tenant
//
// A network (IPv4 /24, IPv6 /64) knows a user who proved the password from
// there within KnownFor. That is what keeps an attacker elsewhere from locking
// the owner out: the second row does not apply there, the limits of address
// and tenant are counted apart from those of strangers and hold bursts five
// times as large, and as long as nothing failed, five times Free attempts may
// be under way at once. On one network with the attacker the owner competes
// for turns, of which the first row gives one in MaxDelay and the others one
// in each interval (Period / Burst); RetryAfter is never longer than that.
//
// Counts are kept in the memory of one process: several nodes allow as many
// times more, and a restart forgets. The zero value is ready to use and safe
// for concurrent use. The first call fills in the defaults; after it the
// fields are not changed.
type Regulator struct {
	// Free is how many failures of a user from one network cost no delay;
	// 0 is 5.
	Free int
	// Window is the time without an attempt after which failures from one
	// network are forgotten; 0 is 10 minutes.
	Window time.Duration
	// MaxDelay ends the doubling; 0 is 60 s.
	MaxDelay time.Duration
	// User is for one user from all networks that do not know the user; zero
	// is 100 an hour.
	User Limit
	// AddressMinute and AddressHour are for one address; zero is 20 a minute
	// and 200 an hour.
	AddressMinute, AddressHour Limit
	// Tenant is for one tenant; zero is 300 a minute.
	Tenant Limit
	// KnownFor is how long a network remembers a user; 0 is 30 days.
	KnownFor time.Duration
	// Exempt are networks in which many share one address, such as a library
	// behind a translating router: their addresses are not limited.
	Exempt []netip.Prefix
	// Entries bounds each of the tables that count; 0 is 20,000. The one that
	// was not used for the longest time leaves.
	Entries int
	// Deactivation is FOLIO's rule, which the caller applies; the zero value is
	// off.
	Deactivation Deactivation

	mu     sync.Mutex
	tables *tables // nil before the first call
}

// Attempt is somebody who wants to prove a password.
type Attempt struct {
	Tenant string
	// User is the id, or the normalised name when nobody has it.
	User string
	// Address is where the attempt comes from. Without one it counts with all
	// others that have none.
	Address netip.Addr
}

// Decision says whether an attempt may go on.
type Decision struct {
	Allowed bool
	// RetryAfter is the wait until the same attempt may be let through.
	RetryAfter time.Duration
	// Limit is the one that refuses: LimitUser, LimitAddress or LimitTenant.
	Limit string
}

// The values of Decision.Limit.
const (
	LimitUser    = "user"
	LimitAddress = "address"
	LimitTenant  = "tenant"
)

// Allow decides on an attempt, before any work is done for it. One that is let
// through must be followed by Failed, Succeeded or Abandoned; without, it
// stays counted as failed, which time forgives. One that is refused does not
// count, so that trying again and again does not prolong the wait.
func (r *Regulator) Allow(now time.Time, a Attempt) Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	k := keysOf(a)
	known := r.known(now, k)
	p := r.pair(now, k)
	delay := Decision{Allowed: true}
	if wait := p.wait(now, r.free(p, known), r.MaxDelay); wait > 0 {
		delay = Decision{RetryAfter: wait, Limit: LimitUser}
	}
	d := r.spend(now, r.budgets(k, known), delay)
	if d.Allowed {
		p.pending++
		p.last = now
		r.tables.pairs.Add(k.pair, p)
	}
	return d
}

// Failed counts an attempt whose password was wrong, or whose user does not
// exist or may not log in.
func (r *Regulator) Failed(now time.Time, a Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	k := keysOf(a)
	p := r.pair(now, k)
	p.pending = max(0, p.pending-1)
	p.failures++
	p.last = now
	r.tables.pairs.Add(k.pair, p)
}

// Succeeded clears the user's delay for the network, which knows the user from
// now on.
func (r *Regulator) Succeeded(now time.Time, a Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	k := keysOf(a)
	r.refund(now, r.budgets(k, r.known(now, k)))
	r.tables.pairs.Remove(k.pair)
	if a.Address.IsValid() {
		r.remember(now, k)
	}
}

// Abandoned takes an attempt back that was let through and then told nobody
// whether the password was right: the queue was full, the store away or the
// caller gone before.
func (r *Regulator) Abandoned(now time.Time, a Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	k := keysOf(a)
	r.refund(now, r.budgets(k, r.known(now, k)))
	p := r.pair(now, k)
	p.pending = max(0, p.pending-1)
	if p.pending+p.failures == 0 {
		r.tables.pairs.Remove(k.pair)
		return
	}
	r.tables.pairs.Add(k.pair, p)
}

// Remind is whether a user may be sent another message about a forgotten
// password: 3 an hour, so that nobody's mailbox is filled by strangers.
func (r *Regulator) Remind(now time.Time, tenant, user string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	reminders := budget{Limit{Burst: 3, Period: time.Hour}, LimitUser, r.tables.reminders, digest("reminder", tenant, user)}
	return r.spend(now, []budget{reminders}, Decision{Allowed: true}).Allowed
}

// Unparsable counts input that names nobody, for the address alone, and
// requests for which nobody has to prove anything. Input that is not allowed
// may be answered with 429 in place of 400.
func (r *Regulator) Unparsable(now time.Time, addr netip.Addr) Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready()
	return r.spend(now, r.addressBudgets(keysOf(Attempt{Address: addr}), false), Decision{Allowed: true})
}
