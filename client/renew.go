package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"
)

// renewed returns tokens other than stale, which was found wanting. However
// many ask, one flight renews; who cannot wait leaves, and the flight goes on.
func (s *Session) renewed(ctx context.Context, stale *state) (*state, error) {
	for {
		if st := s.current(); st != stale && st != nil {
			if !s.isOver(st) {
				return st, nil
			}
			stale = st
		}
		if err := s.pausing(); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case landed := <-s.flights.DoChan("", s.flight(ctx, stale)):
			if landed.Err == errNoFlight {
				continue
			}
			if landed.Err != nil {
				return nil, landed.Err
			}
			// A flight that had set out for older tokens brings the very ones
			// that were found wanting; then another one is needed.
			if st := landed.Val.(*state); st != stale {
				return st, nil
			}
		}
	}
}

// renewAhead begins a renewal for which nobody waits.
func (s *Session) renewAhead(ctx context.Context, stale *state) {
	if s.pausing() == nil {
		s.flights.DoChan("", s.flight(ctx, stale))
	}
}

// errNoFlight is what Settle brings home when there was nothing to wait for.
var errNoFlight = errors.New("no renewal was under way")

// Settle waits for a renewal that is under way in the background. A program
// with a Store that is about to end calls it: tokens in an answer that nobody
// reads are lost, and at a plain FOLIO the session with them. The error is
// ctx's.
func (s *Session) Settle(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.flights.DoChan("", func() (any, error) { return nil, errNoFlight }):
		return nil
	}
}

// flight is one renewal. It keeps what the first caller's context carries and
// nothing of when it ends.
func (s *Session) flight(ctx context.Context, stale *state) func() (any, error) {
	return func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if err := s.take(ctx); err != nil {
			return nil, &RefreshUnavailable{Err: err}
		}
		defer s.release()
		if err := s.pausing(); err != nil {
			return nil, err
		}
		// Between finding stale wanting and this, another flight may have landed.
		if st := s.current(); st != stale && st != nil && !s.isOver(st) {
			return st, nil
		}
		st, err := s.renew(ctx, stale)
		if err != nil {
			err = typed(err)
			s.pause(err)
			return nil, err
		}
		return st, nil
	}
}

// typed makes one of the two errors of whatever a Login or Store returns.
func typed(err error) error {
	var ended *SessionEnded
	var busy *RefreshUnavailable
	if errors.As(err, &ended) || errors.As(err, &busy) {
		return err
	}
	return &RefreshUnavailable{Err: err}
}

// renew gets new tokens, in this order: those that another process left in the
// store, those for the newest refresh token, those of a new login. The store is
// locked all the while, and has the tokens before anybody uses them.
func (s *Session) renew(ctx context.Context, stale *state) (*state, error) {
	kept, unlock, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if kept != nil && (stale == nil || kept.Access != stale.Access) {
		if st := newState(kept, s.Now()); !st.isDue(s.Now()) {
			st.kept, st.stored, st.found = true, kept.Refresh, true
			return s.adopt(st), nil
		}
	}
	ended, t := s.why(), s.newest(kept)
	switch {
	case t == nil && stale != nil:
		ended = &SessionEnded{ReasonLoggedOut, errors.New("the store was emptied")}
	case t != nil && t.Refresh != "":
		next, err := s.exchange(ctx, t)
		if err == nil {
			return s.save(ctx, next, kept), nil
		}
		if ended = s.final(ctx, t, err); ended == nil {
			return nil, err
		}
	}
	if s.Login == nil {
		return nil, ended
	}
	next, err := persist(ctx, patience, true, func(ctx context.Context) (*Tokens, error) {
		return s.logIn(func(g *Gateway) (*Tokens, error) { return s.Login.LogIn(ctx, g) })
	})
	if err != nil {
		return nil, err
	}
	return s.save(ctx, next, kept), nil
}

// singleUse is whether the refresh token of t must be presented once, come
// what may.
func (s *Session) singleUse(t *Tokens) bool { return s.SingleUse || !t.forgiving() }

// begin notes that RefreshToken has done its service.
func (s *Session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
}

// newest is the newest tokens that we have: kept are those of the store. It is
// nil if there are none, or if another process logged out.
func (s *Session) newest(kept *Tokens) *Tokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	switch {
	case st == nil && kept != nil:
		return kept
	case st == nil && s.RefreshToken != "" && !s.begun:
		t := &Tokens{Refresh: s.RefreshToken}
		t.InCookie = !t.forgiving() // plain FOLIO takes no other way
		if s.DPoP != nil && s.DPoP.Key != nil {
			t.Key = callersKey
		}
		return t
	case st == nil, kept == nil && st.kept:
		return nil
	case kept == nil, kept.Refresh == st.stored && st.Refresh != st.stored:
		return st.Tokens // those in the store are older: ours could not be written
	}
	return kept
}

// exchange presents the refresh token of t, and after "superseded" the newer
// one together with the nonce that says: it was one of us.
func (s *Session) exchange(ctx context.Context, t *Tokens) (*Tokens, error) {
	next, err := s.present(ctx, t, "")
	var old *superseded
	if !errors.As(err, &old) {
		return next, err
	}
	newer := s.newer(ctx, t)
	if newer == nil {
		return nil, err
	}
	s.Log.InfoContext(ctx, "another process renewed the session")
	healing := *newer
	healing.Cookies = maps.Clone(newer.Cookies)
	if healing.Cookies == nil {
		healing.Cookies = map[string]string{}
	}
	maps.Copy(healing.Cookies, old.cookies)
	return s.present(ctx, &healing, old.heal)
}

