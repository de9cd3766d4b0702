package session

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

const (
	// assertionTTL is how far ahead an assertion of a client may end: one that was
	// stolen is of use for no longer.
	assertionTTL = 5 * time.Minute
	// assertionLeeway is how much a client's clock may be ahead.
	assertionLeeway = 10 * time.Second
	spentAssertion  = "client_assertion"
)

// ProveClient is the client whose key has signed an assertion for one of the
// audiences (RFC 7523). An assertion is good once, on all nodes. It fails with
// ErrForbidden, whatever the reason, or ErrUnavailable.
func (s *Service) ProveClient(ctx context.Context, assertion string, audiences []string) (*Client, error) {
	id, err := token.AssertedSubject(assertion)
	if err != nil {
		return nil, ErrForbidden
	}
	c := s.Client(id)
	if c == nil || len(c.Keys) == 0 {
		return nil, ErrForbidden
	}
	a, err := token.OpenAssertion(assertion, c.Keys)
	now := s.Now()
	switch {
	case err != nil, a.Issuer != c.ID, a.Subject != c.ID, !slices.Contains(audiences, a.Audience):
		return nil, ErrForbidden
	case !now.Before(a.Expires), a.Expires.After(now.Add(assertionTTL + assertionLeeway)):
		return nil, ErrForbidden
	case a.IssuedAt.After(now.Add(assertionLeeway)), a.NotBefore.After(now.Add(assertionLeeway)):
		return nil, ErrForbidden
	case !a.IssuedAt.IsZero() && a.IssuedAt.Before(now.Add(-assertionTTL-assertionLeeway)):
		return nil, ErrForbidden
	}
	spent := sha256.Sum256([]byte(c.ID + "\x00" + a.ID))
	first, err := s.Spent.Spend(ctx, spentAssertion, spent[:], a.Expires.Add(time.Second))
	switch {
	case err != nil:
		return nil, err
	case !first:
		return nil, ErrForbidden
	}
	return c, nil
}
