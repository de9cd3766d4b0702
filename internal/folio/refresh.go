package folio

import (
	"context"
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// refresh gives new tokens for a refresh token: POST /authn/refresh, with the
// token in the body or in the cookie. It is never rate-limited: one answer
// that is not a success ends the session of a Stripes user.
func (h *Handler) refresh(w http.ResponseWriter, r *http.Request) error {
	tenant, err := tenantOf(r)
	if err != nil {
		return err
	}
	p, err := present(w, r)
	if err != nil {
		return err
	}
	if p.token == "" {
		return errNoRefreshToken
	}
	var confirm token.Confirmation
	if p.inBody { // no browser proves a key of a cookie's
		if confirm, err = h.prove(w, r, tenant); err != nil {
			return err
		}
	}
	tokens, err := h.refreshAtHome(r.Context(), session.RefreshRequest{
		Token: p.token, Tenant: tenant, Heals: p.heals, Device: p.device, Confirm: confirm,
		// A jar keeps its cookie where a client of its own needs an answer.
		Browser: !p.inBody && fromBrowser(r),
	})
	if err != nil {
		return h.refreshRefused(w, p, err)
	}
	if p.inBody {
		writeJSON(w, http.StatusCreated, boundPair{pairOf(tokens), tokenType(tokens.Confirm)})
		return nil
	}
	h.Cookies.Set(w.Header(), tokens)
	writeJSON(w, http.StatusCreated, expirationsOf(tokens))
	return nil
}

// refreshAtHome refreshes. In a consortium a client goes on naming the tenant in
// which it logged in, and the session is of the user's home tenant: that passes if
// user-tenants of the former says that the user belongs to the latter (T-8). The
// tokens are of the home tenant, as mod-authtoken's.
func (h *Handler) refreshAtHome(ctx context.Context, req session.RefreshRequest) (*session.Tokens, error) {
	tokens, err := h.Sessions.Refresh(ctx, req)
	var refused *session.Refused
	if h.HomeTenant == nil || !errors.As(err, &refused) || refused.HomeTenant == "" {
		return tokens, err
	}
	home, asked := h.HomeTenant(ctx, req.Tenant, "", refused.UserID, refused.HomeTenant)
	switch {
	case asked != nil:
		return nil, errors.Join(session.ErrUnavailable, asked)
	case home != refused.HomeTenant:
		return nil, err
	}
	req.Tenant = home
	return h.Sessions.Refresh(ctx, req)
}

// refreshRefused sets or clears the cookies that belong to a refusal. What the
// answer says is the same for every reason but two. Superseded has a way back:
// refresh again with the newest token and the nonce. And a client that keeps its
// tokens itself is told that the session has ended, as a browser is by losing its
// cookies: until then it must keep them.
func (h *Handler) refreshRefused(w http.ResponseWriter, p presented, err error) error {
	var refused *session.Refused
	if !errors.As(err, &refused) {
		return err
	}
	answer := *errRefresh
	switch {
	case refused.Final && p.inBody:
		answer.fault.Parameters = []parameter{{"reason", "ended"}}
	case refused.Final:
		h.Cookies.Clear(w.Header())
	case refused.Superseded():
		answer.fault.Parameters = []parameter{{"reason", "superseded"}}
		switch {
		case refused.Heal == "":
		case p.inBody:
			answer.fault.Parameters = append(answer.fault.Parameters, parameter{"heal", refused.Heal})
		default:
			h.Cookies.SetHeal(w.Header(), refused, h.Now())
		}
	}
	return &answer
}
