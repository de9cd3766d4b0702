package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type usageCommand struct {
	place
	Minutes bool `help:"The last hour by minutes, in place of thirty days."`
}

func (usageCommand) Help() string {
	return `Counted on all nodes, and stored once a minute. It names nobody.

    counterfoil usage
    counterfoil usage --minutes
    counterfoil usage --json`
}

// happened is what was counted in a while.
type happened struct {
	Begins                                               time.Time
	Live, Refreshes, Retries, LateRecoveries, Superseded int64
	Reuse, Logins, LoginsFailed, Ended, BehindMs         int64
}

func (c *usageCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/usage", nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct{ Hour, Month []happened }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		list, layout := byDays(got.Month), time.DateOnly
		if c.Minutes {
			list, layout = got.Hour, "15:04"
		}
		rows := make([][]string, 0, len(list))
		for _, u := range list {
			row := []string{u.Begins.UTC().Format(layout)}
			for _, n := range []int64{u.Live, u.Refreshes, u.Retries, u.LateRecoveries, u.Superseded, u.Reuse, u.Logins, u.LoginsFailed, u.Ended} {
				row = append(row, strconv.FormatInt(n, 10))
			}
			rows = append(rows, append(row, (time.Duration(u.BehindMs)*time.Millisecond).String()))
		}
		return p.table("UTC\tLIVE\tREFRESHES\tRETRIES\tLATE\tSUPERSEDED\tREUSE\tLOGINS\tFAILED\tENDED\tBEHIND", rows)
	})
}

// byDays adds up what was counted within a day. Live is the last of it that was
// counted, and Behind the most.
func byDays(list []happened) []happened {
	var days []happened
	for _, u := range list {
		day := u.Begins.UTC().Truncate(24 * time.Hour)
		if len(days) == 0 || !days[len(days)-1].Begins.Equal(day) {
			days = append(days, happened{Begins: day})
		}
		d := &days[len(days)-1]
		if u.Live > 0 {
			d.Live = u.Live
		}
		d.Refreshes += u.Refreshes
		d.Retries += u.Retries
		d.LateRecoveries += u.LateRecoveries
		d.Superseded += u.Superseded
		d.Reuse += u.Reuse
		d.Logins += u.Logins
		d.LoginsFailed += u.LoginsFailed
		d.Ended += u.Ended
		d.BehindMs = max(d.BehindMs, u.BehindMs)
	}
	return days
}

type explainCommand struct {
	place
	Tenant string `required:"" help:"Tenant."`
	User   string `help:"Name or id of who would call; nobody otherwise."`
	Module string `help:"Module id, for interfaces that several modules provide."`
	Method string `arg:"" help:"Such as GET."`
	Path   string `arg:"" help:"Path at the gateway, without its prefix."`
}

func (explainCommand) Help() string {
	return `Each step asks what decides about requests. Exits with 1 if the request would be
refused. The program must run.

    counterfoil explain --tenant diku --user reader DELETE /orders/17`
}

func (c *explainCommand) Run(p *program) error {
	query := url.Values{"tenant": {c.Tenant}, "method": {c.Method}, "path": {c.Path}, "module": {c.Module}, "user": {c.User}}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/explain?"+query.Encode(), nil, &text); err != nil {
			return err
		}
		var got struct {
			Status int
			Steps  []struct {
				Passes bool
				Text   string
			}
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		if c.JSON {
			if err := p.json(text); err != nil {
				return err
			}
		} else {
			for _, step := range got.Steps {
				mark := "refused"
				if step.Passes {
					mark = "passes "
				}
				fmt.Fprintf(p.out, "%s  %s\n", mark, step.Text)
			}
		}
		if got.Status != http.StatusOK {
			return fmt.Errorf("the gateway would answer %d", got.Status)
		}
		return nil
	})
}
