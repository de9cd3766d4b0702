package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// The ways in which the token of a link that sets a password is refused.
var (
	// ErrLinkInvalid is what no link of ours can have, or whose user is gone.
	ErrLinkInvalid = errors.New("the link is not valid")
	// ErrLinkExpired is a link whose time is over.
	ErrLinkExpired = errors.New("the link has expired")
	// ErrLinkUsed is a link that was used, or replaced by a newer one.
	ErrLinkUsed = errors.New("the link was used, or replaced by a newer one")
)

// DefaultLinkTTL is how long a link that sets a password holds.
const DefaultLinkTTL = 15 * time.Minute

// linkPrefix tells people and scanners for leaked secrets what they found.
const linkPrefix = "cfpl_"

// linkSize is that of the action's id and of the secret, in bytes.
const linkSize = 16 + 32

// Link is the token of a link that sets a password once. It is the only copy:
// what is stored is its hash.
type Link struct {
	Token   string
	User    directory.User
	Expires time.Time
	// First is whether the user has no password yet.
	First bool
}

// NewLink gives out the right to set a user's password once, in place of any
// former one. It fails with directory.ErrNotFound.
func (s *Service) NewLink(ctx context.Context, tenant, userID string, ttl time.Duration) (*Link, error) {
	user, err := s.Users.User(ctx, tenant, userID)
	if err != nil {
		return nil, err
	}
	id := uuid.New()
	raw := append(make([]byte, 0, linkSize), id[:]...)
	raw = raw[:linkSize]
	_, _ = rand.Read(raw[len(id):]) // never fails since Go 1.24
	link := &Link{Token: linkPrefix + base64.RawURLEncoding.EncodeToString(raw), User: user, Expires: s.Now().Add(ttl).Truncate(time.Second)}
	a := PasswordAction{Tenant: tenant, ID: id.String(), UserID: user.ID, Expires: link.Expires, Secret: sha256.Sum256([]byte(link.Token))}
	has, err := s.Credentials.SaveAction(ctx, a, linkEvent(ctx, &a))
	link.First = !has
	return link, err
}

// linkEvent names the action, which is no secret.
func linkEvent(ctx context.Context, a *PasswordAction) audit.Event {
	e := account(ctx, audit.PasswordLink, a.Tenant, a.UserID)
	e.Detail = map[string]string{"action": a.ID}
	return e
}

// OpenLink tells whether the token of a link still holds, without using it up.
func (s *Service) OpenLink(ctx context.Context, tenant, raw string) error {
	_, err := s.openLink(ctx, tenant, raw)
	return err
}

// UseLink sets the password that a link is for, and ends all sessions of the
// user. Of many who try with one link, one succeeds; the others hear
// ErrLinkUsed. A password that is refused leaves the link as it was.
func (s *Service) UseLink(ctx context.Context, tenant, raw, password string) (user directory.User, first bool, err error) {
	a, err := s.openLink(ctx, tenant, raw)
	if err != nil {
		return user, false, err
	}
	if user, err = s.Users.User(ctx, tenant, a.UserID); err != nil {
		return user, false, err
	}
	first, err = s.useAction(ctx, a, password)
	if errors.Is(err, ErrNotFound) {
		err = ErrLinkUsed
	}
	return user, first, err
}

func (s *Service) openLink(ctx context.Context, tenant, raw string) (a PasswordAction, err error) {
	encoded, ok := strings.CutPrefix(raw, linkPrefix)
	if !ok || len(encoded) != base64.RawURLEncoding.EncodedLen(linkSize) {
		return a, ErrLinkInvalid
	}
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return a, ErrLinkInvalid
	}
	a, err = s.Credentials.Action(ctx, tenant, uuid.UUID(bytes[:16]).String())
	if errors.Is(err, ErrNotFound) {
		return a, ErrLinkUsed
	}
	if err != nil {
		return a, err
	}
	hash := sha256.Sum256([]byte(raw))
	if subtle.ConstantTimeCompare(hash[:], a.Secret[:]) != 1 {
		return a, ErrLinkInvalid
	}
	if !s.Now().Before(a.Expires) {
		return a, ErrLinkExpired
	}
	if _, err := s.Users.User(ctx, tenant, a.UserID); errors.Is(err, directory.ErrNotFound) {
		return a, ErrLinkInvalid
	} else if err != nil {
		return a, errors.Join(ErrUnavailable, err)
	}
	return a, nil
}

// FindUsers finds users by id, name or e-mail address, as people tell them who
// have forgotten the rest. More than one match is nobody in particular.
func (s *Service) FindUsers(ctx context.Context, tenant, who string) ([]directory.User, error) {
	if who == "" {
		return nil, nil
	}
	found, err := s.Credentials.FindUsers(ctx, tenant, who, 2)
	if err != nil || len(found) > 0 {
		return found, err
	}
	// Users may be kept elsewhere, where only ids and names can be asked for.
	id := ""
	if parsed, err := uuid.Parse(who); err == nil {
		id = parsed.String()
	}
	user, known, err := s.find(ctx, tenant, who, id)
	if err != nil || !known {
		return nil, err
	}
	return []directory.User{user}, nil
}
