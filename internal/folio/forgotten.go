package folio

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
)

// forgotPassword has a link sent that sets a new password: POST
// /bl-users/forgotten/password.
func (h *Handler) forgotPassword(w http.ResponseWriter, r *http.Request) error {
	return h.forgot(w, r, true)
}

// forgotUsername has the user's name sent: POST /bl-users/forgotten/username.
func (h *Handler) forgotUsername(w http.ResponseWriter, r *http.Request) error {
	return h.forgot(w, r, false)
}

// forgot answers 204 whoever is named. FOLIO tells here who exists and who is
// inactive, to anybody who asks.
func (h *Handler) forgot(w http.ResponseWriter, r *http.Request, password bool) error {
	tenant, err := h.knownTenant(r)
	if err != nil {
		return err
	}
	var body struct {
		ID string `json:"id"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return h.countUnparsable(r, err)
	}
	if body.ID == "" || len(body.ID) > 255 {
		return badBody("id must have 1 to 255 bytes")
	}
	actor := *audit.ActorFrom(r.Context())
	if err := h.limitAddress(&actor); err != nil {
		return err
	}
	if err := h.Recovery.ask(forgotten{tenant, body.ID, password, actor}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// limitAddress counts a request for which nobody proves anything.
func (h *Handler) limitAddress(actor *audit.Actor) error {
	address, _ := netip.ParseAddr(actor.Address)
	if d := h.Sessions.Limits.Unparsable(h.Now(), address); !d.Allowed {
		return &session.Limited{RetryAfter: d.RetryAfter}
	}
	return nil
}

// makeLink gives a caller a link that sets a user's password once, and has it
// sent to the user: POST /bl-users/password-reset/link.
func (h *Handler) makeLink(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		UserID string `json:"userId"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	id, err := userUUID(body.UserID)
	if err != nil {
		return err
	}
	link, err := h.Recovery.link(r.Context(), caller.Claims.Tenant, id)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return listed(http.StatusUnprocessableEntity, "user.not-found", "User with id '"+id+"' not found")
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Link string `json:"link"`
	}{link})
	return nil
}

// checkLink tells whether a link still holds, for the page that it leads to:
// POST /bl-users/password-reset/validate. The token of the link comes as
// X-Okapi-Token, where FOLIO's pages put it.
func (h *Handler) checkLink(w http.ResponseWriter, r *http.Request) error {
	tenant, raw, err := h.linkOf(r)
	if err == nil {
		err = h.Sessions.OpenLink(r.Context(), tenant, raw)
	}
	if err != nil {
		return h.linkError(r, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// useLink sets the password that a link is for: POST
// /bl-users/password-reset/reset.
func (h *Handler) useLink(w http.ResponseWriter, r *http.Request) error {
	tenant, raw, err := h.linkOf(r)
	if err != nil {
		return h.linkError(r, err)
	}
	var body struct {
		Password string `json:"newPassword"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	u, first, err := h.Sessions.UseLink(r.Context(), tenant, raw, body.Password)
	if err != nil {
		return h.linkError(r, passwordError(err, http.StatusUnprocessableEntity))
	}
	h.Recovery.changed(r.Context(), tenant, &u, first)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) linkOf(r *http.Request) (tenant, raw string, err error) {
	if tenant, err = h.knownTenant(r); err != nil {
		return "", "", err
	}
	values := r.Header.Values("X-Okapi-Token")
	if len(values) != 1 {
		return "", "", session.ErrLinkInvalid
	}
	return tenant, values[0], nil
}

// linkError says in mod-users-bl's codes why a link does not hold, and counts
// it: who tries tokens is to be slow.
func (h *Handler) linkError(r *http.Request, err error) error {
	code, text := "", ""
	switch {
	case errors.Is(err, session.ErrLinkInvalid):
		code, text = "link.invalid", "The link is not valid"
	case errors.Is(err, session.ErrLinkExpired):
		code, text = "link.expired", "The link has expired"
	case errors.Is(err, session.ErrLinkUsed):
		code, text = "link.used", "The link was used, or replaced by a newer one"
	default:
		return err
	}
	if limited := h.limitAddress(audit.ActorFrom(r.Context())); limited != nil {
		return limited
	}
	return listed(http.StatusUnprocessableEntity, code, text)
}

// ownPassword lets a user replace the password in the settings of the user
// interface: POST /bl-users/settings/myprofile/password.
func (h *Handler) ownPassword(w http.ResponseWriter, r *http.Request) error {
	tenant, body, err := h.readChange(w, r)
	if bad := (*refusal)(nil); errors.As(err, &bad) && bad.fault.Code == codeBody {
		return errBadFormat
	}
	if err != nil {
		return err
	}
	if body.Username == "" && body.UserID == "" || body.Password == "" || body.NewPassword == "" {
		return errBadFormat
	}
	if err := h.changePassword(r, tenant, body); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
