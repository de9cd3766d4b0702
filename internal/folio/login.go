package folio

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// credentials is the body of every login. Clients send further members, which
// mean nothing here.
type credentials struct {
	Username string `json:"username"`
	UserID   string `json:"userId"`
	Password string `json:"password"`
	Tenant   string `json:"tenant"`
}

// login is for scripts and programs: POST /authn/login. FOLIO gives one token
// here that never expires; ours expires like any other, and a refresh token
// comes with it. In tenants whose clients still need the former, okapiToken is it.
func (h *Handler) login(w http.ResponseWriter, r *http.Request) error {
	tenant, body, err := h.readLogin(w, r)
	if err != nil {
		return err
	}
	if err := complete(body); err != nil {
		return err
	}
	confirm, err := h.prove(w, r, tenant)
	if err != nil {
		return err
	}
	tokens, err := h.logIn(r, tenant, body, session.ClientAPI, confirm)
	if err != nil {
		return err
	}
	okapiToken := tokens.Access
	if confirm == "" && h.Sessions.Old.HasLegacy(tokens.Tenant, h.Now()) {
		okapiToken, err = h.Sessions.LegacyToken(r.Context(), tokens.Tenant, tokens.UserID, tokens.Username)
		if err != nil {
			// Nobody will ever hold these tokens.
			return errors.Join(err, h.Sessions.Logout(r.Context(), tokens.Refresh))
		}
	}
	h.setDevice(w, tokens)
	w.Header().Set("X-Okapi-Token", okapiToken)
	writeJSON(w, http.StatusCreated, struct {
		OkapiToken string `json:"okapiToken"`
		boundPair
	}{okapiToken, boundPair{pairOf(tokens), tokenType(confirm)}})
	return nil
}

// loginWithExpiry is for browsers: POST /authn/login-with-expiry.
func (h *Handler) loginWithExpiry(w http.ResponseWriter, r *http.Request) error {
	tenant, body, err := h.readLogin(w, r)
	if err != nil {
		return err
	}
	if err := complete(body); err != nil {
		return err
	}
	tokens, err := h.logIn(r, tenant, body, session.ClientWeb, "")
	if err != nil {
		return err
	}
	h.Cookies.Set(w.Header(), tokens)
	writeJSON(w, http.StatusCreated, expirationsOf(tokens))
	return nil
}

// usersLogin is mod-users-bl's: POST /bl-users/login-with-expiry. It also
// tells who the user is and what the user interface may show.
func (h *Handler) usersLogin(w http.ResponseWriter, r *http.Request) error {
	tenant, body, err := h.readLogin(w, r)
	if bad := (*refusal)(nil); errors.As(err, &bad) && bad.fault.Code == codeBody {
		return errBadFormat
	}
	if err != nil {
		return err
	}
	if body.Username == "" || body.Password == "" {
		return errBadFormat
	}
	tokens, err := h.logIn(r, tenant, body, session.ClientWeb, "")
	if err != nil {
		return err
	}
	answer, err := h.describe(r, claimsOf(tokens), tokens.UserID)
	if err != nil {
		// Nobody will ever hold these tokens.
		return errors.Join(err, h.Sessions.Logout(r.Context(), tokens.Refresh))
	}
	expiry := expirationsOf(tokens)
	answer.TokenExpiration = &expiry
	h.Cookies.Set(w.Header(), tokens)
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

// claimsOf is in whose name the parts of a user are looked up at login.
func claimsOf(t *session.Tokens) token.Claims {
	return token.Claims{Tenant: t.Tenant, Subject: t.Username, UserID: t.UserID, Session: t.Session}
}

// readLogin reads what all logins have in common. A tenant in the body must be
// that of the header, unless there are consortia: without one both can only mean
// the same.
func (h *Handler) readLogin(w http.ResponseWriter, r *http.Request) (tenant string, body credentials, err error) {
	if tenant, err = h.knownTenant(r); err != nil {
		return "", body, err
	}
	if _, err = decode(w, r, &body); err != nil {
		return "", body, h.countUnparsable(r, err)
	}
	if h.HomeTenant == nil && body.Tenant != "" && body.Tenant != tenant {
		return "", body, plain(http.StatusBadRequest, "Different tenants in X-Okapi-Tenant and in the body. Use only one of them")
	}
	return tenant, body, nil
}

// countUnparsable counts a body that names nobody against its sender's
// address, and says so once there were too many.
func (h *Handler) countUnparsable(r *http.Request, err error) error {
	address, _ := netip.ParseAddr(audit.ActorFrom(r.Context()).Address)
	if d := h.Sessions.Limits.Unparsable(h.Now(), address); !d.Allowed {
		return &session.Limited{RetryAfter: d.RetryAfter}
	}
	return err
}

// complete asks for what a login needs, in mod-login's order and words.
func complete(c credentials) error {
	switch {
	case c.Username == "" && c.UserID == "":
		return errNoUser
	case c.Password == "":
		return errNoPassword
	}
	return nil
}

// logIn proves the password. Of the cookies that came along it reads that of
// the device alone: clients log in anew with those of an old session attached,
// which this neither needs nor ends.
func (h *Handler) logIn(r *http.Request, tenant string, c credentials, client string, confirm token.Confirmation) (*session.Tokens, error) {
	if h.HomeTenant != nil {
		home, err := h.HomeTenant(r.Context(), tenant, c.Username, strings.ToLower(c.UserID), c.Tenant)
		switch {
		case errors.Is(err, directory.ErrInvalid): // nobody's name, which is for Login to say
		case err != nil:
			return nil, errors.Join(session.ErrUnavailable, err)
		default:
			tenant = home
		}
	}
	jar, _ := session.ReadCookies(r) // a doubtful one is none, and gets a new device
	return h.Sessions.Login(r.Context(), session.LoginRequest{
		Tenant: tenant, Username: c.Username, UserID: strings.ToLower(c.UserID), Password: c.Password,
		Client: client, Device: jar.Device, Confirm: confirm,
	})
}

// setDevice gives a client that keeps its tokens itself the cookie that
// binding "device" will ask for, and no other.
func (h *Handler) setDevice(w http.ResponseWriter, tokens *session.Tokens) {
	all := http.Header{}
	h.Cookies.Set(all, tokens)
	for _, line := range all["Set-Cookie"] {
		if strings.HasPrefix(line, session.DeviceCookie+"=") {
			w.Header().Add("Set-Cookie", line)
		}
	}
}
