package folio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Recovery makes links that set a password and has them sent to their users by
// the tenant's notification module. Fill in the fields, call Start, and Close
// at the end.
//
// Where links lead is configured and nothing of a request gets into it but the
// tenant, or a request with a Host of its own would send the token elsewhere.
type Recovery struct {
	Sessions *session.Service
	Call     CallModule
	// ResetURL is the page that sets a password; a link is ResetURL/TOKEN?tenant=T.
	// Empty, no links are made.
	ResetURL string
	// ForgotURL is the page that asks for another link; empty leaves it out of
	// messages.
	ForgotURL string
	// TTL is how long a link holds; 0 is session.DefaultLinkTTL.
	TTL time.Duration
	Now func() time.Time
	Log *slog.Logger

	stop    context.CancelFunc
	asked   chan forgotten
	running sync.WaitGroup
}

// forgotten is somebody who says to have forgotten something, in whoever's name.
type forgotten struct {
	tenant, who string
	password    bool // or else the name
	actor       audit.Actor
}

// maxAsked is how many of these wait. More are told to come again.
const maxAsked = 100

// Start begins to work on what was asked.
func (v *Recovery) Start(ctx context.Context) {
	if v.TTL == 0 {
		v.TTL = session.DefaultLinkTTL
	}
	if v.Log == nil {
		v.Log = slog.New(slog.DiscardHandler)
	}
	v.asked = make(chan forgotten, maxAsked)
	ctx, v.stop = context.WithCancel(context.WithoutCancel(ctx))
	v.running.Go(func() {
		for {
			select {
			case f := <-v.asked:
				v.answer(ctx, f)
			case <-ctx.Done():
				return
			}
		}
	})
}

// Close ends the work; what still waits is dropped, and can be asked for again.
func (v *Recovery) Close() {
	if v.stop != nil {
		v.stop()
		v.running.Wait()
	}
}

// ask takes a request on, whoever it names. Nothing is looked up before its
// sender has the answer, so that neither words nor time tell who exists.
func (v *Recovery) ask(f forgotten) error {
	select {
	case v.asked <- f:
		return nil
	default:
		return session.ErrBusy
	}
}

func (v *Recovery) answer(ctx context.Context, f forgotten) {
	ctx = audit.WithActor(ctx, &f.actor)
	users, err := v.Sessions.FindUsers(ctx, f.tenant, f.who)
	if err != nil {
		v.Log.ErrorContext(ctx, "forgotten password or name not looked up", "error", err)
		return
	}
	// Two people with one address are nobody in particular, and who was kept
	// out gets no way in.
	if len(users) != 1 || !users[0].Active || !v.Sessions.Limits.Remind(v.Now(), f.tenant, users[0].ID) {
		return
	}
	if f.password {
		_, err = v.link(ctx, f.tenant, users[0].ID)
	} else {
		err = v.notify(ctx, f.tenant, "USERNAME_LOCATED_EVENT", &users[0], nil)
	}
	if err != nil {
		v.Log.WarnContext(ctx, "nothing was sent to a user who has forgotten password or name", "user", users[0].ID, "error", err)
	}
}

// link makes a link and has it sent. That it could not be sent is logged and
// no fault: whoever asked for it may have it too.
func (v *Recovery) link(ctx context.Context, tenant, userID string) (string, error) {
	if v.ResetURL == "" {
		return "", errNoLinks
	}
	link, err := v.Sessions.NewLink(ctx, tenant, userID, v.TTL)
	if err != nil {
		return "", err
	}
	address := strings.TrimRight(v.ResetURL, "/") + "/" + link.Token + "?tenant=" + url.QueryEscape(tenant)
	event := "RESET_PASSWORD_EVENT"
	if link.First {
		event = "CREATE_PASSWORD_EVENT"
	}
	facts := map[string]any{
		"link": address, "expirationTime": strconv.Itoa(int(v.TTL.Minutes())), "expirationUnitOfTime": "minutes",
	}
	if err := v.notify(ctx, tenant, event, &link.User, facts); err != nil {
		v.Log.WarnContext(ctx, "a link that sets a password was made and not sent", "user", userID, "error", err)
	}
	return address, nil
}

// changed tells a user that the password was set by a link.
func (v *Recovery) changed(ctx context.Context, tenant string, u *directory.User, first bool) {
	event := "PASSWORD_CHANGED_EVENT"
	if first {
		event = "PASSWORD_CREATED_EVENT"
	}
	when := map[string]any{"dateTime": v.Now().UTC().Format(time.RFC3339)}
	if err := v.notify(ctx, tenant, event, u, when); err != nil {
		v.Log.WarnContext(ctx, "a user was not told of the new password", "user", u.ID, "error", err)
	}
}

// notification is mod-notify's.
type notification struct {
	Event     string         `json:"eventConfigName"`
	Recipient string         `json:"recipientId"`
	Context   map[string]any `json:"context"`
	Text      string         `json:"text"`
	Lang      string         `json:"lang"`
}

var errNoNotify = errors.New("no module of the tenant serves POST /notify")

func (v *Recovery) notify(ctx context.Context, tenant, event string, u *directory.User, facts map[string]any) error {
	if v.Call == nil {
		return errNoNotify
	}
	told := map[string]any{"user": userOf(u)}
	for name, value := range facts {
		told[name] = value
	}
	if v.ForgotURL != "" {
		told["forgotPasswordLink"] = v.ForgotURL
	}
	body, err := json.Marshal(notification{event, u.ID, told, "", "en"}, json.Deterministic(true))
	if err != nil {
		return err
	}
	nobody := token.Claims{Tenant: tenant, Subject: "UNDEFINED_USER__" + uuid.NewString()}
	status, _, err := v.Call(ctx, asUsersModule(nobody), http.MethodPost, "/notify", body)
	switch {
	case err != nil:
		return err
	case status == 0:
		return errNoNotify
	case status >= http.StatusMultipleChoices:
		return fmt.Errorf("the module behind /notify answered %d", status)
	}
	return nil
}
