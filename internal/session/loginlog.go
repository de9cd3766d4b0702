package session

import (
	"context"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// ReportLogin notes what a module says about a user, as an event that cannot
// be taken for one of the program's own.
func (s *Service) ReportLogin(ctx context.Context, e audit.Event) error {
	e.Kind, e.Actor = audit.LoginReported, *audit.ActorFrom(ctx)
	return s.Events.AppendEvents(ctx, e)
}

// LoginLog reads a page of what happened to users, newest first, and how many
// there are, counted up to 10,000.
func (s *Service) LoginLog(ctx context.Context, f LogFilter) ([]audit.Event, int, error) {
	return s.Credentials.LoginLog(ctx, f)
}

// ClearLoginLog begins the login log of a user anew. The events themselves
// stay: an audit log that whoever is in it can empty is none.
func (s *Service) ClearLoginLog(ctx context.Context, tenant, userID string) error {
	return s.Events.AppendEvents(ctx, account(ctx, audit.LoginLogCleared, tenant, userID))
}
