package session

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The names of the cookies. The first two are FOLIO's.
const (
	AccessCookie  = "folioAccessToken"
	RefreshCookie = "folioRefreshToken"
	DeviceCookie  = "counterfoilDevice"
	// HealCookie is followed by the number of its slot, 0 to 3.
	HealCookie = "counterfoilHeal"
)

// deviceFor is how long a browser keeps the device cookie; browsers allow no
// more than 400 days.
const deviceFor = 400 * 24 * time.Hour

// ErrCookies is a Cookie header that a client must not send.
var ErrCookies = errors.New("a token cookie came more than once")

// Cookies is how a session travels in a browser. One type sets and clears, so
// that a cookie is always cleared with the path with which it was set.
type Cookies struct {
	// Prefix is the path of the public URL without trailing slash: FOLIO
	// behind a proxy is often /okapi.
	Prefix string
	// SameSite is Lax if zero.
	SameSite http.SameSite
	// Insecure leaves out Secure, for clients that do not send such cookies to
	// a plain http://localhost.
	Insecure bool
}

// Set writes the cookies of t. The refresh cookie is left alone where t
// carries no refresh token.
func (c Cookies) Set(h http.Header, t *Tokens) {
	c.add(h, AccessCookie, t.Access, "/", until(t.Issued, t.AccessExpires), t.AccessExpires)
	if t.Refresh != "" {
		c.add(h, RefreshCookie, t.Refresh, "/authn", until(t.Issued, t.RefreshExpires), t.RefreshExpires)
	}
	if t.Device != "" {
		c.add(h, DeviceCookie, t.Device, "/", int(deviceFor/time.Second), t.Issued.Add(deviceFor))
	}
}

// SetHeal writes the nonce with which the owner of the newest token closes a
// strike.
func (c Cookies) SetHeal(h http.Header, r *Refused, now time.Time) {
	name := HealCookie + strconv.Itoa(r.HealSlot)
	c.add(h, name, r.Heal, "/authn", until(now, now.Add(r.HealFor)), now.Add(r.HealFor))
}

// Clear makes the browser forget both tokens. The device cookie stays.
func (c Cookies) Clear(h http.Header) {
	c.add(h, AccessCookie, "", "/", -1, time.Unix(0, 0))
	c.add(h, RefreshCookie, "", "/authn", -1, time.Unix(0, 0))
}

func (c Cookies) add(h http.Header, name, value, path string, maxAge int, expires time.Time) {
	sameSite := c.SameSite
	if sameSite == 0 {
		sameSite = http.SameSiteLaxMode
	}
	cookie := http.Cookie{
		Name: name, Value: value, Path: c.Prefix + path, MaxAge: maxAge, Expires: expires.UTC(),
		HttpOnly: true, Secure: !c.Insecure, SameSite: sameSite,
	}
	h.Add("Set-Cookie", cookie.String())
}

// until rounds up to whole seconds, where the expiry told in JSON rounds down:
// a client that looks at the JSON never finds its cookie gone first.
func until(from, to time.Time) int {
	return max(1, int((to.Sub(from)+time.Second-1)/time.Second))
}

// Jar is what a request's Cookie headers hold of ours.
type Jar struct {
	Access, Refresh, Device string
	Heals                   []string
}

// ReadCookies collects our cookies. It fails with ErrCookies if one came
// twice: a sibling host can plant a second cookie of the same name, and
// whichever we took could be the wrong one.
func ReadCookies(r *http.Request) (Jar, error) {
	var jar Jar
	for _, c := range r.Cookies() {
		into := (*string)(nil)
		switch c.Name {
		case AccessCookie:
			into = &jar.Access
		case RefreshCookie:
			into = &jar.Refresh
		case DeviceCookie:
			into = &jar.Device
		default:
			if slot, ours := strings.CutPrefix(c.Name, HealCookie); ours && len(slot) == 1 && len(jar.Heals) < MaxStrikes {
				jar.Heals = append(jar.Heals, c.Value)
			}
			continue
		}
		if *into != "" {
			return Jar{}, ErrCookies
		}
		*into = c.Value
	}
	return jar, nil
}

// PathPrefix returns the path of a public URL as cookies and links need it:
// without trailing slash, empty for none.
func PathPrefix(publicURL string) (string, error) {
	u, err := url.Parse(publicURL)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(u.Path, "/"), nil
}
