package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type sessionCommand struct {
	List   sessionListCommand   `cmd:"" help:"List sessions, newest first."`
	Show   sessionShowCommand   `cmd:"" help:"Show one session and what happened to it."`
	Revoke sessionRevokeCommand `cmd:"" help:"End a session, or all of a user, at once."`
}

type sessionView struct {
	ID, Tenant, UserID, Username, Client, State   string
	CreatedAt, RotatedAt, LastActivity, ExpiresAt time.Time
	Rotations, Retries                            uint64
	LoginAddress, LastAddress, UserAgent, BoundTo string
	EndedAt                                       *time.Time
	EndedWhy, EndedBy, Why                        string
	Events                                        []eventView
}

type eventView struct {
	Time                         time.Time
	Kind, Actor, Address, Reason string
}

type sessionListCommand struct {
	place
	Tenant string `help:"Only of this tenant."`
	User   string `help:"Only of this user, by name or id; needs --tenant."`
	Live   bool   `help:"Leave out ended and expired ones."`
	Sort   string `help:"The newest login first, or the latest day of use." enum:"login,activity" default:"login"`
	Cursor string `help:"Continue after a page."`
	Limit  int    `help:"How many." default:"50"`
}

func (c *sessionListCommand) Run(p *program) error {
	if c.User != "" && c.Tenant == "" {
		return usageError("--user needs --tenant: names are unique within a tenant only")
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}, "live": {strconv.FormatBool(c.Live)}, "sort": {c.Sort}}
	for name, value := range map[string]string{"tenant": c.Tenant, "user": c.User, "cursor": c.Cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/sessions?"+query.Encode(), nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Sessions []sessionView
			Next     string
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, s := range got.Sessions {
			rows = append(rows, []string{s.ID, s.Tenant, s.Username, s.State, s.CreatedAt.Local().Format(time.DateTime), s.LoginAddress, s.EndedWhy})
		}
		if err := p.table("SESSION\tTENANT\tUSER\tSTATE\tLOGGED IN\tFROM\tENDED BY", rows); err != nil || got.Next == "" {
			return err
		}
		_, err := fmt.Fprintf(p.out, "more: --cursor %s\n", got.Next)
		return err
	})
}

type sessionShowCommand struct {
	place
	ID string `arg:"" help:"Session."`
}

func (c *sessionShowCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/sessions/"+escape(c.ID), nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var s sessionView
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		_, err := fmt.Fprint(p.out, s.story())
		return err
	})
}

// story tells what happened to a session, in words.
func (s *sessionView) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "session  %s\nuser     %s of %s (%s)\nclient   %s, %s\nstate    %s\n", s.ID, s.Username, s.Tenant, s.UserID, s.Client, s.UserAgent, s.State)
	switch s.State {
	case "live":
		fmt.Fprintf(&b, "expires  %s, unless it is refreshed before\n", clock(s.ExpiresAt))
	case "expired":
		fmt.Fprintf(&b, "expired  %s, nobody refreshed it in time\n", clock(s.ExpiresAt))
	}
	if s.BoundTo != "" {
		fmt.Fprintf(&b, "bound    to the key %s\n", s.BoundTo)
	}
	if s.Why != "" {
		fmt.Fprintf(&b, "why      %s\n", s.Why)
	}
	b.WriteByte('\n')
	lines := []line{{s.CreatedAt, "logged in from " + s.LoginAddress}}
	if s.Rotations > 0 {
		lines = append(lines, line{s.RotatedAt, fmt.Sprintf("refreshed for the %s time, from %s", ordinal(s.Rotations), s.LastAddress)})
	}
	for i := range s.Events {
		if e := &s.Events[i]; e.Kind != "login" {
			lines = append(lines, line{e.Time, e.words()})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for _, one := range lines {
		fmt.Fprintf(&b, "%s  %s\n", clock(one.at), one.what)
	}
	if s.Retries > 0 {
		fmt.Fprintf(&b, "\nThe same tokens were given again %s: tabs, or lost answers.\n", count(int(s.Retries), "time"))
	}
	return b.String()
}

// line is one of a timeline.
type line struct {
	at   time.Time
	what string
}

func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// words tells an event.
func (e *eventView) words() string {
	text := strings.ReplaceAll(e.Kind, "_", " ")
	for _, part := range []struct{ before, what string }{{": ", e.Reason}, {", by ", e.Actor}, {", from ", e.Address}} {
		if part.what != "" {
			text += part.before + part.what
		}
	}
	return text
}

// count is "1 session" or "2 sessions".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func ordinal(n uint64) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.FormatUint(n, 10) + suffix
}

type sessionRevokeCommand struct {
	place
	ID     string `arg:"" optional:"" help:"Session."`
	Tenant string `help:"Tenant of --user."`
	User   string `help:"End all sessions of this user, by name or id."`
	waiting
}

func (c *sessionRevokeCommand) Run(p *program) error {
	if (c.ID == "") == (c.User == "") || (c.User == "") != (c.Tenant == "") {
		return usageError("name one session, or --tenant and --user")
	}
	path := "/counterfoil/sessions/" + escape(c.ID)
	if c.User != "" {
		path = "/counterfoil/tenants/" + escape(c.Tenant) + "/users/" + escape(c.User) + "/sessions"
	}
	return p.end(c.place, path, c.waiting)
}

// waiting is how long a command waits for the other nodes.
type waiting struct {
	Wait time.Duration `help:"How long to wait until all nodes refuse the access tokens, 30s at most." default:"2s"`
}

// end ends sessions and tells on how many nodes that has effect.
func (p *program) end(where place, path string, w waiting) error {
	return p.with(where, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodDelete, path+"?wait="+w.Wait.String(), nil, &text); err != nil {
			return err
		}
		var got struct {
			Ended int
			Nodes struct{ Reached, Live, Milliseconds int }
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		effect := "access tokens are refused from now on"
		if got.Nodes.Live > 1 {
			effect = fmt.Sprintf("effective on %d/%d nodes in %d ms", got.Nodes.Reached, got.Nodes.Live, got.Nodes.Milliseconds)
		}
		return p.done(where, text, "%s ended; %s", count(got.Ended, "session"), effect)
	})
}
