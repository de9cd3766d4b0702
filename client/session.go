package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// patience is how long one renewal goes on asking a server that does not
	// answer or is busy.
	patience = 30 * time.Second
	// attempt is how long one refresh waits for its answer. The next one must
	// come within the 10 s for which Counterfoil gives the same successor to
	// whoever lost it.
	attempt = 8 * time.Second
	// carefulFor is how long a request that cannot be repeated waits for a
	// better token than the living one.
	carefulFor = 2 * time.Second
	// firstRest and longestRest bound the pause after a refusal, which doubles
	// each time.
	firstRest, longestRest = 30 * time.Second, 10 * time.Minute
)

// Session keeps one login alive. Fill in the fields and use it from as many
// goroutines as there are; there is nothing to close. It must not be copied,
// and its fields not changed, after first use.
type Session struct {
	// BaseURL is the gateway, with its path if it has one, such as
	// https://folio.example.org/okapi.
	BaseURL string
	Tenant  string
	// Login begins the session and begins anew when it is over. Without one,
	// there must be a RefreshToken or something in the Store.
	Login Login
	// RefreshToken is one that was got elsewhere. It counts only while the
	// Store has nothing.
	RefreshToken string
	// Store keeps the tokens between runs and shares them between processes.
	// Nil keeps them in memory.
	Store Store
	// SingleUse is for a Counterfoil whose policy is FOLIO-exact: a refresh
	// token is not presented again where the answer got lost. For plain FOLIO
	// it need not be set.
	SingleUse bool
	// Elevate is asked for the user's password where the gateway wants it again
	// for what a request needs, which is then sent once more with a token for
	// that alone. Nil gives *ElevationRequired to whoever sent the request.
	Elevate func(context.Context, *ElevationRequired) (password string, err error)
	// DPoP, if not nil, binds sessions that begin to a key. Those of a Store stay as
	// they are until they end.
	DPoP *DPoP
	// HTTP is for log in, refresh and log out; nil is a client with a
	// connection for each. It must not use a Transport of this session.
	HTTP *http.Client
	// Now is the clock; nil is time.Now. Only the time that passes on it
	// counts, not what it shows.
	Now func() time.Time
	// Log is told what nobody is returned as an error; nil is silence.
	Log *slog.Logger

	once    sync.Once
	bad     error // of the fields above
	base    *url.URL
	gateway *Gateway
	flights singleflight.Group
	// turn is held by whoever changes the session: one refresh or logout.
	turn chan struct{}

	proving sync.Mutex
	prover  *prover // of the key that was used last

	mu    sync.Mutex
	state *state // nil before the first tokens
	// dead is the state whose access token the gateway refused, whatever the
	// clock says.
	dead *state
	// begun is whether RefreshToken was used.
	begun bool
	// forgot is why there is no refresh token any more.
	forgot *SessionEnded
	// over is set for good by Logout.
	over *SessionEnded
	// Until resting ends, refused is the answer to every renewal.
	refused error
	resting time.Time
	rest    time.Duration
}

// init reads the fields, once.
func (s *Session) init() error {
	s.once.Do(func() {
		s.turn = make(chan struct{}, 1)
		if s.Now == nil {
			s.Now = time.Now
		}
		if s.Log == nil {
			s.Log = slog.New(slog.DiscardHandler)
		}
		if s.base, s.bad = endpoint(s.BaseURL); s.bad != nil {
			return
		}
		if s.Tenant == "" {
			s.bad = errors.New("client: Session needs a Tenant")
			return
		}
		s.gateway = &Gateway{URL: s.base.String(), Tenant: s.Tenant, HTTP: s.plainHTTP(), Now: s.Now}
	})
	return s.bad
}

// plainHTTP is HTTP without what would carry tokens elsewhere. The default
// has no idle connections: one that breaks under a refresh makes its answer
// uncertain, and that is what costs sessions.
func (s *Session) plainHTTP() *http.Client {
	plain := &http.Client{}
	if s.HTTP != nil {
		*plain = *s.HTTP
	} else {
		transport := ownTransport()
		transport.DisableKeepAlives = true
		plain.Transport = transport
	}
	plain.Jar = nil
	plain.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return plain
}

// ownTransport is like http.DefaultTransport, which a program may have
// replaced by anything: by a Transport of this session, for instance.
func ownTransport() *http.Transport {
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		return standard.Clone()
	}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true}
}

