package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apikey"
	"github.com/counterfoil/counterfoil/internal/session"
)

type apiKeyCommand struct {
	List   apiKeyListCommand   `cmd:"" help:"List keys, their states and their last use."`
	Create apiKeyCreateCommand `cmd:"" help:"Make a key. Its secret is shown once."`
	Import apiKeyImportCommand `cmd:"" help:"Register a key that a FOLIO edge module takes already."`
	Scope  apiKeyScopeCommand  `cmd:"" help:"Replace routes, permissions and expiry of a key."`
	Rotate apiKeyRotateCommand `cmd:"" help:"Make a new secret; the old one holds for a while."`
	Revoke apiKeyRevokeCommand `cmd:"" help:"End a key for good, at once."`
	Resume apiKeyResumeCommand `cmd:"" help:"Let a key in again whose session was ended."`
	Delete apiKeyDeleteCommand `cmd:"" help:"Forget a key that was revoked."`
}

// apiKeyView is what the API tells of a key.
type apiKeyView struct {
	ID, Name, Kind, State, Tenant, Username, Secret string
	Routes                                          []apikey.Route
	Permissions, Lacking                            []string
	ExpiresAt, LastUsedAt, OldSecretUntil           *time.Time
}

// keyScope is what a key is good for.
type keyScope struct {
	Route      []string `help:"Route, such as \"POST /gobi/orders\" or \"* /orders/*\"; may be given several times." sep:"none" required:""`
	Permission []string `help:"Permission of the user that the key may use; * is all." required:""`
	Expires    string   `help:"When the key ends: a date such as 2027-01-31, or a time from now such as 90d."`
}

func (s *keyScope) body() (map[string]any, error) {
	routes := make([]apikey.Route, 0, len(s.Route))
	for _, text := range s.Route {
		r, err := apikey.ParseRoute(text)
		if err != nil {
			return nil, usageError(err.Error())
		}
		routes = append(routes, r)
	}
	body := map[string]any{"routes": routes, "permissions": s.Permission}
	if s.Expires == "" {
		return body, nil
	}
	until, err := time.Parse(time.DateOnly, s.Expires)
	if err != nil {
		d, err := session.ParseDuration(s.Expires)
		if err != nil || d <= 0 {
			return nil, usageError("--expires is a date such as 2027-01-31 or a time from now such as 90d")
		}
		until = time.Now().Add(d)
	}
	body["expiresAt"] = until.UTC()
	return body, nil
}

type apiKeyListCommand struct {
	place
	Tenant string `help:"Only of this tenant."`
}

func (c *apiKeyListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		path := "/counterfoil/api-keys?" + url.Values{"tenant": {c.Tenant}}.Encode()
		if err := a.call(p.ctx, http.MethodGet, path, nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct{ APIKeys []apiKeyView }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, k := range got.APIKeys {
			rows = append(rows, []string{k.ID, k.Name, k.Kind, k.State, k.Tenant, k.Username, day(k.ExpiresAt, "never"), day(k.LastUsedAt, "")})
		}
		return p.table("KEY\tNAME\tKIND\tSTATE\tTENANT\tUSER\tEXPIRES\tLAST USED", rows)
	})
}

func day(t *time.Time, none string) string {
	if t == nil {
		return none
	}
	return t.Local().Format(time.DateTime)
}

type apiKeyCreateCommand struct {
	place
	keyScope
	Tenant string `required:"" help:"Tenant."`
	User   string `required:"" help:"Institutional user that the key stands for, by name or id."`
	Name   string `arg:"" help:"What you call the key: the partner."`
}

func (c *apiKeyCreateCommand) Run(p *program) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	body["tenant"], body["user"], body["name"] = c.Tenant, c.User, c.Name
	return p.newSecret(c.place, "/counterfoil/api-keys", body)
}

