package credential

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// familiar is how much more room there is for a user whom the network
	// knows.
	familiar = 5
	// maxKnown is how many networks are remembered for one user, so that one
	// account with many addresses does not push out what is known of others.
	maxKnown = 8
)

// key is a digest, so that each entry has the same size, and nothing is kept
// of what people type into the field of the user name: at times a password.
type key [16]byte

func digest(parts ...string) key {
	h := sha256.New()
	var size [8]byte
	for _, part := range parts {
		// The length keeps "ab","c" and "a","bc" apart.
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return key(h.Sum(nil)[:len(key{})])
}

// keys are what one attempt is counted under. Of two, the first is for
// strangers, the second for users whom the network knows.
type keys struct {
	address         netip.Addr
	user, pair, net key
	source, tenant  [2]key
}

func keysOf(a Attempt) keys {
	addr := a.Address.Unmap().WithZone("")
	// Whoever has IPv6 has at least a /64, and changes within it at will.
	source, net := prefix(addr, 32, 64), prefix(addr, 24, 64)
	return keys{
		address: addr,
		user:    digest("user", a.Tenant, a.User),
		pair:    digest("pair", a.Tenant, a.User, net),
		net:     digest("network", net),
		source:  [2]key{digest("stranger", source), digest("known", source)},
		tenant:  [2]key{digest("stranger", a.Tenant), digest("known", a.Tenant)},
	}
}

// prefix is the network of addr, with so many bits in IPv4 and in IPv6; that
// of no address is a network too.
func prefix(addr netip.Addr, bits4, bits6 int) string {
	bits := bits6
	if addr.Is4() {
		bits = bits4
	}
	p, _ := addr.Prefix(bits) // fails for no address only
	return p.String()
}

// pair is one user from one network.
type pair struct {
	failures int
	// pending were let through and are not answered yet.
	pending int
	// last is when the latest was let through, or failed.
	last time.Time
}

// wait is how long the next attempt is delayed, if free of them are not.
func (p pair) wait(now time.Time, free int, most time.Duration) time.Duration {
	over := p.failures + p.pending - free
	if over < 0 {
		return 0
	}
	delay := most
	if over < 30 {
		delay = min(time.Second<<over, most)
	}
	return max(0, delay-now.Sub(p.last))
}

// knownNetwork is where a user proved the password, and when last.
type knownNetwork struct {
	net  key
	last time.Time
}

// tables are the counts of a Regulator, under its lock.
type tables struct {
	pairs *simplelru.LRU[key, pair]
	// known are the networks that know a user, the latest first. Only a
	// success writes here, so that no flood of failures makes them forget.
	known                          *simplelru.LRU[key, []knownNetwork]
	minutes, hours, users, tenants *times
	reminders                      *times
}

// times are the states of GCRA.
type times = simplelru.LRU[key, time.Time]

// ready fills in the defaults and makes the tables, once.
func (r *Regulator) ready() {
	if r.tables != nil {
		return
	}
	r.Free = cmp.Or(r.Free, 5)
	r.Window = cmp.Or(r.Window, 10*time.Minute)
	r.MaxDelay = cmp.Or(r.MaxDelay, time.Minute)
	r.User = cmp.Or(r.User, Limit{Burst: 100, Period: time.Hour})
	r.AddressMinute = cmp.Or(r.AddressMinute, Limit{Burst: 20, Period: time.Minute})
	r.AddressHour = cmp.Or(r.AddressHour, Limit{Burst: 200, Period: time.Hour})
	r.Tenant = cmp.Or(r.Tenant, Limit{Burst: 300, Period: time.Minute})
	r.KnownFor = cmp.Or(r.KnownFor, 30*24*time.Hour)
	r.Entries = max(1, cmp.Or(r.Entries, 20_000))
	r.tables = &tables{
		pairs: table[pair](r.Entries), known: table[[]knownNetwork](r.Entries),
		minutes: table[time.Time](r.Entries), hours: table[time.Time](r.Entries),
		users: table[time.Time](r.Entries), tenants: table[time.Time](r.Entries),
		reminders: table[time.Time](r.Entries),
	}
}

func table[V any](entries int) *simplelru.LRU[key, V] {
	t, _ := simplelru.NewLRU[key, V](entries, nil) // fails for no entries only
	return t
}

// pair is what is still counted against the user on this network.
func (r *Regulator) pair(now time.Time, k keys) pair {
	p, found := r.tables.pairs.Get(k.pair)
	if !found || now.Sub(p.last) >= r.Window {
		return pair{}
	}
	if p.last.After(now) {
		p.last = now // the clock was set back, nobody shall wait for that
		r.tables.pairs.Add(k.pair, p)
	}
	return p
}

// free is how many attempts are let through without delay. The larger number
// is for programs that log one user in many times at once, and ends with the
// first failure.
func (r *Regulator) free(p pair, known bool) int {
	if known && p.failures == 0 {
		return familiar * r.Free
	}
	return r.Free
}

// budget is one limit that an attempt is charged to.
type budget struct {
	limit  Limit
	name   string
	states *times
	key    key
}

// budgets are those that apply. When a network comes to know a user while
// several attempts are under way, the later ones are given back where they
// were not charged. A success is needed for that, so it helps nobody to guess.
func (r *Regulator) budgets(k keys, known bool) []budget {
	bs := r.addressBudgets(k, known)
	if known {
		return append(bs, budget{wide(r.Tenant), LimitTenant, r.tables.tenants, k.tenant[1]})
	}
	return append(bs,
		budget{r.Tenant, LimitTenant, r.tables.tenants, k.tenant[0]},
		budget{r.User, LimitUser, r.tables.users, k.user})
}

func (r *Regulator) addressBudgets(k keys, known bool) []budget {
	for _, p := range r.Exempt {
		if p.Contains(k.address) {
			return nil
		}
	}
	if known {
		return []budget{
			{wide(r.AddressMinute), LimitAddress, r.tables.minutes, k.source[1]},
			{wide(r.AddressHour), LimitAddress, r.tables.hours, k.source[1]},
		}
	}
	return []budget{
		{r.AddressMinute, LimitAddress, r.tables.minutes, k.source[0]},
		{r.AddressHour, LimitAddress, r.tables.hours, k.source[0]},
	}
}

// wide has more room for bursts and the same rate in the long run.
func wide(l Limit) Limit {
	return Limit{Burst: familiar * l.Burst, Period: familiar * l.Period}
}

// spend charges one attempt to all budgets, or to none if worst or one of them
// refuses it; the longest wait tells which. Refused attempts make no entries:
// they cost nothing, and could push out those that count.
func (r *Regulator) spend(now time.Time, bs []budget, worst Decision) Decision {
	next := make([]time.Time, len(bs))
	for i, b := range bs {
		tat, found := b.states.Get(b.key)
		newTAT, allowed, wait := GCRA(now, tat, 1, b.limit)
		if !allowed {
			if found {
				b.states.Add(b.key, newTAT)
			}
			if wait > worst.RetryAfter {
				worst = Decision{RetryAfter: wait, Limit: b.name}
			}
		}
		next[i] = newTAT
	}
	if worst.Allowed {
		for i, b := range bs {
			b.states.Add(b.key, next[i])
		}
	}
	return worst
}

// refund takes back what spend charged.
func (r *Regulator) refund(now time.Time, bs []budget) {
	for _, b := range bs {
		tat, found := b.states.Peek(b.key)
		if !found {
			continue
		}
		if tat = tat.Add(-b.limit.interval()); tat.After(now) {
			b.states.Add(b.key, tat)
		} else {
			b.states.Remove(b.key)
		}
	}
}

func (r *Regulator) known(now time.Time, k keys) bool {
	networks, _ := r.tables.known.Peek(k.user)
	for _, n := range networks {
		if n.net == k.net {
			return now.Sub(n.last) < r.KnownFor
		}
	}
	return false
}

// remember puts the network first among those of the user.
func (r *Regulator) remember(now time.Time, k keys) {
	old, _ := r.tables.known.Peek(k.user)
	networks := append(make([]knownNetwork, 0, min(len(old)+1, maxKnown)), knownNetwork{k.net, now})
	for _, n := range old {
		if n.net != k.net && len(networks) < maxKnown {
			networks = append(networks, n)
		}
	}
	r.tables.known.Add(k.user, networks)
}
