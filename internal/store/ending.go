package store

import (
	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// ending is how sessions end that no callback decides about.
type ending struct {
	why session.Reason
	by  string
	// event is written once for each session, with its id.
	event audit.Event
}

// kindOf is the event of a session that ended because something else did.
func kindOf(why session.Reason) audit.Kind {
	switch why {
	case session.RefreshReuse:
		return audit.RefreshReuse
	case session.Evicted:
		return audit.SessionEvicted
	}
	return audit.SessionRevoked
}

// evicted is the end of a session that had to leave.
var evicted = ending{why: session.Evicted, by: "session limit", event: audit.Event{
	Kind: audit.SessionEvicted, Reason: "the user had too many sessions, this one was idle the longest",
}}

// alsoEnded is the end of a user's other sessions because of what one of them
// suffered.
func alsoEnded(why session.Reason, by string) ending {
	return ending{why: why, by: by, event: audit.Event{Kind: kindOf(why), Reason: "another session of the user ended so"}}
}
