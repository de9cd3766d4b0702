package console

import (
	"errors"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil/internal/directory"
)

// modulePage is the page of modules.
type modulePage struct {
	Tenants []directory.Tenant
	Tenant  string
	Routes  []Route
	// Methods are what may be asked about, and the others what is.
	Methods                    []string
	Method, Path, Module, User string
	Problem                    string
	Explained                  *Explanation
}

func (h *Handler) modules(v *visit) error {
	q := v.r.URL.Query()
	p := modulePage{
		Tenant: q.Get("tenant"), Method: q.Get("method"), Path: strings.TrimSpace(q.Get("path")), Module: strings.TrimSpace(q.Get("module")), User: strings.TrimSpace(q.Get("user")),
		Methods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
	}
	var err error
	if p.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
	}
	if p.Tenant != "" {
		p.Routes = h.Routes(p.Tenant)
	}
	if p.Tenant != "" && p.Path != "" {
		if err := h.explain(v, &p); err != nil {
			return err
		}
	}
	return h.render(v, "modules", p)
}

// explain answers who may call what the page asks about.
func (h *Handler) explain(v *visit, p *modulePage) error {
	path, _, _ := strings.Cut(p.Path, "?")
	question := Question{Tenant: p.Tenant, Method: p.Method, Path: path, Module: p.Module}
	if p.User != "" {
		u, err := h.find(v.r.Context(), p.Tenant, p.User)
		switch {
		case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
			p.Problem = "There is no such user in this tenant."
			return nil
		case err != nil:
			return err
		}
		question.UserID = u.ID
	}
	explained, err := h.Explain(v.r.Context(), question)
	p.Explained = &explained
	return err
}
