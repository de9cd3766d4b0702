package main

import (
	"encoding/json"
	"net/http"
)

type tenantCommand struct {
	List        tenantListCommand   `cmd:"" help:"List tenants."`
	Create      tenantCreateCommand `cmd:"" help:"Create a tenant."`
	Delete      tenantDeleteCommand `cmd:"" help:"Delete a tenant with its users, sessions and permissions."`
	EndSessions tenantEndCommand    `cmd:"" help:"End every session of a tenant, and their access tokens, at once."`
	Forget      tenantForgetCommand `cmd:"" help:"Have all nodes read the users and permissions of a tenant anew, where they are FOLIO's."`
}

type tenantListCommand struct{ place }

func (c *tenantListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/tenants", nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Tenants []struct{ ID, Name string } `json:"tenants"`
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, t := range got.Tenants {
			rows = append(rows, []string{t.ID, t.Name})
		}
		return p.table("TENANT\tNAME", rows)
	})
}

// orJSON prints an answer as JSON, or passes the error on.
func orJSON(p *program, text json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	return p.json(text)
}

type tenantCreateCommand struct {
	place
	ID   string `arg:"" help:"Id: a letter, then letters and digits, 31 at most."`
	Name string `help:"Name for people."`
}

func (c *tenantCreateCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, "/counterfoil/tenants", map[string]string{"id": c.ID, "name": c.Name}, &text); err != nil {
			return err
		}
		return p.done(c.place, text, "tenant %s created", c.ID)
	})
}

type tenantDeleteCommand struct {
	place
	ID  string `arg:"" help:"Tenant."`
	Yes bool   `help:"Do not ask."`
}

func (c *tenantDeleteCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "Tenant %s with everything that is its own will be gone.", c.ID); err != nil {
		return err
	}
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodDelete, "/counterfoil/tenants/"+escape(c.ID), nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "tenant %s deleted", c.ID)
	})
}

type tenantEndCommand struct {
	place
	ID  string `arg:"" help:"Tenant."`
	Yes bool   `help:"Do not ask."`
	waiting
}

func (c *tenantEndCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "Everybody of tenant %s will have to log in again.", c.ID); err != nil {
		return err
	}
	return p.end(c.place, "/counterfoil/tenants/"+escape(c.ID)+"/sessions", c.waiting)
}

type tenantForgetCommand struct {
	place
	ID string `arg:"" help:"Tenant."`
}

func (c *tenantForgetCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodDelete, "/counterfoil/tenants/"+escape(c.ID)+"/memory", nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "users and permissions of tenant %s are read anew", c.ID)
	})
}

type bootstrapCommand struct {
	place
	Code     string `required:"" help:"The code that the first start printed."`
	Tenant   string `required:"" help:"Tenant of the administrator; created if it is missing."`
	Username string `required:"" help:"User name of the administrator."`
}

func (c *bootstrapCommand) Run(p *program) error {
	password, err := p.askForPassword("Password for " + c.Username + ": ")
	if err != nil {
		return err
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodPost, "/counterfoil/bootstrap", map[string]string{
			"code": c.Code, "tenant": c.Tenant, "username": c.Username, "password": password,
		}, &text)
		if err != nil {
			return err
		}
		return p.done(c.place, text, "administrator %s of tenant %s created", c.Username, c.Tenant)
	})
}