// Client returns a client whose requests to the gateway carry the session.
func (s *Session) Client() *http.Client {
	t := &Transport{Session: s}
	if s.HTTP != nil {
		t.Base = s.HTTP.Transport
	}
	return &http.Client{Transport: t}
}

// Token returns an access token that has not ended, for whoever does not use
// Transport. It renews what must be renewed first; the error is ctx's, or a
// *SessionEnded or *RefreshUnavailable.
func (s *Session) Token(ctx context.Context) (string, error) {
	st, err := s.token(ctx, false)
	if err != nil {
		return "", err
	}
	return st.Access, nil
}

// TokenFor is Token for whoever cannot come back for another one: the token is
// good for d, or for half of its life where that is shorter. If the server
// cannot renew it within two seconds, it is whatever has not ended.
func (s *Session) TokenFor(ctx context.Context, d time.Duration) (string, error) {
	st, err := s.token(ctx, true)
	if err == nil && st.isShort(s.Now(), d) {
		st, err = s.renewedSoon(ctx, st)
	}
	if err != nil {
		return "", err
	}
	return st.Access, nil
}

// Refused says that the gateway refused a token that Token returned, whatever
// the clock says: the next Token is another one. Transport does so itself.
func (s *Session) Refused(token string) {
	if st := s.current(); st != nil && st.Access == token {
		s.bury(st)
	}
}

// token is Token. Whoever is careful does not leave with a token that may end
// on the way.
func (s *Session) token(ctx context.Context, careful bool) (*state, error) {
	if err := s.init(); err != nil {
		return nil, err
	}
	st, now := s.current(), s.Now()
	switch {
	case st == nil || s.isOver(st):
		return s.renewed(ctx, st)
	case !st.isDue(now):
		return st, nil
	case careful:
		return s.renewedSoon(ctx, st)
	}
	s.renewAhead(ctx, st)
	return st, nil
}

// renewedSoon waits a little for better tokens than st, which is still good.
func (s *Session) renewedSoon(ctx context.Context, st *state) (*state, error) {
	soon, cancel := context.WithTimeout(ctx, carefulFor)
	defer cancel()
	next, err := s.renewed(soon, st)
	if err != nil && ctx.Err() == nil && !s.isOver(st) {
		return st, nil
	}
	return next, err
}

// current is the state in use, nil before there is one and after a logout.
func (s *Session) current() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return nil
	}
	return s.state
}

// isOver is whether st's access token has ended, by the clock or because the
// gateway said so.
func (s *Session) isOver(st *state) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return st == s.dead || st.isOver(s.Now())
}

// bury notes that the gateway refused st's access token.
func (s *Session) bury(st *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st == s.state {
		s.dead = st
	}
}

// adopt makes st the tokens in use.
func (s *Session) adopt(st *state) *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.refused, s.rest, s.forgot = st, nil, 0, nil
	return st
}

// pausing returns the error of a pause that has not ended.
func (s *Session) pausing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil {
		return s.over
	}
	if s.refused != nil && s.Now().Before(s.resting) {
		return s.refused
	}
	return nil
}

// pause keeps err as the answer for a while. A refusal's pauses become longer:
// asking on with a wrong password locks accounts. One for a server that is not
// there is short.
func (s *Session) pause(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var busy *RefreshUnavailable
	span := time.Second
	if errors.As(err, &busy) {
		span = min(max(span, busy.RetryAfter), time.Minute)
	} else {
		s.rest = min(max(2*s.rest, firstRest), longestRest)
		span = s.rest
	}
	s.refused, s.resting = err, s.Now().Add(span)
}

// Logout ends the session at the server and empties the Store. It waits for a
// renewal in flight and may be repeated. After an error the session may still
// be alive; after nil it is over, and this Session with it.
func (s *Session) Logout(ctx context.Context) error {
	if err := s.init(); err != nil {
		return err
	}
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	s.mu.Lock()
	done := s.over != nil
	s.mu.Unlock()
	if done {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	kept, unlock, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if t := s.newest(kept); t != nil && t.Refresh != "" {
		alive := !newState(t, s.Now()).isOver(s.Now())
		_, err := persist(ctx, patience, true, func(ctx context.Context) (*Tokens, error) {
			g, err := s.gatewayFor(t)
			if err != nil {
				return nil, err
			}
			return t, g.logout(ctx, t, alive)
		})
		if err != nil {
			return fmt.Errorf("client: log out: %w", err)
		}
	}
	if err := s.keep(ctx, nil); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.over = nil, &SessionEnded{Reason: ReasonLoggedOut}
	return nil
}

func (s *Session) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) release() { <-s.turn }
