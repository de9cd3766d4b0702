package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
	LoginAddress, LastAddress, UserAgent          string
	EndedAt                                       *time.Time
	EndedWhy, EndedBy                             string
	Events                                        []struct {
		Time                         time.Time
		Kind, Actor, Address, Reason string
	}
}

type sessionListCommand struct {
	place
	Tenant string `help:"Only of this tenant."`
	User   string `help:"Only of this user, by name or id; needs --tenant."`
	Live   bool   `help:"Leave out ended and expired ones."`
	Cursor string `help:"Continue after a page."`
	Limit  int    `help:"How many." default:"50"`
}

func (c *sessionListCommand) Run(p *program) error {
	if c.User != "" && c.Tenant == "" {
		return usageError("--user needs --tenant: names are unique within a tenant only")
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}, "live": {strconv.FormatBool(c.Live)}}
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
	at := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	var b strings.Builder
	fmt.Fprintf(&b, "session  %s\nuser     %s of %s (%s)\nclient   %s, %s\nstate    %s\n", s.ID, s.Username, s.Tenant, s.UserID, s.Client, s.UserAgent, s.State)
	if s.State == "live" {
		fmt.Fprintf(&b, "expires  %s, unless it is refreshed before\n", at(s.ExpiresAt))
	}
	fmt.Fprintf(&b, "\n%s  logged in from %s\n", at(s.CreatedAt), s.LoginAddress)
	if s.Rotations > 0 {
		fmt.Fprintf(&b, "%s  refreshed for the %s time, from %s\n", at(s.RotatedAt), ordinal(s.Rotations), s.LastAddress)
	}
	if s.Retries > 0 {
		fmt.Fprintf(&b, "%19s  the same token was given again %d times: tabs, or lost answers\n", "", s.Retries)
	}
	for _, e := range s.Events {
		if e.Kind == "login" {
			continue
		}
		fmt.Fprintf(&b, "%s  %s", at(e.Time), strings.ReplaceAll(e.Kind, "_", " "))
		if e.Reason != "" {
			fmt.Fprintf(&b, ": %s", e.Reason)
		}
		if e.Actor != "" {
			fmt.Fprintf(&b, ", by %s", e.Actor)
		}
		if e.Address != "" {
			fmt.Fprintf(&b, ", from %s", e.Address)
		}
		b.WriteByte('\n')
	}
	return b.String()
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
}

func (c *sessionRevokeCommand) Run(p *program) error {
	if (c.ID == "") == (c.User == "") || (c.User == "") != (c.Tenant == "") {
		return usageError("name one session, or --tenant and --user")
	}
	path := "/counterfoil/sessions/" + escape(c.ID)
	if c.User != "" {
		path = "/counterfoil/tenants/" + escape(c.Tenant) + "/users/" + escape(c.User) + "/sessions"
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodDelete, path, nil, &text); err != nil {
			return err
		}
		var got struct{ Ended int }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		return p.done(c.place, text, "%d sessions ended, their access tokens are refused from now on", got.Ended)
	})
}
