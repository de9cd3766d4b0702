package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

type policyCommand struct {
	List  policyListCommand  `cmd:"" help:"List what was set beside the configuration."`
	Show  policyShowCommand  `cmd:"" help:"Show what holds, and what the linter says."`
	Set   policySetCommand   `cmd:"" help:"Set fields, such as access_ttl=5m grace=5s."`
	Unset policyUnsetCommand `cmd:"" help:"Take fields of an override back, or all of it."`
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
	"binding", "sessions_per_user", "elevated_ttl", "module_ttl", "signing", "step_up",
	"proof_nonce", "bound_grace", "bound_late_budget", "bound_keep",
}

func fields(policy map[string]any) string {
	var list []string
	for _, name := range fieldNames {
		if value, set := policy[name]; set {
			list = append(list, name+"="+fieldText(value))
		}
	}
	return strings.Join(list, " ")
}

// fieldText is a value as policy set takes it.
func fieldText(value any) string {
	if _, nested := value.(map[string]any); nested {
		text, _ := json.Marshal(value) // it came from JSON
		return string(text)
	}
	return fmt.Sprint(value)
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
		fmt.Fprintf(p.out, "%-18s %s\n", name, fieldText(got.Policy[name]))
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
		name, text, ok := strings.Cut(one, "=")
		if !ok {
			return usageError(fmt.Sprintf("%q is not NAME=VALUE", one))
		}
		value, err := fieldValue(name, text)
		if err != nil {
			return err
		}
		patch[name] = value
	}
	return p.changePolicy(c.scope, func(present map[string]any) { maps.Copy(present, patch) })
}

// fieldValue is a value as the API takes it.
func fieldValue(name, text string) (any, error) {
	switch name {
	case "access_ttl", "idle", "absolute", "grace", "elevated_ttl", "module_ttl", "bound_grace":
		if _, err := session.ParseDuration(text); err != nil {
			return nil, usageError(name + ": " + err.Error())
		}
		return text, nil
	case "binding", "signing":
		return text, nil
	case "strict", "end_user", "proof_nonce", "bound_keep":
		value, err := strconv.ParseBool(text)
		if err != nil {
			return nil, usageError(name + " is true or false")
		}
		return value, nil
	case "step_up":
		var value session.StepUps
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return nil, usageError(`step_up is JSON such as {"orders.item.delete":{"max_age":"5m"}}: ` + err.Error())
		}
		return json.RawMessage(text), nil
	case "jitter", "late_budget", "sessions_per_user", "bound_late_budget":
		if _, err := strconv.ParseFloat(text, 64); err != nil || json.Unmarshal([]byte(text), new(json.Number)) != nil {
			return nil, usageError(name + " is a number")
		}
		return json.RawMessage(text), nil
	}
	return nil, usageError(fmt.Sprintf("there is no %q in a policy; it has %s", name, strings.Join(fieldNames, ", ")))
}

type policyUnsetCommand struct {
	scope
	Names []string `arg:"" optional:"" help:"Fields; none is all."`
}

func (c *policyUnsetCommand) Run(p *program) error {
	for _, name := range c.Names {
		if !slices.Contains(fieldNames, name) {
			return usageError(fmt.Sprintf("there is no %q in a policy; it has %s", name, strings.Join(fieldNames, ", ")))
		}
	}
	return p.changePolicy(c.scope, func(present map[string]any) {
		maps.DeleteFunc(present, func(name string, _ any) bool { return len(c.Names) == 0 || slices.Contains(c.Names, name) })
	})
}

// changePolicy changes one override and prints what holds then.
func (p *program) changePolicy(s scope, change func(map[string]any)) error {
	in, err := s.override()
	if err != nil {
		return err
	}
	return p.with(s.place, func(a *api) error {
		var got struct {
			Policies []struct {
				Tenant, Scope, Name string
				Policy              map[string]any
			}
		}
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/policies", nil, &got); err != nil {
			return err
		}
		patch := make(map[string]any)
		for _, o := range got.Policies {
			if o.Tenant == in["tenant"] && o.Scope == in["scope"] && (o.Scope == "tenant" || o.Name == in["name"]) {
				patch = o.Policy
			}
		}
		change(patch)
		in["policy"] = patch
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPut, "/counterfoil/policies", in, &text); err != nil {
			return err
		}
		return p.policy(s.place, text)
	})
}
