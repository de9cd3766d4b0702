package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
)

type drillCommand struct {
	place
	Grace           time.Duration `help:"W of the drill's own tenant, 1s to 10s; what follows from it follows. A theft takes about four times that." default:"1s" placeholder:"DURATION"`
	Node            []string      `help:"Public URL of another node that must refuse what was revoked, such as http://10.0.0.2:9130; may be repeated." placeholder:"URL"`
	RemoveActiveKey bool          `help:"Play the lost key with the real access key: every client refreshes once. Without it, with a new key that has signed nothing."`
}

// drill is one run: a tenant of its own and what was found.
type drill struct {
	command  *drillCommand
	admin    *api
	stage    *stage
	tenant   string
	password string
	controls []control
}

// control is what was to answer, and whether it did.
type control struct {
	Name string `json:"name"`
	Held bool   `json:"held"`
	// Answer says which control answered and how fast, or what was wrong.
	Answer       string `json:"answer"`
	Milliseconds int64  `json:"milliseconds"`
}

// errNotHeld is that a control did not do what it is there for.
type errNotHeld string

func (e errNotHeld) Error() string { return string(e) }

func notHeld(format string, args ...any) error { return errNotHeld(fmt.Sprintf(format, args...)) }

const drillUser = "drill"

func (c *drillCommand) Run(p *program) error {
	if c.Grace < time.Second || c.Grace > 10*time.Second {
		return usageError("--grace must be between 1s and 10s")
	}
	config, err := p.config(c.place)
	if err != nil {
		return err
	}
	if config.Mode == server.ModeOkapiModule {
		return errors.New("behind an Okapi, logins and revocations pass through that: the drill is for mode gateway")
	}
	return p.with(c.place, func(a *api) error {
		running, found, err := server.FindRunning(config.Data)
		if err != nil {
			return err
		}
		if a.base == noListener || !found {
			return errors.New("nothing runs there: a drill is played against the running program")
		}
		nodes, err := newStage(append([]string{running.Public}, c.Node...), config.PublicURL)
		if err != nil {
			return err
		}
		d := &drill{
			command: c, admin: a, stage: nodes,
			tenant: "drill" + strings.ToLower(rand.Text()[:12]), password: rand.Text(),
		}
		return d.play(p)
	})
}

// play sets the scene, plays everything, and takes the scene down whatever
// happened, also when it was interrupted.
func (d *drill) play(p *program) (err error) {
	started := time.Now()
	defer func() {
		// The database deletes no more than this tenant, but may be slow.
		ctx, done := context.WithTimeout(context.WithoutCancel(p.ctx), 30*time.Second)
		defer done()
		if late := d.takeDown(ctx); late != nil {
			err = errors.Join(err, fmt.Errorf("tenant %s was left behind, delete it: %w", d.tenant, late))
		}
		if err == nil {
			err = d.tell(p, time.Since(started))
		}
	}()
	if err := d.set(p.ctx); err != nil {
		return fmt.Errorf("the drill's own tenant: %w", err)
	}
	for _, one := range []struct {
		name string
		play func(context.Context) (answer string, took time.Duration, err error)
	}{
		{"lost answer", d.loseAnswer}, {"theft", d.steal}, {"revocation", d.revoke}, {"lost key", d.loseKey},
	} {
		answer, took, err := one.play(p.ctx)
		var not errNotHeld
		switch {
		case errors.As(err, &not):
			answer = err.Error()
		case err != nil:
			return fmt.Errorf("%s: %w", one.name, err)
		}
		found := control{one.name, err == nil, answer, took.Milliseconds()}
		d.controls = append(d.controls, found)
		if !d.command.JSON {
			mark := "✓"
			if !found.Held {
				mark = "✗ NOT HELD"
			}
			fmt.Fprintf(p.out, "%s %-12s %s\n", mark, found.Name, found.Answer)
		}
	}
	return nil
}

// tell ends the report. Its error is the command's exit status.
func (d *drill) tell(p *program, took time.Duration) error {
	failed := 0
	for _, one := range d.controls {
		if !one.Held {
			failed++
		}
	}
	if d.command.JSON {
		if err := p.printJSON(map[string]any{"held": failed == 0, "tenant": d.tenant, "controls": d.controls}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.out, "%d of %d held, %s. Tenant %s is gone; that its sessions ended stays on record, as everybody's does.\n",
			len(d.controls)-failed, len(d.controls), took.Round(100*time.Millisecond), d.tenant)
		fmt.Fprintln(p.out, "Not played: a restored database. That cannot be done to a live one, see docs/operate/backup.md.")
	}
	if failed > 0 {
		return fmt.Errorf("%s did not hold", count(failed, "control"))
	}
	return nil
}

func (d *drill) path(rest string) string { return "/counterfoil/tenants/" + escape(d.tenant) + rest }

