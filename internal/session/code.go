package session

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/token"
)

// CodeReplayed is the end of a session whose code was redeemed twice.
const CodeReplayed Reason = "code_replayed"

// codeTTL is how long an authorization code is good for.
const codeTTL = time.Minute

// CodeBound is what an authorization code is good for: whoever redeems it must
// bring the same.
type CodeBound struct {
	Client, Redirect, Challenge string
	// Confirm is the key that a code is bound to (dpop_jkt, RFC 9449 section 10), if
	// it is bound to one. Whoever redeems it names the key that was proved, to
	// which the session is bound from then on.
	Confirm token.Confirmation
	// Nonce is for the ID token (OpenID Connect Core section 2). It is in the code,
	// and whoever redeems that need not know it.
	Nonce string
}

// Authorize proves a password and gives the code of a new session. It fails as
// Login does. The session is there before its code is redeemed, so that whoever
// redeems the code a second time finds what to end.
func (s *Service) Authorize(ctx context.Context, req LoginRequest, bound CodeBound) (string, error) {
	req.Client = bound.Client
	tokens, err := s.Login(ctx, req)
	if err != nil {
		return "", err
	}
	row, err := s.Store.Session(ctx, tokens.Session)
	if err != nil {
		return "", err
	}
	return s.mintCode(row, bound), nil
}

func (s *Service) mintCode(row *Session, bound CodeBound) string {
	code := s.Tokens.MintCode(row.Binding(), s.Now().Add(codeTTL), bound.fields()...)
	if bound.Nonce != "" {
		code += "." + base64.RawURLEncoding.EncodeToString([]byte(bound.Nonce))
	}
	return code
}

// MaxNonce bounds the nonce of a client, in bytes.
const MaxNonce = 200

// openCode takes the nonce out of a code.
func (s *Service) openCode(raw string) (code token.Code, nonce string, err error) {
	raw, after, found := strings.Cut(raw, ".")
	if found {
		text, err := base64.RawURLEncoding.Strict().DecodeString(after)
		if err != nil || len(text) == 0 || len(text) > MaxNonce {
			return code, "", token.ErrMalformed
		}
		nonce = string(text)
	}
	code, err = s.Tokens.OpenCode(raw)
	return code, nonce, err
}

func (b CodeBound) fields() []string {
	fields := []string{b.Client, b.Redirect, b.Challenge}
	if b.Nonce != "" {
		fields = append(fields, "nonce", b.Nonce)
	}
	if b.Confirm != "" {
		fields = append(fields, string(b.Confirm))
	}
	return fields
}

// matches is whether a code was made for a session and what is brought along. A
// code that is bound to no key is good with any, and a code of another key is as
// good as none: it ends nothing.
func (s *Service) matches(row *Session, code token.Code, bound CodeBound) bool {
	free := bound
	free.Confirm = ""
	return row.Client == bound.Client && (s.Tokens.CodeMatches(row.Binding(), code, bound.fields()...) ||
		s.Tokens.CodeMatches(row.Binding(), code, free.fields()...))
}

// Redeem gives tokens for a code, once, or *Refused. A code is used when its
// session leaves generation 1, under the row's lock: no second request gets
// there. What is not bound as the code is changes nothing; the same code again
// ends the session, however late.
func (s *Service) Redeem(ctx context.Context, raw string, bound CodeBound) (*Tokens, error) {
	code, nonce, err := s.openCode(raw)
	if err != nil {
		return nil, &Refused{}
	}
	bound.Nonce = nonce
	var row Session
	var granted, replayed bool
	var first time.Time
	err = s.retry(ctx, func() error {
		return s.Store.UpdateSession(ctx, code.Session, func(now time.Time, r *Session) Effects {
			defer func() { row = *r }()
			granted, replayed = false, false
			if !s.matches(r, code, bound) {
				return Effects{}
			}
			if !r.RevokedAt.IsZero() || s.memory.overRow(r) {
				return Effects{}
			}
			if r.Gen == 2 && r.RotatedAt.Equal(first) && !first.IsZero() {
				granted = true // committed before, and the answer to that was lost inside
				return Effects{}
			}
			if r.Gen != 1 {
				replayed = true
				r.RevokedAt, r.RevokedWhy, r.RevokedBy = now, CodeReplayed, "authorization code"
				return Effects{Save: true, Events: []audit.Event{event(ctx, audit.SessionRevoked, r, "its authorization code was redeemed again")}}
			}
			if !now.Before(code.Expires) {
				return Effects{}
			}
			granted, first = true, now
			r.Gen, r.RotatedAt, r.LastActivity, r.Confirm = 2, now, now, bound.Confirm
			return Effects{Save: true}
		})
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, &Refused{Final: true}
	case err != nil:
		return nil, err
	case replayed:
		s.Observe.SessionsEnded(CodeReplayed, 1)
		s.memory.end(row.ID, row.RevokedAt)
		return nil, &Refused{Outcome: Reused, Final: true}
	case !granted:
		return nil, &Refused{}
	}
	tokens, err := s.issue(&row, s.Policies.For(row.Tenant, row.Client, row.UserID), row.RotatedAt, true)
	if err == nil {
		tokens.Nonce = nonce
	}
	return tokens, err
}

// ClientTokens gives a client an access token of the user it stands for, with
// some of its scope and bound to a key if there is one, and no refresh token: it
// can ask again.
func (s *Service) ClientTokens(ctx context.Context, c *Client, scope string, confirm token.Confirmation) (*Tokens, error) {
	epoch := s.memory.epoch(c.Tenant, c.User)
	user, known, err := s.find(ctx, c.Tenant, "", c.User)
	switch {
	case err != nil:
		return nil, err
	case !known || !user.Active:
		return nil, ErrNotFound
	}
	tokens, err := s.create(ctx, proven{user, epoch}, LoginRequest{Client: c.ID, Scope: scope, Confirm: confirm})
	s.Observe.LoggedIn(loginResult(err))
	if err != nil {
		return nil, err
	}
	tokens.Refresh = ""
	return tokens, nil
}

// LogoutSession ends a session of a client by its id. One that is not there any
// more is no error.
func (s *Service) LogoutSession(ctx context.Context, id, client string) error {
	parsed, err := token.ParseSessionID(id)
	if err != nil {
		return nil
	}
	_, err = s.end(ctx, parsed, func(row *Session) bool { return row.Client == client }, LoggedOut, audit.Logout)
	return ignoreNotFound(err)
}

// LogoutClient ends the session of a client's token, refresh or access, and
// nothing else: RFC 7009. A token that is not the client's ends nothing.
func (s *Service) LogoutClient(ctx context.Context, raw, client string) error {
	if opened, err := s.Tokens.OpenRefresh(raw); err == nil {
		_, err := s.end(ctx, opened.Session, func(row *Session) bool {
			return row.Client == client && s.Tokens.RefreshMatches(row.Binding(), opened)
		}, LoggedOut, audit.Logout)
		return ignoreNotFound(err)
	}
	claims, err := s.Tokens.Verify(raw, s.Now(), token.KindAccess)
	if err != nil || claims.ClientID != client {
		return nil // RFC 7009 section 2.2: an invalid token is no error
	}
	_, err = s.end(ctx, claims.Session, func(*Session) bool { return true }, LoggedOut, audit.Logout)
	return ignoreNotFound(err)
}
