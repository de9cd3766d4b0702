package oauth

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

//go:embed device.html
var deviceText string

// devicePage has the style of the login page, whose hash the policy allows.
var devicePage = func() *template.Template {
	_, rest, _ := strings.Cut(loginText, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	return template.Must(template.New("device").Parse(strings.Replace(deviceText, "<style></style>", "<style>"+style+"</style>", 1)))
}()

// askForDevice begins device authorization (RFC 8628 section 3.1). It needs a
// public URL: people type what it says.
func (h *Handler) askForDevice(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := h.client(r, form)
	switch {
	case err != nil:
		return err
	case !c.May(session.GrantDevice):
		return refused("unauthorized_client", "the client may not use this grant")
	case h.Base == "":
		return refused("unauthorized_client", "an operator must set public_url before devices can be let in")
	}
	scope, err := h.Sessions.Narrow(r.Context(), c, "", form.Get("scope"))
	if err != nil {
		return err
	}
	code, d, err := h.Sessions.AskForDevice(r.Context(), c, scope)
	if err != nil {
		return err
	}
	shown := session.ShownCode(d.UserCode)
	writeJSON(w, http.StatusOK, struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		Page       string `json:"verification_uri"`
		PageOfCode string `json:"verification_uri_complete"`
		ExpiresIn  int    `json:"expires_in"`
		Interval   int    `json:"interval"`
	}{code, shown, h.Base + devicePath, h.Base + devicePath + "?user_code=" + shown, int(session.DeviceTTL / time.Second), int(d.Waits / time.Second)})
	return nil
}

// deviceTokens is what a device asks again and again (RFC 8628 section 3.4).
func (h *Handler) deviceTokens(r *http.Request, c *session.Client, form url.Values, confirm token.Confirmation) (*session.Tokens, error) {
	if form.Get("device_code") == "" {
		return nil, invalid("device_code is missing")
	}
	tokens, err := h.Sessions.DeviceTokens(r.Context(), c, form.Get("device_code"), confirm)
	switch {
	case errors.Is(err, session.ErrDeviceWaits):
		return nil, refused("authorization_pending", "")
	case errors.Is(err, session.ErrDeviceHasty):
		return nil, refused("slow_down", "wait five seconds longer between questions from now on")
	case errors.Is(err, session.ErrDeviceRefused):
		return nil, refused("access_denied", "the user said no")
	case errors.Is(err, session.ErrDeviceExpired):
		return nil, refused("expired_token", "nobody answered in time")
	case err == nil && !c.May(session.GrantRefresh):
		tokens.Refresh = ""
	}
	return tokens, err
}

// deviceForm is what device.html shows: a message alone, the question for a
// code, or that for a password once the code is known.
type deviceForm struct {
	Title, Message, Fault string
	Code, Client, Name    string
	Action                string
}

// device is where a user lets a device in, or does not. There is no session
// here: the password goes along with the answer.
func (h *Handler) device(w http.ResponseWriter, r *http.Request) {
	noStore(w)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+styleHash+"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	form, no := h.pageForm(w, r, true)
	if no != nil {
		h.showDevice(w, no.status, deviceForm{Title: "Connect a device", Message: no.Description})
		return
	}
	typed := form.Get("user_code")
	if typed == "" {
		h.showDevice(w, http.StatusOK, deviceForm{Title: "Connect a device"})
		return
	}
	d, err := h.Sessions.FindDevice(r.Context(), typed)
	if err != nil {
		status, fault := h.loginFault(r, err)
		if errors.Is(err, session.ErrNotFound) {
			status, fault = http.StatusUnprocessableEntity, "No device waits with this code. Look at the device again, or start again there."
		}
		h.showDevice(w, status, deviceForm{Title: "Connect a device", Fault: fault, Code: typed})
		return
	}
	if answer := form.Get("answer"); r.Method == http.MethodPost && answer != "" {
		h.answerDevice(w, r, &d, form)
		return
	}
	h.askUser(w, http.StatusOK, &d, "", "")
}

func (h *Handler) answerDevice(w http.ResponseWriter, r *http.Request, d *session.Device, form url.Values) {
	name, password := form.Get("username"), form.Get("password")
	done := deviceForm{Title: "Device connected", Message: "The device goes on by itself. You can close this page."}
	var err error
	switch {
	case form.Get("answer") != "allow":
		done = deviceForm{Title: "Device refused", Message: "The device was not let in. You can close this page."}
		err = h.Sessions.RefuseDevice(r.Context(), d)
	case name == "" || password == "":
		h.askUser(w, http.StatusUnprocessableEntity, d, name, "Enter your user name and your password.")
		return
	default:
		err = h.Sessions.LetDeviceIn(r.Context(), d, name, password)
	}
	switch {
	case err == nil:
		h.showDevice(w, http.StatusOK, done)
	case errors.Is(err, session.ErrNotFound):
		h.showDevice(w, http.StatusUnprocessableEntity, deviceForm{Title: "Connect a device", Fault: "The device does not wait any more. Start again there."})
	default:
		status, fault := h.loginFault(r, err)
		h.askUser(w, status, d, name, fault)
	}
}

func (h *Handler) askUser(w http.ResponseWriter, status int, d *session.Device, name, fault string) {
	page := deviceForm{Title: "Connect a device", Fault: fault, Code: session.ShownCode(d.UserCode), Client: d.Client, Name: name}
	if c := h.Sessions.Client(d.Client); c != nil && c.Name != "" {
		page.Client = c.Name
	}
	h.showDevice(w, status, page)
}

func (h *Handler) showDevice(w http.ResponseWriter, status int, page deviceForm) {
	page.Action = h.Prefix + devicePath
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = devicePage.Execute(w, page) // whoever asked is gone
}
