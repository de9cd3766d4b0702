package console

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// OwnPath is where everybody sees his own sessions, on the public listener: below
// /authn, so that the refresh cookie comes along.
const OwnPath = "/authn/my/"

// Own is the page on which a user sees where he is logged in, and logs out there.
// It goes by the cookies of the session that the browser has already; there is no
// log-in here. Fill in the fields and call Mount.
type Own struct {
	Sessions *session.Service
	Cookies  session.Cookies
	// Prefix is the path of the public URL, and Origins are those whose pages may
	// act with the user's cookies.
	Prefix  string
	Origins []string
	Now     func() time.Time
	Log     *slog.Logger

	page *template.Template
}

// Mount adds the page.
func (o *Own) Mount(mux *http.ServeMux) error {
	o.page = template.Must(template.New("own").Funcs(words(o.Now)).ParseFS(files, "pages/parts.html", "pages/own.html"))
	static, err := fs.Sub(files, "static")
	if err != nil {
		return err
	}
	mux.Handle("GET "+OwnPath+"static/", served(static, OwnPath))
	own := http.NewServeMux()
	own.Handle("GET "+OwnPath+"sessions", o.visited(o.list))
	own.Handle("POST "+OwnPath+"sessions/end", o.visited(o.endOthers))
	own.Handle("POST "+OwnPath+"sessions/{id}/end", o.visited(o.end))
	// A page of another site must not log anybody out (T-48).
	protection := http.NewCrossOriginProtection()
	for _, origin := range o.Origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return fmt.Errorf("origin %q: %w", origin, err)
		}
	}
	mux.Handle(OwnPath, protection.Handler(own))
	return nil
}

// ownPage is what the template gets.
type ownPage struct {
	Nonce, Prefix, Username string
	Rows                    []ownRow
	// Ended is how many sessions the user has just ended.
	Ended string
	// Problem is shown in place of the list.
	Problem string
	// Action is what the password is asked for, in place of the list, and Fault what
	// was wrong with the last one.
	Action, Fault string
}

// ownRow is a session of the user.
type ownRow struct {
	*session.Session
	// Here is whether it is the one of this browser.
	Here bool
}

// ownVisit is one request of a user who is logged in.
type ownVisit struct {
	w      http.ResponseWriter
	r      *http.Request
	caller session.Caller
	nonce  string
}

func (o *Own) visited(serve func(*ownVisit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &ownVisit{w: w, r: r, nonce: rand.Text()}
		secure(w.Header(), v.nonce)
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		err := o.identify(v)
		if err == nil {
			err = serve(v)
		}
		if err != nil {
			o.fail(v, err)
		}
	})
}

// identify goes by the access cookie, and refreshes when it is over.
func (o *Own) identify(v *ownVisit) error {
	jar, err := session.ReadCookies(v.r)
	if err != nil {
		return err
	}
	ctx := v.r.Context()
	v.caller, err = o.Sessions.Check(ctx, jar.Access, token.KindAccess)
	if err != nil && !errors.Is(err, session.ErrUnavailable) && jar.Refresh != "" {
		var tokens *session.Tokens
		tokens, err = o.Sessions.Refresh(ctx, session.RefreshRequest{Token: jar.Refresh, Heals: jar.Heals, Device: jar.Device, Browser: true})
		if err == nil {
			o.Cookies.Set(v.w.Header(), tokens)
			v.caller, err = o.Sessions.Check(ctx, tokens.Access, token.KindAccess)
		}
	}
	if err == nil && v.caller.Claims.UserID == "" {
		err = session.ErrTokenInvalid
	}
	if err != nil {
		return err
	}
	actor := audit.ActorFrom(ctx)
	actor.Kind, actor.Name, actor.UserID = "user", v.caller.Claims.Subject, v.caller.Claims.UserID
	return nil
}

