package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Device is a program that lets its user log in elsewhere (RFC 8628): on a
// screen without keyboard, or on a machine without browser. The client must be
// registered at the server, without a secret.
type Device struct {
	ClientID string
	// Scopes are asked for; none leaves it to the server.
	Scopes []string
	// Show tells the user where to go with which code. It is called once.
	Show func(DeviceCode)
}

// DeviceCode is what the user needs.
type DeviceCode struct {
	// UserCode is to be typed at Page. PageWithCode is that page with the code, to
	// be shown as a picture; empty where the server has none.
	UserCode, Page, PageWithCode string
	// For is how long the server waits.
	For time.Duration
}

// LogInDevice begins the session by Device in place of Login, and waits until
// the user has let it in. Once it is over, Login is not asked, unless there is
// one: call LogInDevice again on a Session of its own. The error is ctx's, a
// *SessionEnded if the user refused or did not come, or *RefreshUnavailable.
func (s *Session) LogInDevice(ctx context.Context, d Device) error {
	if err := s.init(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	t, err := s.logIn(func(g *Gateway) (*Tokens, error) { return d.wait(ctx, g) })
	if err != nil {
		return err
	}
	kept, unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s.save(ctx, t, kept)
	return nil
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

func (d *Device) wait(ctx context.Context, g *Gateway) (*Tokens, error) {
	form := url.Values{"client_id": {d.ClientID}}
	if len(d.Scopes) > 0 {
		form.Set("scope", strings.Join(d.Scopes, " "))
	}
	a, err := g.form(ctx, "/oauth2/device_authorization", form)
	if err != nil || !a.ok() {
		return Granted(a, err)
	}
	var asked struct {
		DeviceCode   string `json:"device_code"`
		UserCode     string `json:"user_code"`
		Page         string `json:"verification_uri"`
		PageWithCode string `json:"verification_uri_complete"`
		ExpiresIn    int64  `json:"expires_in"`
		Interval     int64  `json:"interval"`
	}
	if err := json.Unmarshal(a.Body, &asked); err != nil || asked.DeviceCode == "" || asked.UserCode == "" || asked.Page == "" {
		return nil, &RefreshUnavailable{Err: fmt.Errorf("%s answered %d without a code", a.path, a.Status)}
	}
	span, pause := time.Duration(min(max(asked.ExpiresIn, 1), 3600))*time.Second, 5*time.Second
	if asked.Interval > 0 {
		pause = time.Duration(min(asked.Interval, 60)) * time.Second
	}
	d.Show(DeviceCode{UserCode: asked.UserCode, Page: asked.Page, PageWithCode: asked.PageWithCode, For: span})
	form = url.Values{"client_id": {d.ClientID}, "grant_type": {deviceGrant}, "device_code": {asked.DeviceCode}}
	for begun := g.Now(); ; {
		if err := pauseFor(ctx, pause); err != nil {
			return nil, err
		}
		a, err := g.form(ctx, "/oauth2/token", form)
		code := ""
		if err == nil && !a.ok() {
			code = a.oauthError()
		}
		switch {
		case err == nil && a.ok():
			t, err := a.bearer()
			if err == nil {
				t.Client = d.ClientID
			}
			return t, err
		case g.Now().Sub(begun) >= span:
			return nil, &SessionEnded{ReasonCredentials, errors.New("nobody let the device in")}
		case code == "slow_down":
			pause += 5 * time.Second
		case code == "authorization_pending":
		default:
			_, err := Granted(a, err)
			var busy *RefreshUnavailable
			if !errors.As(err, &busy) {
				return nil, err
			}
			pause = max(pause, min(busy.RetryAfter, time.Minute)) // RFC 8628 section 3.5: no faster after a fault
		}
	}
}

// form posts parameters to an endpoint of OAuth.
func (g *Gateway) form(ctx context.Context, path string, form url.Values) (*Answer, error) {
	return g.send(ctx, path, "application/x-www-form-urlencoded", []byte(form.Encode()), func(*http.Request) {})
}

// refusedOAuth is what RFC 6749 section 5.2 has in an error, and Counterfoil
// beside it.
type refusedOAuth struct {
	Error  string `json:"error"`
	Reason string `json:"reason"`
	Heal   string `json:"heal"`
}

func (a *Answer) oauthError() string {
	var no refusedOAuth
	_ = json.Unmarshal(a.Body, &no) // what is no JSON names no error
	return no.Error
}

// refreshAsClient is refresh for tokens of a client of OAuth.
func (g *Gateway) refreshAsClient(ctx context.Context, t *Tokens, heal string) (*Tokens, error) {
	form := url.Values{"client_id": {t.Client}, "grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}}
	if heal != "" {
		form.Set("heal", heal)
	}
	a, err := g.form(ctx, "/oauth2/token", form)
	if err != nil {
		return nil, err
	}
	if !a.ok() {
		var no refusedOAuth
		_ = json.Unmarshal(a.Body, &no)
		if no.Reason == "superseded" {
			return nil, &superseded{heal: no.Heal}
		}
		err := a.failure(http.StatusBadRequest, http.StatusUnauthorized)
		var refused *refusal
		if errors.As(err, &refused) {
			refused.final = no.Reason == "ended"
		}
		return nil, err
	}
	next, err := a.bearer()
	if err != nil {
		return nil, err
	}
	if next.Refresh == "" { // the one that we have is to be kept
		next.Refresh = t.Refresh
	}
	next.Client, next.Key = t.Client, t.Key
	return next, nil
}

// revokeAsClient is logout for tokens of a client of OAuth (RFC 7009).
func (g *Gateway) revokeAsClient(ctx context.Context, t *Tokens) error {
	a, err := g.form(ctx, "/oauth2/revoke", url.Values{"client_id": {t.Client}, "token": {t.Refresh}})
	if err == nil && !a.ok() {
		err = a.failure(http.StatusBadRequest, http.StatusUnauthorized)
	}
	return err
}
