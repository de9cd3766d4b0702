package main

import (
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// The faults beside dead, by name.
const (
	stopped    = "stopped and woken"
	cutOff     = "cut off from the database"
	slow       = "slow way to the database"
	deaf       = "loses answers to COMMIT"
	failedOver = "primary killed, standby promoted"
)

func parseSession(id string) (token.SessionID, error) { return token.ParseSessionID(id) }

// disturb breaks things until the time is over, at two nodes at most at once,
// and once the primary of the database under all of them.
func (c *campaign) disturb(until time.Duration) {
	for _, n := range c.nodes {
		n.front.loses.Store(30)
	}
	began := c.history.now()
	var saboteurs sync.WaitGroup
	for i := range 2 {
		saboteurs.Go(func() { c.sabotage(newDice(c.seed, uint64(i)), until) })
	}
	saboteurs.Go(func() {
		dice := newDice(c.seed, 50)
		time.Sleep(dice.between((until-began)/3, (until-began)*2/3))
		c.failOver(dice)
	})
	saboteurs.Wait()
	for _, n := range c.nodes {
		n.front.loses.Store(0)
	}
}

func (c *campaign) sabotage(d *dice, until time.Duration) {
	for c.history.now() < until {
		i := d.below(len(c.nodes))
		if !c.busy[i].TryLock() {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		c.strike(c.nodes[i], c.deal(), d)
		c.busy[i].Unlock()
		time.Sleep(d.between(100*time.Millisecond, 700*time.Millisecond))
	}
}

// deal is the next fault: a shuffled deck has each kind, and is dealt again.
func (c *campaign) deal() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.deck) == 0 {
		c.deck = []string{dead, dead, dead, stopped, stopped, cutOff, cutOff, slow, deaf}
		dice := newDice(c.seed, 70+uint64(c.counts[dead]))
		dice.rand.Shuffle(len(c.deck), func(i, j int) { c.deck[i], c.deck[j] = c.deck[j], c.deck[i] })
	}
	what := c.deck[0]
	c.deck = c.deck[1:]
	c.counts[what]++
	return what
}

func (c *campaign) strike(n *chaosNode, what string, d *dice) {
	mended := c.history.broken(n.name, what)
	defer mended()
	switch what {
	case dead:
		n.kill()
		if err := n.start(); err != nil {
			c.t.Error(err)
		}
	case stopped:
		n.signal(syscall.SIGSTOP)
		c.revokeElsewhere(n, d)
		time.Sleep(d.between(c.sizes.pause*5/8, c.sizes.pause))
		n.signal(syscall.SIGCONT)
	case cutOff:
		n.link.cut()
		c.revokeElsewhere(n, d)
		time.Sleep(d.between(c.sizes.cut*5/8, c.sizes.cut))
		n.link.mend()
	case slow:
		n.link.delay.Store(int64(d.between(10*time.Millisecond, 100*time.Millisecond)))
		time.Sleep(d.between(c.sizes.cut/4, c.sizes.cut/2))
		n.link.delay.Store(0)
	case deaf:
		n.link.loses.Store(200)
		time.Sleep(d.between(c.sizes.cut/4, c.sizes.cut/2))
		n.link.loses.Store(0)
	}
}

// revokeElsewhere ends a session that a node does not hear of.
func (c *campaign) revokeElsewhere(deaf *chaosNode, d *dice) {
	others := slices.DeleteFunc(slices.Clone(c.nodes), func(n *chaosNode) bool { return n == deaf })
	t := &tab{c: c, wallet: c.wallets[d.below(len(c.wallets))], name: "operator", dice: newDice(c.seed, uint64(d.below(1<<30)))}
	c.ghosts.Go(func() { t.revoke(others...) })
}

// failOver waits until no node is disturbed, so that requests are held up by
// this alone. Whatever the primary has acknowledged until it dies must be there
// afterwards.
func (c *campaign) failOver(d *dice) {
	for i := range c.busy {
		c.busy[i].Lock()
		defer c.busy[i].Unlock()
	}
	mended := c.history.broken("", failedOver)
	defer mended()
	c.pair.Kill()
	for _, n := range c.nodes {
		n.link.cut()
	}
	time.Sleep(d.between(c.sizes.down/4, c.sizes.down))
	if err := c.pair.Promote(); err != nil {
		c.t.Error(err)
	}
	for _, n := range c.nodes {
		n.link.mend()
	}
	c.mu.Lock()
	c.counts[failedOver]++
	c.mu.Unlock()
}

// timeEnds revokes sessions, one after the other, while the clients are at work
// and nothing is broken, and polls every node until all refuse. It returns the
// times from the acknowledgement to the last refusal.
func (c *campaign) timeEnds() (lags []time.Duration) {
	operator := &tab{c: c, name: "operator", dice: newDice(c.seed, 60)}
	for until := c.history.now() + 6*time.Second; len(lags) < len(c.probes) && c.history.now() < until; {
		one := c.probes[len(lags)]
		for _, n := range c.nodes { // so that each has it in its cache
			c.poll(n, one)
		}
		if !c.revoke(operator, asked{act: revokes, session: one.Session.String()}) {
			c.t.Error("a session was not revoked")
			break
		}
		acknowledged := c.history.now()
		refused := make([]time.Duration, len(c.nodes))
		var polling sync.WaitGroup
		for i, n := range c.nodes {
			polling.Go(func() {
				for c.history.now() < acknowledged+10*time.Second && c.poll(n, one) != http.StatusUnauthorized {
					time.Sleep(time.Millisecond)
				}
				refused[i] = c.history.now() - acknowledged
			})
		}
		polling.Wait()
		lags = append(lags, max(refused[0], refused[1], refused[2]))
	}
	return lags
}

// poll asks a node itself, past what loses answers.
func (c *campaign) poll(n *chaosNode, one *session.Tokens) int {
	t := &tab{c: c, name: "poll", dice: newDice(0, 0)}
	what := asked{act: calls, session: one.Session.String(), gen: 1, expires: one.AccessExpires.Sub(c.history.began)}
	return t.once(n, what, http.MethodGet, n.admin.Load().Public+"/orders", nil, nil, "X-Okapi-Token", one.Access).status
}
