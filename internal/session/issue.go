package session

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// issue mints an access token of the session's generation and, if asked, the
// refresh token of the same.
func (s *Service) issue(row *Session, policy Policy, now time.Time, refresh bool) (*Tokens, error) {
	t := &Tokens{
		Session: row.ID, Tenant: row.Tenant, UserID: row.UserID, Username: row.Username, Issued: now,
		Scope:          s.ScopeOf(row.Client, row.Scope),
		RefreshExpires: row.Expires(policy.Idle, row.AbsoluteExpiry).Truncate(time.Second),
		AccessExpires:  accessExpiry(policy, row.AbsoluteExpiry, now),
		Confirm:        row.Confirm,
	}
	t.OpenID, t.AuthTime = slices.Contains(strings.Fields(row.Scope), ScopeOpenID), s.provenAt(row)
	var err error
	t.Access, err = s.Tokens.Mint(token.Claims{
		Kind: token.KindAccess, Tenant: row.Tenant, Subject: row.Username, UserID: row.UserID,
		ClientID: row.Client, Session: row.ID, Gen: row.Gen,
		TenantEpoch: row.TenantEpoch, UserEpoch: row.UserEpoch,
		IssuedAt: now, Expires: t.AccessExpires, AuthTime: s.provenAt(row),
		Scope: row.Scope, Confirm: row.Confirm,
	})
	if err != nil {
		return nil, err
	}
	if refresh {
		t.Refresh = s.Tokens.MintRefresh(row.Binding(), row.Gen)
	}
	return t, nil
}

// provenAt is when the user of a session proved who he is; zero if nobody did,
// because a client stands for him. No policy may take that for a fresh proof.
func (s *Service) provenAt(row *Session) time.Time {
	if c := s.Client(row.Client); c != nil && c.User == row.UserID && c.May(GrantCredentials) {
		return time.Time{}
	}
	return row.CreatedAt
}

// accessExpiry cuts a lifetime at random, so that nobody can tell from one
// refresh when its owner will make the next.
func accessExpiry(policy Policy, absolute, now time.Time) time.Time {
	cut := time.Duration(rand.Float64() * policy.Jitter * float64(policy.AccessTTL))
	expires := now.Add(policy.AccessTTL - cut).Truncate(time.Second)
	if earliest := now.Truncate(time.Second).Add(time.Second); expires.Before(earliest) {
		expires = earliest
	}
	if expires.After(absolute) {
		return absolute.Truncate(time.Second)
	}
	return expires
}