// newSecret shows a secret for the only time. It goes to standard output alone,
// so that it can be piped to where it belongs.
func (p *program) newSecret(where place, path string, body any) error {
	return p.with(where, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, path, body, &text); err != nil || where.JSON {
			return orJSON(p, text, err)
		}
		var k apiKeyView
		if err := json.Unmarshal(text, &k); err != nil {
			return err
		}
		p.warnLacking(&k)
		fmt.Fprintf(p.errors, "key %s for %s; hand this over and keep no copy, it is not shown again:\n", k.ID, k.Name)
		if k.OldSecretUntil != nil {
			fmt.Fprintf(p.errors, "the old one holds until %s\n", day(k.OldSecretUntil, ""))
		}
		_, err := fmt.Fprintln(p.out, k.Secret)
		return err
	})
}

func (p *program) warnLacking(k *apiKeyView) {
	if len(k.Lacking) > 0 {
		fmt.Fprintf(p.errors, "%s does not have %s, so the key has not either\n", k.Username, strings.Join(k.Lacking, ", "))
	}
}

type apiKeyImportCommand struct {
	place
	Route      []string `help:"Route, such as \"POST /gobi/orders\"; may be given several times." sep:"none" default:"* /*"`
	Permission []string `help:"Permission of the user that the key may use; * is all." default:"*"`
	Expires    string   `help:"When the key ends: a date such as 2027-01-31, or a time from now such as 90d."`
	Name       string   `arg:"" help:"What you call the key: the partner."`
}

func (c *apiKeyImportCommand) Run(p *program) error {
	scope := keyScope{Route: c.Route, Permission: c.Permission, Expires: c.Expires}
	body, err := scope.body()
	if err != nil {
		return err
	}
	if p.interactive() {
		fmt.Fprint(p.errors, "Key of the partner: ")
	}
	// No argument: those are for everybody to see.
	line, err := bufio.NewReader(io.LimitReader(p.in, 4096)).ReadString('\n')
	if err != nil && line == "" {
		return usageError("no key on standard input")
	}
	body["key"], body["name"] = strings.TrimSpace(line), c.Name
	return p.keyDone(c.place, http.MethodPost, "/counterfoil/api-keys/import", body, "is registered")
}

func (p *program) keyDone(where place, method, path string, body any, what string) error {
	return p.with(where, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, method, path, body, &text); err != nil {
			return err
		}
		var k apiKeyView
		if err := json.Unmarshal(text, &k); err != nil {
			return err
		}
		p.warnLacking(&k)
		return p.done(where, text, "key %s for %s of %s %s", k.ID, k.Username, k.Tenant, what)
	})
}

type apiKeyScopeCommand struct {
	place
	keyScope
	ID string `arg:"" help:"Key."`
}

func (c *apiKeyScopeCommand) Run(p *program) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return p.keyDone(c.place, http.MethodPut, "/counterfoil/api-keys/"+escape(c.ID), body, "has a new scope")
}

type apiKeyRotateCommand struct {
	place
	ID      string `arg:"" help:"Key."`
	Overlap string `help:"How long the old secret holds; 0s if it leaked." default:"7d"`
}

func (c *apiKeyRotateCommand) Run(p *program) error {
	return p.newSecret(c.place, "/counterfoil/api-keys/"+escape(c.ID)+"/rotate?"+url.Values{"overlap": {c.Overlap}}.Encode(), nil)
}

type apiKeyRevokeCommand struct {
	place
	ID  string `arg:"" help:"Key."`
	Yes bool   `help:"Do not ask."`
}

func (c *apiKeyRevokeCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "The partner of key %s will be refused at once.", c.ID); err != nil {
		return err
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, "/counterfoil/api-keys/"+escape(c.ID)+"/revoke", nil, &text); err != nil {
			return err
		}
		var got struct{ Nodes struct{ Reached, Live int } }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		return p.done(c.place, text, "key %s revoked, refused by %d of %d nodes", c.ID, got.Nodes.Reached, got.Nodes.Live)
	})
}

type apiKeyResumeCommand struct {
	place
	ID string `arg:"" help:"Key."`
}

func (c *apiKeyResumeCommand) Run(p *program) error {
	return p.keyDone(c.place, http.MethodPost, "/counterfoil/api-keys/"+escape(c.ID)+"/resume", nil, "is let in again")
}

type apiKeyDeleteCommand struct {
	place
	ID string `arg:"" help:"Key."`
}

func (c *apiKeyDeleteCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodDelete, "/counterfoil/api-keys/"+escape(c.ID), nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "key %s is forgotten", c.ID)
	})
}
