package gateway

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Unproven is that who calls may well have the permissions, and must prove
// anew who that is (RFC 9470).
type Unproven struct {
	// Permissions are what a token of raised scope must name to be let through.
	Permissions []string
	// ACR is session.ACRElevated where a login will not do, however fresh.
	ACR string
	// MaxAge is how long ago the proof may have been given; 0 is no limit.
	MaxAge time.Duration
}

func (*Unproven) Error() string { return "This needs a fresh proof of who you are" }

// stepUps are what the policy asks of this caller. Nothing is asked of a
// module: it cannot prove what its caller did not, and nothing inside is to
// fail half-way. What is asked stands at the route that the caller uses.
func (g *Gateway) stepUps(f *Facts) session.StepUps {
	if f.Caller == nil {
		return g.Sessions.Policies.StepUps(f.Tenant, "", "")
	}
	c := &f.Caller.Claims
	if c.Kind == token.KindModule {
		return nil
	}
	return g.Sessions.Policies.StepUps(f.Tenant, c.ClientID, c.UserID)
}

// raisable is whether raised scope would give the caller a permission.
func (f *Facts) raisable(permission string) bool {
	return f.Caller != nil && f.Caller.Access != nil && f.Caller.Access.Elevated.Has(permission)
}

// proven fails with *Unproven where the token is not proof enough for one of
// the required permissions. It then names all that need proof, also those for
// which this token would do: one token has to do for the whole request.
func (g *Gateway) proven(ctx context.Context, f *Facts, p *permissions, steps session.StepUps) error {
	var u Unproven
	met := true
	for _, name := range f.Required {
		step, asked := steps[name]
		if !asked || slices.Contains(u.Permissions, name) {
			continue
		}
		u.Permissions = append(u.Permissions, name)
		if step.ACR != "" {
			u.ACR = step.ACR
		}
		if age := step.MaxAge.Std(); age > 0 && (u.MaxAge == 0 || age < u.MaxAge) {
			u.MaxAge = age
		}
		if f.Caller == nil {
			met = false
			continue
		}
		named, err := p.names(ctx, g, name)
		if err != nil {
			return err
		}
		met = met && step.Met(&f.Caller.Claims, named, g.Now())
	}
	if met {
		return nil
	}
	return &u
}

// names is whether the token itself carries a permission, by its name or in a set.
func (p *permissions) names(ctx context.Context, g *Gateway, name string) (bool, error) {
	if slices.Contains(p.carried, name) {
		return true, nil
	}
	if err := p.expand(ctx, g.Directory); err != nil {
		return false, err
	}
	return p.expanded.Has(name), nil
}

// challenge is the header of RFC 9470 section 3. The permissions are its scope.
func (u *Unproven) challenge() string {
	text := `Bearer error="insufficient_user_authentication", error_description="` + u.Error() + `"`
	if u.ACR != "" {
		text += `, acr_values="` + u.ACR + `"`
	}
	if u.MaxAge > 0 {
		text += `, max_age="` + strconv.Itoa(u.seconds()) + `"`
	}
	if scope := slices.DeleteFunc(slices.Clone(u.Permissions), unquotable); len(scope) > 0 {
		text += `, scope="` + strings.Join(scope, " ") + `"`
	}
	return text
}

func (u *Unproven) seconds() int { return int(u.MaxAge / time.Second) }

// unquotable is whether a name is no scope-token of RFC 6749. A module may name
// its permissions as it likes.
func unquotable(name string) bool {
	return name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// Challenge answers for an endpoint that is no module's what is needed there.
func (g *Gateway) Challenge(w http.ResponseWriter, r *http.Request, permission string, step session.StepUp) {
	g.challenge(w, r, &Unproven{Permissions: []string{permission}, ACR: step.ACR, MaxAge: step.MaxAge.Std()})
}

// challenge answers what is needed and where to get it.
func (g *Gateway) challenge(w http.ResponseWriter, r *http.Request, u *Unproven) {
	text := u.challenge()
	if _, ok := dpopToken(r.Header.Get("Authorization")); ok {
		text = dpop + strings.TrimPrefix(text, "Bearer ")
	}
	w.Header().Set("WWW-Authenticate", text)
	if call := partnerCallOf(r); call != nil && call.errors == ErrorsOrders {
		g.say(w, r, http.StatusUnauthorized, u.Error())
		return
	}
	body, _ := json.Marshal(struct {
		Message     string   `json:"message"`
		Code        string   `json:"code"`
		Type        string   `json:"type"`
		Elevate     string   `json:"elevate"`
		Permissions []string `json:"permissions"`
		ACR         string   `json:"acr,omitempty"`
		MaxAge      int      `json:"maxAge,omitzero"`
	}{u.Error(), "ELEVATION_REQUIRED", "auth", g.Prefix + "/authn/elevate", u.Permissions, u.ACR, u.seconds()})
	g.sayJSON(w, r, http.StatusUnauthorized, body)
}
