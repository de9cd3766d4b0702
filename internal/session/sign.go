package session

import (
	"context"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
)

// SignFor gives the tokens of a new session without a password, to a module
// that has proved by its own means who the user is. The user is named by id.
// username must be the name of the same user; mod-login gives the id again
// where it knows no name. SignFor fails with ErrNotFound for a user who does
// not exist or is not active, with ErrInvalid if id and name do not belong
// together, and with ErrUnavailable.
//
// The address of the session is the module's, so that binding "subnet" or
// "device" refuses to refresh it from anywhere else: whoever lets modules sign
// leaves the binding off.
func (s *Service) SignFor(ctx context.Context, tenant, userID, username string) (*Tokens, error) {
	if userID == "" {
		return nil, fmt.Errorf("%w: a user id is needed, a name can be given to another user", ErrInvalid)
	}
	epoch := s.memory.epoch(tenant, userID)
	user, known, err := s.find(ctx, tenant, username, userID)
	switch {
	case err != nil:
		return nil, err
	case !known || !user.Active:
		return nil, fmt.Errorf("active user: %w", ErrNotFound)
	case username != userID && !sameName(username, user.Username):
		return nil, fmt.Errorf("%w: user id and user name belong to different users", ErrInvalid)
	}
	// The session is the user's, and create notes so in its actor. The request
	// stays the module's.
	actor := *audit.ActorFrom(ctx)
	tokens, err := s.create(audit.WithActor(ctx, &actor), proven{user, epoch}, LoginRequest{Client: ClientAPI})
	s.Observe.LoggedIn(loginResult(err))
	return tokens, err
}

func sameName(a, b string) bool {
	first, err := directory.NormalName(a)
	second, err2 := directory.NormalName(b)
	return err == nil && err2 == nil && first == second
}
