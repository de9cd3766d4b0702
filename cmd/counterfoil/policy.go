package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

type policyCommand struct {
	List  policyListCommand  `cmd:"" help:"List what was set beside the configuration."`
	Show  policyShowCommand  `cmd:"" help:"Show what holds, and what the linter says."`
	Set   policySetCommand   `cmd:"" help:"Set fields, such as access_ttl=5m grace=5s; the rest of the same override goes back to what lies below."`
	Unset policyUnsetCommand `cmd:"" help:"Remove an override."`
}

// scope names a policy.
type scope struct {
	place
	Tenant string `required:"" help:"Tenant."`
	Client string `help:"Client, such as folio-web (cookies) or folio-api (tokens in bodies)."`
	UserID string `name:"user-id" help:"User's id."`
}

func (s scope) override() (map[string]any, error) {
	switch {
	case s.Client != "" && s.UserID != "":
		return nil, usageError("name --client or --user-id, not both")
	case s.Client != "":
		return map[string]any{"tenant": s.Tenant, "scope": "client", "name": s.Client}, nil
	case s.UserID != "":
		return map[string]any{"tenant": s.Tenant, "scope": "user", "name": s.UserID}, nil
	}
	return map[string]any{"tenant": s.Tenant, "scope": "tenant"}, nil
}

type policyListCommand struct{ place }

func (c *policyListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/policies", nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Policies []struct {
				Tenant, Scope, Name string
				Policy              map[string]any
			}
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, o := range got.Policies {
			rows = append(rows, []string{o.Tenant, strings.TrimSpace(o.Scope + " " + o.Name), fields(o.Policy)})
		}
		return p.table("TENANT\tFOR\tPOLICY", rows)
	})
}

// fieldNames is the order in which a policy is printed.
var fieldNames = []string{
	"access_ttl", "jitter", "idle", "absolute", "grace", "late_budget", "strict", "end_user",
	"binding", "sessions_per_user", "elevated_ttl", "module_ttl",
}

func fields(policy map[string]any) string {
	var list []string
	for _, name := range fieldNames {
		if value, set := policy[name]; set {
			list = append(list, fmt.Sprintf("%s=%v", name, value))
		}
	}
	return strings.Join(list, " ")
}

type policyShowCommand struct{ scope }

func (c *policyShowCommand) Run(p *program) error {
	query := url.Values{"tenant": {c.Tenant}, "client": {c.Client}, "userId": {c.UserID}}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/policies/effective?"+query.Encode(), nil, &text); err != nil {
			return err
		}
		return p.policy(c.place, text)
	})
}

// policy prints a policy and what the linter says about it.
func (p *program) policy(where place, text json.RawMessage) error {
	if where.JSON {
		return p.json(text)
	}
	var got struct {
		Policy   map[string]any
		Findings []struct {
			Field, Reason string
			Refuse        bool
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	for _, name := range fieldNames {
		fmt.Fprintf(p.out, "%-18s %v\n", name, got.Policy[name])
	}
	for _, f := range got.Findings {
		fmt.Fprintf(p.out, "%s: %s\n", f.Field, f.Reason)
	}
	return nil
}

type policySetCommand struct {
	scope
	Fields []string `arg:"" help:"NAME=VALUE"`
}

func (c *policySetCommand) Run(p *program) error {
	patch := make(map[string]any)
	for _, one := range c.Fields {
		name, value, ok := strings.Cut(one, "=")
		if !ok {
			return usageError(fmt.Sprintf("%q is not NAME=VALUE", one))
		}
		// Numbers and true or false are JSON as they are, all else is text.
		if json.Unmarshal([]byte(value), new(any)) == nil {
			patch[name] = json.RawMessage(value)
		} else {
			patch[name] = value
		}
	}
	return p.setPolicy(c.scope, patch)
}

type policyUnsetCommand struct{ scope }

func (c *policyUnsetCommand) Run(p *program) error {
	return p.setPolicy(c.scope, map[string]any{})
}

func (p *program) setPolicy(s scope, patch map[string]any) error {
	in, err := s.override()
	if err != nil {
		return err
	}
	in["policy"] = patch
	return p.with(s.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPut, "/counterfoil/policies", in, &text); err != nil {
			return err
		}
		return p.policy(s.place, text)
	})
}