// set makes the tenant, its user, and a policy that needs no patience. It sets
// all that a configuration may have changed and the plays rely on.
func (d *drill) set(ctx context.Context) error {
	if err := d.admin.call(ctx, http.MethodPost, "/counterfoil/tenants", map[string]string{"id": d.tenant, "name": "counterfoil drill"}, nil); err != nil {
		return err
	}
	if err := d.admin.call(ctx, http.MethodPost, d.path("/users"), map[string]string{"username": drillUser, "password": d.password}, nil); err != nil {
		return err
	}
	return d.admin.call(ctx, http.MethodPut, "/counterfoil/policies", map[string]any{
		"tenant": d.tenant, "scope": "tenant", "policy": map[string]any{
			"access_ttl": "10m", "jitter": 0.1, "grace": d.command.Grace.String(), "strict": false, "end_user": false,
			"binding": "off", "sessions_per_user": 10,
		},
	}, nil)
}

// takeDown deletes the tenant with all that is in it.
func (d *drill) takeDown(ctx context.Context) error {
	var refused *refusal
	err := d.admin.call(ctx, http.MethodDelete, d.path(""), nil, nil)
	if errors.As(err, &refused) && refused.Code == "not_found" {
		return nil
	}
	return err
}

// loseAnswer uses a refresh token twice, as a client does whose connection broke
// before the answer came.
func (d *drill) loseAnswer(ctx context.Context) (string, time.Duration, error) {
	first, err := d.stage.logIn(ctx, d.tenant, d.password)
	if err != nil {
		return "", 0, err
	}
	lost, err := d.stage.refresh(ctx, first.Refresh)
	if err != nil {
		return "", 0, err
	}
	again, err := d.stage.refresh(ctx, first.Refresh)
	switch {
	case err != nil:
		return "", 0, err
	case lost.status != http.StatusCreated || again.status != http.StatusCreated:
		return "", again.took, notHeld("refresh answered %d, and the same again %d", lost.status, again.status)
	case again.Refresh != lost.Refresh || again.Refresh == first.Refresh:
		return "", again.took, notHeld("the same refresh token brought another successor")
	}
	return fmt.Sprintf("retry window: the same successor again, in %s", shortly(again.took)), again.took, nil
}

// steal presents a token that its owner has replaced, after the retry window.
func (d *drill) steal(ctx context.Context) (string, time.Duration, error) {
	owner, err := d.stage.logIn(ctx, d.tenant, d.password)
	if err != nil {
		return "", 0, err
	}
	stolen := owner.Refresh
	// The second shows that the owner has the newest: else a latecomer is believed once.
	for range 2 {
		next, err := d.stage.refresh(ctx, owner.Refresh)
		if err != nil {
			return "", 0, err
		}
		if next.status != http.StatusCreated {
			return "", 0, notHeld("the owner's own refresh answered %d", next.status)
		}
		owner = next
	}
	if err := pause(ctx, d.command.Grace+200*time.Millisecond); err != nil {
		return "", 0, err
	}
	thief, err := d.stage.refresh(ctx, stolen)
	if err != nil {
		return "", 0, err
	}
	if thief.status != http.StatusUnprocessableEntity {
		return "", thief.took, notHeld("an old refresh token was answered with %d", thief.status)
	}
	struck := time.Now()
	heal := 3 * d.command.Grace // 2 F − W, with F = 2 W
	for {
		status, err := d.stage.use(ctx, 0, d.tenant, owner.Access)
		if err != nil {
			return "", 0, err
		}
		if status == http.StatusUnauthorized {
			break
		}
		if time.Since(struck) > heal+5*time.Second {
			return "", time.Since(struck), notHeld("the old token was refused, but the session goes on %s later", shortly(time.Since(struck)))
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return "", 0, err
		}
	}
	took := time.Since(struck)
	why, err := d.endedWhy(ctx)
	if err != nil {
		return "", 0, err
	}
	if !slices.Contains(why, "refresh_reuse") {
		return "", took, notHeld("the session ended by %q and not by refresh_reuse", why)
	}
	return fmt.Sprintf("superseded: old token refused in %s; refresh_reuse: nobody came back, session and access token ended %s later", shortly(thief.took), shortly(took)), took, nil
}

// endedWhy lists why sessions of the tenant ended.
func (d *drill) endedWhy(ctx context.Context) ([]string, error) {
	var got struct{ Sessions []sessionView }
	if err := d.admin.call(ctx, http.MethodGet, "/counterfoil/sessions?tenant="+escape(d.tenant), nil, &got); err != nil {
		return nil, err
	}
	var why []string
	for _, s := range got.Sessions {
		if s.EndedWhy != "" {
			why = append(why, s.EndedWhy)
		}
	}
	return why, nil
}

func shortly(d time.Duration) string {
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
