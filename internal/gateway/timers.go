package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

const (
	// timerTime is how long a module may take to answer a timer. The next turn
	// waits for it.
	timerTime = 10 * time.Minute
	// maxSpread bounds what is added at random to a delay, so that the timers of
	// all tenants do not fire at once.
	maxSpread = 30 * time.Second
)

// TimerDescriptor is a timer of a module, as the management API shows it.
type TimerDescriptor struct {
	// ID is the product and a number: it survives an upgrade of the module.
	ID           string        `json:"id"`
	Modified     bool          `json:"modified"`
	RoutingEntry *RoutingEntry `json:"routingEntry"`
}

// timer is one route of a tenant's module that is called again and again.
type timer struct {
	TimerDescriptor
	tenant string
	module *ModuleDescriptor
	every  time.Duration
}

// timerKey tells when a running timer is no longer the one that is wanted.
type timerKey struct{ tenant, module, id string }

// timersOf are the timers of a tenant, by module id.
func timersOf(tenant string, uses []*ModuleDescriptor) []timer {
	var all []timer
	for _, m := range uses {
		i := m.provided("_timer")
		if i == nil {
			continue
		}
		for n := range i.Handlers {
			e := &i.Handlers[n]
			all = append(all, timer{TimerDescriptor{m.Product() + "_" + strconv.Itoa(n), false, e}, tenant, m, e.period()})
		}
	}
	return all
}

// period is how long a timer waits between two turns, 0 for one that is off or
// has a schedule in place of a delay.
func (e *RoutingEntry) period() time.Duration {
	unit := map[string]time.Duration{
		"millisecond": time.Millisecond, "second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
	}[e.Unit]
	delay, err := strconv.ParseInt(strings.Trim(string(e.Delay), `"`), 10, 32)
	if err != nil || delay < 0 {
		return 0
	}
	return time.Duration(delay) * unit
}

// RunTimers calls the routes of the interface _timer of all tenants' modules,
// each with a token in nobody's name that carries what the route lends, until
// ctx ends. Of several nodes on one database, the one that has been up for
// longest does it. That is looked up before each call and is no lock: while a
// node goes away or freezes, a timer may be skipped or come twice.
func (g *Gateway) RunTimers(ctx context.Context) {
	g.start()
	running := make(map[timerKey]context.CancelFunc)
	for {
		wanted := make(map[timerKey]bool)
		for tenant, t := range g.registry.Load().tenants {
			for _, one := range timersOf(tenant, t.enabled) {
				key := timerKey{tenant, one.module.ID, one.ID}
				wanted[key] = true
				if running[key] != nil {
					continue
				}
				if one.every == 0 {
					if one.RoutingEntry.Schedule != nil {
						g.Log.WarnContext(ctx, "timer with a schedule does not fire, only those with a delay do", "tenant", tenant, "timer", one.ID)
					}
					running[key] = func() {}
					continue
				}
				own, cancel := context.WithCancel(ctx)
				running[key] = cancel
				go g.repeat(own, &one)
			}
		}
		for key, cancel := range running {
			if !wanted[key] {
				cancel()
				delete(running, key)
			}
		}
		select {
		case <-g.modulesChanged:
		case <-ctx.Done():
			for _, cancel := range running {
				cancel()
			}
			return
		}
	}
}

func (g *Gateway) repeat(ctx context.Context, t *timer) {
	for {
		if pauseFor(ctx, t.every+rand.N(min(t.every/10, maxSpread)+1)) != nil {
			return
		}
		if err := g.fire(ctx, t); err != nil && ctx.Err() == nil {
			g.Log.WarnContext(ctx, "timer failed", "tenant", t.tenant, "timer", t.ID, "error", err)
		}
	}
}

func (g *Gateway) fire(ctx context.Context, t *timer) error {
	ctx, cancel := context.WithTimeout(audit.WithActor(ctx, &audit.Actor{Kind: "operator", Name: "timer"}), timerTime)
	defer cancel()
	if leads, err := g.leads(ctx); err != nil || !leads {
		return err
	}
	method := http.MethodPost
	if len(t.RoutingEntry.Methods) > 0 && methodOf(t.RoutingEntry.Methods[0]) != 0 {
		method = t.RoutingEntry.Methods[0]
	}
	call := systemCall{gateway: g, tenant: t.tenant, module: t.module}
	_, err := call.do(ctx, t.RoutingEntry, method, t.RoutingEntry.path(), nil)
	return err
}

// leads is whether this node is the one that has been up for longest.
func (g *Gateway) leads(ctx context.Context) (bool, error) {
	nodes, err := g.Sessions.Cluster.Nodes(ctx)
	if err != nil {
		return false, fmt.Errorf("list nodes: %w", err)
	}
	if len(nodes) == 0 || !nodes[0].Self {
		return false, nil // not on the list itself, so others do not count on it
	}
	for _, other := range nodes[1:] {
		if other.Started.Before(nodes[0].Started) || other.Started.Equal(nodes[0].Started) && other.ID < nodes[0].ID {
			return false, nil
		}
	}
	return true, nil
}

func (g *Gateway) listTimers(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	list := []TimerDescriptor{}
	for _, one := range timersOf(t.ID, g.registry.Load().uses(t.ID)) {
		list = append(list, one.TimerDescriptor)
	}
	return reply{body: list}, nil
}

func (g *Gateway) getTimer(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	for _, one := range timersOf(t.ID, g.registry.Load().uses(t.ID)) {
		if one.ID == r.PathValue("timer") {
			return reply{body: one.TimerDescriptor}, nil
		}
	}
	return reply{}, notFound(cut(r.PathValue("timer")))
}
