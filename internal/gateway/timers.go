package gateway

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/robfig/cron/v3"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
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
	// schedule is set in place of every for a timer that has one.
	schedule cron.Schedule
}

// timerKey tells when a running timer is no longer the one that is wanted.
type timerKey struct {
	tenant, module, id string
	every              time.Duration
	schedule           Schedule
}

// timersOf are the timers of a tenant, by module id.
func (k *registry) timersOf(tenant string) []timer {
	var all []timer
	for _, m := range k.uses(tenant) {
		i := m.provided("_timer")
		if i == nil {
			continue
		}
		for n := range i.Handlers {
			t := TimerDescriptor{ID: m.Product() + "_" + strconv.Itoa(n), RoutingEntry: &i.Handlers[n]}
			if changed, ok := k.timers[[2]string{tenant, t.ID}]; ok {
				e := *t.RoutingEntry
				e.Unit, e.Delay, e.Schedule = changed.Unit, jsontext.Value(strconv.Quote(strconv.FormatInt(changed.Delay, 10))), nil
				t.RoutingEntry, t.Modified = &e, true
			}
			one := timer{TimerDescriptor: t, tenant: tenant, module: m, every: t.RoutingEntry.period()}
			if plan := t.RoutingEntry.Schedule; plan != nil {
				one.every = 0
				one.schedule, _ = plan.parse() // checked when the module came
			}
			all = append(all, one)
		}
	}
	return all
}

// period is how long a timer waits between two turns, 0 for one that is off.
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

// fiveFields is cron as Okapi has it: minute, hour, day, month, weekday.
var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// parse reads a schedule. Its zone is UTC where none is named. A turn that falls
// while no node runs is not made up for.
func (s *Schedule) parse() (cron.Schedule, error) {
	zone, err := time.LoadLocation(s.Zone)                                // "" is UTC
	if err != nil || s.Zone == "Local" || strings.Contains(s.Cron, "=") { // the parser would take a zone there
		return nil, badRequest("Invalid schedule " + cut(s.Cron) + " in zone " + cut(s.Zone))
	}
	plan, err := fiveFields.Parse(s.Cron)
	if err != nil {
		return nil, badRequest("Invalid schedule " + cut(s.Cron))
	}
	if spec, ok := plan.(*cron.SpecSchedule); ok {
		spec.Location = zone
	}
	return plan, nil
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
		known := g.registry.Load()
		for tenant := range known.tenants {
			for _, one := range known.timersOf(tenant) {
				key := timerKey{tenant, one.module.ID, one.ID, one.every, Schedule{}}
				if one.schedule != nil {
					key.schedule = *one.RoutingEntry.Schedule
				}
				wanted[key] = true
				if running[key] != nil {
					continue
				}
				if one.every == 0 && one.schedule == nil {
					running[key] = func() {} // it is off
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
		if g.untilDue(ctx, t) != nil {
			return
		}
		if err := g.fire(ctx, t); err != nil && ctx.Err() == nil {
			g.Log.WarnContext(ctx, "timer failed", "tenant", t.tenant, "timer", t.ID, "error", err)
		}
	}
}

// untilDue waits for a timer's next turn, and is an error if ctx ends before.
func (g *Gateway) untilDue(ctx context.Context, t *timer) error {
	if t.schedule == nil {
		return pauseFor(ctx, t.every+rand.N(min(t.every/10, maxSpread)+1))
	}
	due := t.schedule.Next(g.Now())
	if due.IsZero() { // 30 February
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		// A clock that is set leaves no timer waiting for what it was.
		left := due.Sub(g.Now())
		if left <= 0 {
			return nil
		}
		if err := pauseFor(ctx, min(left, time.Minute)); err != nil {
			return err
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
	for _, one := range g.registry.Load().timersOf(t.ID) {
		list = append(list, one.TimerDescriptor)
	}
	return reply{body: list}, nil
}

func (g *Gateway) getTimer(r *http.Request) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	one, err := g.timer(t.ID, r.PathValue("timer"))
	return reply{body: one}, err
}

func (g *Gateway) timer(tenant, id string) (TimerDescriptor, error) {
	for _, one := range g.registry.Load().timersOf(tenant) {
		if one.ID == id {
			return one.TimerDescriptor, nil
		}
	}
	return TimerDescriptor{}, notFound(cut(id))
}

// patchTimer changes the timer in the path for one tenant; without unit and
// delay in the body it is again what the descriptor says.
func (g *Gateway) patchTimer(r *http.Request) (reply, error) {
	var patch RoutingEntry
	if err := decode(r, maxBody, &patch); err != nil {
		return reply{}, err
	}
	return g.changeTimer(r, r.PathValue("timer"), &patch)
}

// patchTimers is patchTimer for a timer that the body names.
func (g *Gateway) patchTimers(r *http.Request) (reply, error) {
	var body TimerDescriptor
	if err := decode(r, maxBody, &body); err != nil {
		return reply{}, err
	}
	if body.RoutingEntry == nil {
		body.RoutingEntry = new(RoutingEntry)
	}
	return g.changeTimer(r, body.ID, body.RoutingEntry)
}

func (g *Gateway) changeTimer(r *http.Request, id string, patch *RoutingEntry) (reply, error) {
	t, err := g.tenant(r)
	if err != nil {
		return reply{}, err
	}
	one, err := g.timer(t.ID, id)
	if err != nil {
		return reply{}, err
	}
	e := event(r.Context(), audit.ModuleChanged, t.ID, "timer changed", id)
	if patch.Unit == "" && patch.Delay == nil && patch.Schedule == nil {
		return reply{}, g.Store.ResetTimer(r.Context(), t.ID, id, e)
	}
	unit := cmp.Or(patch.Unit, one.RoutingEntry.Unit, "second")
	delay, err := strconv.ParseInt(strings.Trim(string(patch.Delay), `"`), 10, 32)
	switch {
	case patch.Schedule != nil:
		return reply{}, &Refusal{http.StatusNotImplemented, "Schedules of timers are not supported, only unit and delay"}
	case err != nil || delay < 0:
		return reply{}, badRequest("Bad delay of timer " + cut(id))
	case !slices.Contains(timerUnits, unit):
		return reply{}, badRequest("Invalid unit " + cut(unit))
	}
	return reply{}, g.Store.SaveTimer(r.Context(), directory.Timer{Tenant: t.ID, ID: id, Unit: unit, Delay: delay}, e)
}