func (o *Own) fail(v *ownVisit, err error) {
	status, text := http.StatusUnauthorized, "You are not logged in here. Log in to your application first, in this browser."
	switch {
	case errors.Is(err, session.ErrUnavailable), errors.Is(err, session.ErrBusy):
		v.w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, "This cannot be answered now. Try again in a moment."
	case errors.Is(err, session.ErrNotFound):
		status, text = http.StatusNotFound, "That is no session of yours, or no more."
	}
	if status == http.StatusServiceUnavailable && o.Log != nil {
		o.Log.ErrorContext(v.r.Context(), "page of own sessions failed", "error", err)
	}
	o.render(v, status, ownPage{Problem: text})
}

func (o *Own) render(v *ownVisit, status int, p ownPage) {
	p.Nonce, p.Prefix, p.Username = v.nonce, o.Prefix, v.caller.Claims.Subject
	var out bytes.Buffer
	if err := o.page.ExecuteTemplate(&out, "own", p); err != nil {
		if o.Log != nil {
			o.Log.ErrorContext(v.r.Context(), "page of own sessions failed", "error", err)
		}
		http.Error(v.w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes())
}

// shownOwn is how many sessions are listed: as many as a user has by default.
const shownOwn = 100

func (o *Own) list(v *ownVisit) error {
	c := &v.caller.Claims
	found, err := o.Sessions.List(v.r.Context(), session.Filter{Tenant: c.Tenant, UserID: c.UserID, Live: true, Limit: shownOwn})
	if err != nil {
		return err
	}
	p := ownPage{Ended: v.r.URL.Query().Get("ended")}
	for i := range found.Sessions {
		row := &found.Sessions[i]
		if o.Sessions.StateOf(row, o.Now()) == session.StateLive {
			p.Rows = append(p.Rows, ownRow{row, row.ID == c.Session})
		}
	}
	if p.Ended != "" && p.Ended != "1" {
		p.Ended = "some" // whatever stands in the address is not repeated
	}
	o.render(v, http.StatusOK, p)
	return nil
}

func (o *Own) end(v *ownVisit) error {
	id, err := token.ParseSessionID(v.r.PathValue("id"))
	if err != nil {
		return session.ErrNotFound
	}
	row, err := o.Sessions.Session(v.r.Context(), id)
	if err != nil {
		return err
	}
	c := &v.caller.Claims
	if row.Tenant != c.Tenant || row.UserID != c.UserID {
		return session.ErrNotFound
	}
	if id != c.Session {
		if asked, err := o.asked(v); asked || err != nil {
			return err
		}
	}
	if _, err := o.Sessions.Revoke(v.r.Context(), id); err != nil {
		return err
	}
	if id == c.Session {
		o.Cookies.Clear(v.w.Header())
	}
	http.Redirect(v.w, v.r, o.Prefix+OwnPath+"sessions?ended=1", http.StatusSeeOther)
	return nil
}

// asked asks for the password where the policy wants it again, until it is right.
func (o *Own) asked(v *ownVisit) (bool, error) {
	if _, asked := o.Sessions.ToEndOthers(&v.caller.Claims); !asked {
		return false, nil
	}
	p := ownPage{Action: o.Prefix + v.r.URL.EscapedPath()}
	password := v.r.PostFormValue("password")
	if password == "" {
		o.render(v, http.StatusOK, p)
		return true, nil
	}
	err := o.Sessions.Prove(v.r.Context(), &v.caller, password)
	var limited *session.Limited
	status := http.StatusUnprocessableEntity
	switch {
	case errors.Is(err, session.ErrCredentials):
		p.Fault = "That is not your password."
	case errors.As(err, &limited):
		status, p.Fault = http.StatusTooManyRequests, "Too many wrong passwords. Wait a little and try again."
	default:
		return false, err
	}
	o.render(v, status, p)
	return true, nil
}

// endOthers ends all sessions of the user but this one.
func (o *Own) endOthers(v *ownVisit) error {
	if asked, err := o.asked(v); asked || err != nil {
		return err
	}
	c := &v.caller.Claims
	scope := session.Scope{Tenant: c.Tenant, UserID: c.UserID, Except: c.Session}
	if _, err := o.Sessions.EndUser(v.r.Context(), scope, session.LoggedOutAll, audit.LogoutAll); err != nil {
		return err
	}
	http.Redirect(v.w, v.r, o.Prefix+OwnPath+"sessions?ended=all", http.StatusSeeOther)
	return nil
}
