package client

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Tokens are what a session is on the client's side. Values are not changed
// once they are made.
type Tokens struct {
	// Gateway, Tenant and Account say whose tokens these are, so that a Store
	// never gives those of one user to another.
	Gateway string `json:"gateway"`
	Tenant  string `json:"tenant"`
	Account string `json:"account,omitempty"`
	// Access goes along with each request.
	Access string `json:"accessToken"`
	// Refresh gets the next tokens. It is empty where there is no such thing:
	// old FOLIO's access tokens do not end.
	Refresh string `json:"refreshToken,omitempty"`
	// Received and Lifetime say how long Access is good for. The span is what
	// counts: the clocks of server and client need not agree. Lifetime is 0
	// where nobody knows; the server's 401 tells then.
	Received time.Time     `json:"received"`
	Lifetime time.Duration `json:"lifetime,omitempty"`
	// InCookie is whether Refresh travels as FOLIO's cookie, or in the body.
	InCookie bool `json:"inCookie,omitempty"`
	// Client is the client of OAuth that Refresh was given to; empty for FOLIO's
	// own endpoints.
	Client string `json:"client,omitempty"`
	// Key is the private key that the tokens are bound to, PKCS #8 in base64url, or
	// "caller" where the program has it; empty for none.
	Key string `json:"key,omitempty"`
	// Cookies are what else the server wants back on its own endpoints, such
	// as the name that it gave to this device.
	Cookies map[string]string `json:"cookies,omitempty"`

	// bound is whether the server said that they are bound to a key.
	bound bool
}

// forgiving is whether Refresh says of itself that a second use does no harm:
// Counterfoil's tokens begin so. mod-authtoken ends every session of the user
// then.
func (t *Tokens) forgiving() bool { return strings.HasPrefix(t.Refresh, "cfrt_") }

// state is the tokens in use. Its address is its identity.
type state struct {
	*Tokens
	// kept is whether the Store had something when these were written to it,
	// and stored the refresh token there: theirs, or an older one if that
	// failed.
	kept   bool
	stored string
	// found is whether another process left these in the Store.
	found bool
	// due is when to renew ahead of time, end when Access is over; both are
	// zero where nobody knows.
	due, end time.Time
}

// newState sets the times. All clients of a server that logged in together
// would come back together, were there no chance in it.
func newState(t *Tokens, now time.Time) *state {
	s := &state{Tokens: t}
	if t.Lifetime <= 0 {
		return s
	}
	if t.Received.After(now) {
		// A file from before the clock was set back: what is left of the
		// lifetime is anybody's guess.
		s.due, s.end = now, now
		return s
	}
	part := 0.75 + rand.Float64()/10
	s.due = t.Received.Add(time.Duration(part * float64(t.Lifetime)))
	s.end = t.Received.Add(t.Lifetime)
	return s
}

func (s *state) isDue(now time.Time) bool { return !s.due.IsZero() && !now.Before(s.due) }

func (s *state) isOver(now time.Time) bool { return !s.end.IsZero() && !now.Before(s.end) }

// isShort is whether less than d is left, or than half of the lifetime.
func (s *state) isShort(now time.Time, d time.Duration) bool {
	return !s.end.IsZero() && s.end.Sub(now) < min(d, s.Lifetime/2)
}
