package console

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// policyField is one field of a policy on the page: what is in force, what the
// form says, and what it would be.
type policyField struct {
	Name, Label         string
	Now, Given, Becomes string
}

// policyFields are those of session.PolicyPatch, in the order of the guide.
var policyFields = []policyField{
	{Name: "access_ttl", Label: "Access tokens live"},
	{Name: "jitter", Label: "shortened at random by up to"},
	{Name: "idle", Label: "A session ends unused after"},
	{Name: "absolute", Label: "and in any case after"},
	{Name: "grace", Label: "A lost answer may be asked again for"},
	{Name: "late_budget", Label: "and later so often in a day"},
	{Name: "strict", Label: "A token used twice ends the session"},
	{Name: "end_user", Label: "and all of the user"},
	{Name: "binding", Label: "Tokens are tied to"},
	{Name: "sessions_per_user", Label: "Sessions of one user at most"},
	{Name: "elevated_ttl", Label: "Raised scope lasts"},
	{Name: "module_ttl", Label: "Modules' tokens live"},
	{Name: "signing", Label: "Access tokens are signed with"},
	{Name: "proof_nonce", Label: "Proofs of a key need a nonce"},
	{Name: "bound_grace", Label: "With a key, a lost answer may be asked again for"},
	{Name: "bound_late_budget", Label: "and with a key later so often in a day"},
	{Name: "bound_keep", Label: "With a key, a refresh token is kept"},
	{Name: "step_up", Label: "Permissions that need a fresh proof"},
}

// policyPage is the page of policies.
type policyPage struct {
	Tenants             []directory.Tenant
	Tenant, Scope, Name string
	Fields              []policyField
	Findings            []session.Finding
	Overrides           []override
	// Previewed is whether Becomes says what saving would do; Problem is why it
	// cannot be saved.
	Previewed bool
	Problem   string
}

// override is one that is kept, as text.
type override struct {
	Tenant, Scope, Name, Text string
}

func (h *Handler) policies(v *visit) error {
	q := v.r.URL.Query()
	p := policyPage{Tenant: q.Get("tenant"), Scope: q.Get("scope"), Name: strings.TrimSpace(q.Get("name"))}
	if err := h.fillPolicies(v, &p); err != nil {
		return err
	}
	if p.Tenant == "" {
		return h.render(v, "policies", p)
	}
	o := session.PolicyOverride{Tenant: p.Tenant, Scope: p.Scope, Name: p.Name}
	for _, kept := range p.kept(v, h) {
		if kept.Tenant == o.Tenant && kept.Scope == o.Scope && kept.Name == o.Name {
			o.Patch = kept.Patch
		}
	}
	policy := h.policyFor(o)
	p.Findings = policy.Lint()
	if err := p.fill(policy.Patch(), o.Patch, nil); err != nil {
		return err
	}
	return h.render(v, "policies", p)
}

func (p *policyPage) kept(v *visit, h *Handler) []session.PolicyOverride {
	list, err := h.Store.Policies(v.r.Context())
	if err != nil {
		return nil // fillPolicies has asked already and would have said so
	}
	return list
}

func (h *Handler) policyFor(o session.PolicyOverride) session.Policy {
	client, user := "", ""
	switch o.Scope {
	case "client":
		client = o.Name
	case "user":
		user = o.Name
	}
	return h.Sessions.Policies.For(o.Tenant, client, user)
}

func (h *Handler) fillPolicies(v *visit, p *policyPage) (err error) {
	if p.Scope == "" {
		p.Scope = "tenant"
	}
	if p.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
	}
	list, err := h.Store.Policies(v.r.Context())
	if err != nil {
		return err
	}
	for _, o := range list {
		fields, err := texts(o.Patch)
		if err != nil {
			return err
		}
		var parts []string
		for _, f := range policyFields {
			if text := fields[f.Name]; text != "" {
				parts = append(parts, f.Name+" "+text)
			}
		}
		p.Overrides = append(p.Overrides, override{o.Tenant, o.Scope, o.Name, strings.Join(parts, ", ")})
	}
	return nil
}

