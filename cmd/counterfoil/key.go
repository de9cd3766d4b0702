package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

type keyCommand struct {
	List   keyListCommand   `cmd:"" help:"List keys and their states."`
	Rotate keyRotateCommand `cmd:"" help:"Bring a new key; tokens of the old one go on."`
	Retire keyRetireCommand `cmd:"" help:"Stop signing with a key; its tokens go on until they expire."`
	Remove keyRemoveCommand `cmd:"" help:"A key leaked: refuse everything it signed, at once."`
}

type keyListCommand struct{ place }

func (c *keyListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/keys", nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Keys []struct {
				ID, Purpose, State, Algorithm string
				CreatedAt                     time.Time
				DueAt                         *time.Time
			}
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, k := range got.Keys {
			due := ""
			if k.DueAt != nil {
				due = k.DueAt.Local().Format(time.DateTime)
			}
			rows = append(rows, []string{k.Purpose, k.ID, k.State, k.Algorithm, k.CreatedAt.Local().Format(time.DateTime), due})
		}
		return p.table("PURPOSE\tKEY\tSTATE\tALGORITHM\tCREATED\tNEXT STATE", rows)
	})
}

type keyRotateCommand struct {
	place
	Purpose   string `arg:"" help:"access, module, refresh or derive." enum:"access,module,refresh,derive"`
	Algorithm string `help:"Of access keys: EdDSA (if none is named), ES256 or RS256."`
	Now       bool   `help:"Sign with a new access key at once, without publishing it first."`
}

func (c *keyRotateCommand) Run(p *program) error {
	query := url.Values{}
	if c.Now {
		query.Set("now", "true")
	}
	if c.Algorithm != "" {
		query.Set("algorithm", c.Algorithm)
	}
	path := "/counterfoil/keys/" + escape(c.Purpose) + "/rotate?" + query.Encode()
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, path, nil, &text); err != nil {
			return err
		}
		var k struct{ ID, State string }
		if err := json.Unmarshal(text, &k); err != nil {
			return err
		}
		return p.done(c.place, text, "key %s for %s is %s", k.ID, c.Purpose, k.State)
	})
}

type keyRetireCommand struct {
	place
	Purpose string `arg:"" help:"Purpose."`
	ID      string `arg:"" help:"Key."`
}

func (c *keyRetireCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodPost, "/counterfoil/keys/"+escape(c.Purpose)+"/"+escape(c.ID)+"/retire", nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "key %s signs no more", c.ID)
	})
}

type keyRemoveCommand struct {
	place
	Purpose string `arg:"" help:"Purpose."`
	ID      string `arg:"" help:"Key."`
	Yes     bool   `help:"Do not ask."`
}

func (c *keyRemoveCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "Everything that key %s signed will be refused at once.", c.ID); err != nil {
		return err
	}
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodDelete, "/counterfoil/keys/"+escape(c.Purpose)+"/"+escape(c.ID), nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "key %s removed", c.ID)
	})
}