// newer looks once more for another refresh token than that of t: a store may
// have no locks, and the one that it had may have been older than ours.
func (s *Session) newer(ctx context.Context, t *Tokens) *Tokens {
	if s.Store != nil {
		if kept, err := s.Store.Load(ctx); err == nil && kept != nil && s.owns(kept) && kept.Refresh != t.Refresh && kept.Refresh != "" {
			return kept
		}
	}
	if st := s.current(); st != nil && st.Refresh != t.Refresh && st.Refresh != "" {
		return st.Tokens
	}
	return nil
}

// present is one refresh. A token that forgives is presented again until there
// is an answer; any other is presented again only if nobody saw it.
func (s *Session) present(ctx context.Context, t *Tokens, heal string) (*Tokens, error) {
	each, repeat := attempt, true
	if s.singleUse(t) {
		each, repeat = patience, false
	}
	return persist(ctx, each, repeat, func(ctx context.Context) (*Tokens, error) {
		g, err := s.gatewayFor(t)
		if err != nil {
			return nil, err
		}
		return g.refresh(ctx, t, heal)
	})
}

// final says whether err ends the session of t, and why; nil is no. A token
// that must not be presented again is forgotten.
func (s *Session) final(ctx context.Context, t *Tokens, err error) error {
	var old *superseded
	var refused *refusal
	var busy *RefreshUnavailable
	switch {
	case errors.As(err, &busy):
		if busy.unserved || !s.singleUse(t) {
			return nil
		}
		return s.forget(ctx, &SessionEnded{ReasonLost, err})
	case errors.As(err, &old):
		return s.forget(ctx, &SessionEnded{Reason: ReasonSuperseded})
	case errors.As(err, &refused) && !refused.final && !s.singleUse(t):
		return &SessionEnded{ReasonNotNow, err}
	case errors.As(err, &refused):
		return s.forget(ctx, &SessionEnded{ReasonRefused, err})
	}
	return nil
}

// why is what became of a session of which there is nothing left.
func (s *Session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgot != nil {
		return s.forgot
	}
	return &SessionEnded{Reason: ReasonNoLogin}
}

// forget drops the refresh token, and returns why. The access token may be good
// for a while.
func (s *Session) forget(ctx context.Context, why *SessionEnded) error {
	s.mu.Lock()
	s.begun, s.forgot = true, why
	if st := s.state; st != nil {
		t := *st.Tokens
		t.Refresh = ""
		s.state = &state{Tokens: &t, due: st.due, end: st.end}
		if s.dead == st {
			s.dead = s.state
		}
	}
	s.mu.Unlock()
	if err := s.keep(ctx, nil); err != nil {
		s.Log.WarnContext(ctx, "a dead session stays in the store", "error", err)
	}
	return why
}

// open locks the store and reads it.
func (s *Session) open(ctx context.Context) (kept *Tokens, unlock func(), err error) {
	if s.Store == nil {
		return nil, func() {}, nil
	}
	if unlock, err = s.Store.Lock(ctx); err != nil {
		return nil, nil, err
	}
	kept, err = s.Store.Load(ctx)
	if err == nil && kept != nil && !s.owns(kept) {
		err = fmt.Errorf("the store holds a session of %q in tenant %q at %s: log it out, or use another store", kept.Account, kept.Tenant, kept.Gateway)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return kept, unlock, nil
}

func (s *Session) account() string {
	if s.Login == nil {
		return ""
	}
	return s.Login.Account()
}

// owns is whether tokens of the store are this session's.
func (s *Session) owns(t *Tokens) bool {
	account := s.account()
	return t.Gateway == s.gateway.URL && t.Tenant == s.Tenant && (t.Account == account || t.Account == "" || account == "")
}

// save keeps t and makes it the tokens in use. Tokens that cannot be stored
// are used all the same: they are the only ones that the server takes now.
func (s *Session) save(ctx context.Context, t, kept *Tokens) *state {
	own := *t
	own.Gateway, own.Tenant, own.Account = s.gateway.URL, s.Tenant, s.account()
	if own.Account == "" && kept != nil {
		own.Account = kept.Account
	}
	st := newState(&own, s.Now())
	if err := s.keep(ctx, &own); err != nil {
		s.Log.WarnContext(ctx, "the session is not stored, other processes cannot go on with it", "error", err)
		if kept != nil {
			st.kept, st.stored = true, kept.Refresh
		}
	} else if s.Store != nil {
		st.kept, st.stored = true, own.Refresh
	}
	s.begin()
	return s.adopt(st)
}

func (s *Session) keep(ctx context.Context, t *Tokens) error {
	if s.Store == nil {
		return nil
	}
	return s.Store.Save(context.WithoutCancel(ctx), t)
}

// persist asks again while nobody answers, within ctx. Unless repeat is set,
// only where the server did nothing.
func persist(ctx context.Context, each time.Duration, repeat bool, ask func(context.Context) (*Tokens, error)) (*Tokens, error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		once, cancel := context.WithTimeout(ctx, each)
		t, err := ask(once)
		cancel()
		var busy *RefreshUnavailable
		if !errors.As(err, &busy) || busy.settled || !repeat && !busy.unserved {
			return t, err
		}
		rest := max(busy.RetryAfter, wait/2+rand.N(wait/2))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= rest {
			return nil, err
		}
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}