// fill writes the table: what is in force, what an override says, and what it
// would be, if there is a preview.
func (p *policyPage) fill(now, given session.PolicyPatch, becomes *session.PolicyPatch) error {
	current, err := texts(now)
	if err != nil {
		return err
	}
	said, err := texts(given)
	if err != nil {
		return err
	}
	next := map[string]string{}
	if becomes != nil {
		if next, err = texts(*becomes); err != nil {
			return err
		}
	}
	for _, f := range policyFields {
		f.Now, f.Given, f.Becomes = current[f.Name], said[f.Name], next[f.Name]
		p.Fields = append(p.Fields, f)
	}
	return nil
}

// texts are the fields that a patch sets, as an operator writes them.
func texts(patch session.PolicyPatch) (map[string]string, error) {
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	var values map[string]any
	if err := json.Unmarshal(raw, &values); err != nil {
		return nil, err
	}
	fields := make(map[string]string, len(values))
	for name, value := range values {
		text := fmt.Sprint(value)
		if _, nested := value.(map[string]any); nested {
			raw, err := json.Marshal(value, json.Deterministic(true))
			if err != nil {
				return nil, err
			}
			text = string(raw)
		}
		// 10m0s is 10m.
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(text, zero) {
				text = strings.TrimSuffix(text, zero[1:])
			}
		}
		fields[name] = text
	}
	return fields, nil
}

// savePolicy previews or saves what the form says. Empty fields are as without
// the override; a form without any removes it.
func (h *Handler) savePolicy(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return &fault{http.StatusBadRequest, "The form could not be read."}
	}
	form := v.r.PostForm
	p := policyPage{Tenant: form.Get("tenant"), Scope: form.Get("scope"), Name: strings.TrimSpace(form.Get("name"))}
	if _, known := h.Directory.Tenant(p.Tenant); !known {
		return &fault{http.StatusUnprocessableEntity, "There is no such tenant."}
	}
	if err := h.fillPolicies(v, &p); err != nil {
		return err
	}
	o := session.PolicyOverride{Tenant: p.Tenant, Scope: p.Scope, Name: p.Name}
	patch, problem := readPatch(form.Get)
	o.Patch = patch
	before := h.policyFor(o)
	var becomes *session.PolicyPatch
	if problem == "" {
		after, findings, err := h.Sessions.Policies.With(o)
		p.Findings = findings
		if err != nil {
			problem = err.Error()
		} else {
			whole := after.Patch()
			becomes = &whole
		}
	}
	if p.Problem = problem; problem == "" && form.Get("do") == "save" {
		e := audit.Event{Kind: audit.PolicyChanged, Tenant: o.Tenant, Actor: *audit.ActorFrom(v.r.Context())}
		if err := h.Store.SavePolicy(v.r.Context(), o, e); err != nil {
			return err
		}
		return h.render(v, "done", done{Text: "The policy was saved and is in force.", BackName: "the policies", Back: Path + "policies?" + string(query("tenant", o.Tenant, "scope", o.Scope, "name", o.Name))})
	}
	p.Previewed = becomes != nil
	if err := p.fill(before.Patch(), o.Patch, becomes); err != nil {
		return err
	}
	for i, f := range p.Fields { // also what could not be read
		p.Fields[i].Given = strings.TrimSpace(form.Get(f.Name))
	}
	if problem != "" {
		v.w.WriteHeader(http.StatusUnprocessableEntity)
	}
	return h.render(v, "policies", p)
}

// readPatch reads the fields of the form; problem is what is wrong with one.
func readPatch(get func(string) string) (patch session.PolicyPatch, problem string) {
	for _, f := range policyFields {
		text := strings.TrimSpace(get(f.Name))
		if text == "" {
			continue
		}
		quoted := strconv.Quote(text)
		switch f.Name {
		case "jitter", "late_budget", "sessions_per_user", "strict", "end_user", "step_up", "proof_nonce", "bound_late_budget", "bound_keep":
			quoted = text
		}
		if err := json.Unmarshal([]byte(`{"`+f.Name+`":`+quoted+`}`), &patch, json.RejectUnknownMembers(true)); err != nil {
			return patch, "\"" + f.Label + "\" cannot be " + strconv.Quote(text) + "."
		}
	}
	return patch, ""
}
