package audit

import "context"

// Actor is on whose behalf a request runs, and from where. It rides in the
// context, because every layer below may have to write it into an event, and
// nothing else of a request does.
type Actor struct {
	// Kind is "user", "module", "operator", "anonymous" or "system".
	Kind string
	// Name is the user name, the module id or the command that acts.
	Name string
	// UserID is the acting user's UUID, if there is one.
	UserID string
	// Address is the client's network address without port, as far as trusted
	// proxies tell it.
	Address string
	// UserAgent is the client's own claim, cut to 200 bytes.
	UserAgent string
	// RequestID is the chain of request ids that a caller can quote.
	RequestID string
}

// System acts where no request does: timers, sweeps, start-up.
var System = Actor{Kind: "system"}

type actorKey struct{}

// WithActor returns a context that carries a. The pointer lets an inner layer
// fill in who the caller turned out to be, for the log line of an outer one.
func WithActor(ctx context.Context, a *Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns the context's actor, or System's if there is none.
func ActorFrom(ctx context.Context) *Actor {
	if a, ok := ctx.Value(actorKey{}).(*Actor); ok {
		return a
	}
	system := System
	return &system
}
