package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

type clientCommand struct {
	List   clientListCommand   `cmd:"" help:"List clients, those of the configuration too."`
	Show   clientShowCommand   `cmd:"" help:"Show one client."`
	Create clientCreateCommand `cmd:"" help:"Register a client; its secret, if it is to have one, is shown once."`
	Update clientUpdateCommand `cmd:"" help:"Change what a registered client may do."`
	Rotate clientRotateCommand `cmd:"" help:"Give a registered client another secret."`
	Delete clientDeleteCommand `cmd:"" help:"Remove a registered client and end its sessions."`
	Secret clientSecretCommand `cmd:"" help:"Draw a secret for a client of the configuration, and the hash that goes there."`
}

// clientView is a client as the API tells it.
type clientView struct {
	ID, Tenant, Name, Source string
	Grants, Scopes           []string
	Authentication           string `json:"token_endpoint_auth_method"`
	Secret                   string `json:"client_secret"`
}

type clientListCommand struct {
	place
	Tenant string `help:"Only of this tenant."`
}

func (clientListCommand) Help() string {
	return `Example:

    counterfoil client list --tenant diku`
}

func (c *clientListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodGet, "/counterfoil/clients?"+url.Values{"tenant": {c.Tenant}}.Encode(), nil, &text)
		if err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct{ Clients []clientView }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, one := range got.Clients {
			rows = append(rows, []string{one.ID, one.Tenant, one.Name, one.Authentication, strings.Join(one.Grants, " "), strings.Join(one.Scopes, " "), one.Source})
		}
		return p.table("CLIENT\tTENANT\tNAME\tPROVES ITSELF BY\tGRANTS\tSCOPES\tKEPT IN", rows)
	})
}

type clientShowCommand struct {
	place
	ID string `arg:"" help:"Client."`
}

func (clientShowCommand) Help() string {
	return `Example:

    counterfoil client show reports`
}

func (c *clientShowCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodGet, "/counterfoil/clients/"+url.PathEscape(c.ID), nil, &text)
		return orJSON(p, text, err)
	})
}

// clientFlags are what of a client is set by flags; the rest is in a file.
type clientFlags struct {
	Name       string   `help:"What people see at the login."`
	Grant      []string `help:"Grant, such as authorization_code; may be repeated." placeholder:"GRANT" sep:"none"`
	Redirect   []string `name:"redirect-uri" help:"Where codes may be sent; may be repeated." placeholder:"URI" sep:"none"`
	Scope      []string `help:"Permission, permission set or openid; * is all that the user has; may be repeated." placeholder:"SCOPE" sep:"none"`
	UserID     string   `name:"user-id" help:"User for whom client_credentials gives tokens." placeholder:"UUID"`
	Introspect *bool    `help:"May ask about tokens of all clients of the tenant." negatable:""`
	LogoutURI  string   `name:"backchannel-logout-uri" help:"Is told of logouts; from the next start of the program on." placeholder:"URI"`
	From       string   `help:"File with JSON, as client show prints it, for all there is; flags come on top. - is standard input." type:"path" placeholder:"FILE"`
}

// readAll reads a file, or standard input for "-".
func (p *program) readAll(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(io.LimitReader(p.in, 1<<20))
	}
	return os.ReadFile(file)
}

// apply puts the file, and then the flags, on top of what there is.
func (f *clientFlags) apply(p *program, fields map[string]any) error {
	if f.From != "" {
		text, err := p.readAll(f.From)
		if err == nil {
			err = json.Unmarshal(text, &fields)
		}
		if err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	for _, told := range []string{"source", "token_endpoint_auth_method", "client_secret", "old_secret_until"} {
		delete(fields, told)
	}
	for name, value := range map[string]string{"name": f.Name, "user": f.UserID, "backchannel_logout_uri": f.LogoutURI} {
		if value != "" {
			fields[name] = value
		}
	}
	for name, values := range map[string][]string{"grants": f.Grant, "redirect_uris": f.Redirect, "scopes": f.Scope} {
		if len(values) > 0 {
			fields[name] = values
		}
	}
	if f.Introspect != nil {
		fields["introspect"] = *f.Introspect
	}
	return nil
}

type clientCreateCommand struct {
	place
	Tenant string `help:"Tenant."`
	Secret bool   `help:"Draw a secret. Without one, and without keys or certificates in the file, the client is a public one."`
	clientFlags
	ID string `arg:"" help:"client_id: 2 to 63 of a-z, 0-9, dot, hyphen, underscore."`
}

func (clientCreateCommand) Help() string {
	return `Example:

    counterfoil client create reports --tenant diku --secret --grant authorization_code \
        --grant refresh_token --redirect-uri https://reports.example.org/callback --scope orders.collection.get
    counterfoil client create portal --from portal.json`
}

func (c *clientCreateCommand) Run(p *program) error {
	fields := map[string]any{}
	if err := c.apply(p, fields); err != nil {
		return err
	}
	fields["id"], fields["secret"] = c.ID, c.Secret
	if c.Tenant != "" {
		fields["tenant"] = c.Tenant
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, "/counterfoil/clients", fields, &text); err != nil {
			return err
		}
		return p.clientMade(c.place, text, "registered")
	})
}

// clientMade says what became of a client, and its secret on standard output alone.
func (p *program) clientMade(where place, text json.RawMessage, what string) error {
	if where.JSON {
		return p.json(text)
	}
	var got clientView
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	if got.Secret == "" {
		_, err := fmt.Fprintf(p.out, "client %s of %s %s\n", got.ID, got.Tenant, what)
		return err
	}
	fmt.Fprintf(p.errors, "client %s of %s %s; hand its secret over and keep no copy, it is not shown again:\n", got.ID, got.Tenant, what)
	_, err := fmt.Fprintln(p.out, got.Secret)
	return err
}

type clientUpdateCommand struct {
	place
	clientFlags
	ID string `arg:"" help:"Client."`
}

func (clientUpdateCommand) Help() string {
	return `What is not named stays. A list that is named is replaced whole.

    counterfoil client update reports --scope orders.collection.get --scope orders.item.get`
}

func (c *clientUpdateCommand) Run(p *program) error {
	path := "/counterfoil/clients/" + url.PathEscape(c.ID)
	return p.with(c.place, func(a *api) error {
		fields := map[string]any{}
		if err := a.call(p.ctx, http.MethodGet, path, nil, &fields); err != nil {
			return err
		}
		if err := c.apply(p, fields); err != nil {
			return err
		}
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPut, path, fields, &text); err != nil {
			return err
		}
		return p.clientMade(c.place, text, "changed")
	})
}

type clientRotateCommand struct {
	place
	Keep string `help:"How long the secret before is taken, 30d at most." default:"1d"`
	ID   string `arg:"" help:"Client."`
}

func (clientRotateCommand) Help() string {
	return `Both secrets are taken until --keep is over.

    counterfoil client rotate reports --keep 1d`
}

func (c *clientRotateCommand) Run(p *program) error {
	if _, err := session.ParseDuration(c.Keep); err != nil {
		return usageError("--keep: " + err.Error())
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		err := a.call(p.ctx, http.MethodPost, "/counterfoil/clients/"+url.PathEscape(c.ID)+"/secret", map[string]string{"keep": c.Keep}, &text)
		if err != nil {
			return err
		}
		return p.clientMade(c.place, text, "has another secret")
	})
}

type clientDeleteCommand struct {
	place
	Yes bool   `help:"Do not ask."`
	ID  string `arg:"" help:"Client."`
}

func (clientDeleteCommand) Help() string {
	return `Example:

    counterfoil client delete reports`
}

func (c *clientDeleteCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "Remove client %s and end its sessions?", c.ID); err != nil {
		return err
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodDelete, "/counterfoil/clients/"+url.PathEscape(c.ID), nil, &text); err != nil {
			return err
		}
		var got struct{ Ended int }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		return p.done(c.place, text, "client %s removed, sessions ended: %d", c.ID, got.Ended)
	})
}

type clientSecretCommand struct {
	JSON bool `help:"Print JSON."`
}

func (c *clientSecretCommand) Run(p *program) error {
	secret, hash := session.NewClientSecret()
	if c.JSON {
		text, err := json.Marshal(map[string]string{"secret": secret, "secretHash": hash})
		if err != nil {
			return err
		}
		return p.json(text)
	}
	fmt.Fprintf(p.errors, "secret_hash: %s\nhand the secret over and keep no copy, it is not shown again:\n", hash)
	_, err := fmt.Fprintln(p.out, secret)
	return err
}
