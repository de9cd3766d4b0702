package folio

import (
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// sessionView is a session as people see it. Nothing of it is secret.
type sessionView struct {
	ID       string        `json:"id"`
	UserID   string        `json:"userId"`
	Username string        `json:"username"`
	Client   string        `json:"client"`
	State    session.State `json:"state"`
	// Current is whether the caller's own token is of this session.
	Current      bool    `json:"current,omitzero"`
	LoginAddress string  `json:"loginAddress,omitempty"`
	UserAgent    string  `json:"userAgent,omitempty"`
	Created      instant `json:"created"`
	LastActivity instant `json:"lastActivity"`
	// Limit is when the session ends however busy it is.
	Limit     instant        `json:"absoluteExpiration"`
	Ended     instant        `json:"ended,omitzero"`
	EndReason session.Reason `json:"endReason,omitempty"`
	*detailView
}

// detailView is what tells when a session rotated.
type detailView struct {
	LastAddress string  `json:"lastAddress,omitempty"`
	Rotated     instant `json:"lastRotation"`
	Expires     instant `json:"idleExpiration"`
	Rotations   uint64  `json:"rotations"`
	Retries     uint64  `json:"retries"`
	EndedBy     string  `json:"endedBy,omitempty"`
}

// view shows a session. Of its own session a token must not learn when it
// rotated: whoever copied the token would ask again and again, and present his
// old refresh token within the grace window that follows. Therefore times are
// whole hours there, and there is nothing that changes with a rotation:
// neither counters, nor the sliding expiry, nor the address, which changes
// back when the owner comes after the thief.
func (h *Handler) view(row *session.Session, caller *session.Caller, own bool) sessionView {
	current := row.ID == caller.Claims.Session
	v := sessionView{
		ID: row.ID.String(), UserID: row.UserID, Username: row.Username, Client: row.Client,
		State: h.Sessions.StateOf(row, h.Now()), Current: current,
		LoginAddress: row.LoginAddress, UserAgent: row.UserAgent,
		Created: instant(row.CreatedAt), LastActivity: instant(row.LastActivity), Limit: instant(row.AbsoluteExpiry),
		Ended: instant(row.RevokedAt), EndReason: row.RevokedWhy,
	}
	if own || current {
		for _, t := range []*instant{&v.Created, &v.LastActivity, &v.Limit, &v.Ended} {
			*t = hour(*t)
		}
		return v
	}
	v.detailView = &detailView{
		LastAddress: row.LastAddress, Rotated: instant(row.RotatedAt), Expires: instant(h.Sessions.ExpiresAt(row)),
		Rotations: row.Gen - 1, Retries: row.Retries, EndedBy: row.RevokedBy,
	}
	return v
}

func hour(t instant) instant {
	if t.IsZero() {
		return t
	}
	return instant(time.Time(t).UTC().Truncate(time.Hour))
}

// timeline answers "why was I logged out?": the session, with how often it
// rotated and how often an answer was given again, and what else happened.
type timeline struct {
	Session sessionView `json:"session"`
	Events  []eventView `json:"events"`
}

type eventView struct {
	Time   instant           `json:"time"`
	Kind   audit.Kind        `json:"kind"`
	Reason string            `json:"reason,omitempty"`
	Actor  *actorView        `json:"actor,omitzero"`
	Detail map[string]string `json:"detail,omitempty"`
}

type actorView struct {
	Kind      string `json:"kind"`
	Name      string `json:"name,omitempty"`
	Address   string `json:"address,omitempty"`
	RequestID string `json:"requestId,omitempty"`
}

// showEvents is GET /authn/sessions/{id}/events.
func (h *Handler) showEvents(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	row, err := h.find(r, caller)
	if err != nil {
		return err
	}
	return h.writeTimeline(w, r, row, caller, false)
}

// showOwnEvents is GET /authn/sessions/_self/{id}/events.
func (h *Handler) showOwnEvents(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	row, err := h.findOwn(r, caller)
	if err != nil {
		return err
	}
	return h.writeTimeline(w, r, row, caller, true)
}

func (h *Handler) writeTimeline(w http.ResponseWriter, r *http.Request, row *session.Session, caller *session.Caller, own bool) error {
	events, err := h.Sessions.Timeline(r.Context(), row)
	if err != nil {
		return err
	}
	answer := timeline{Session: h.view(row, caller, own), Events: []eventView{}}
	coarse := answer.Session.detailView == nil
	present := h.Now().UTC().Truncate(time.Hour)
	for _, e := range events {
		shown := eventView{Time: instant(e.Time), Kind: e.Kind, Reason: e.Reason}
		if !coarse {
			shown.Actor = &actorView{e.Actor.Kind, e.Actor.Name, e.Actor.Address, e.Actor.RequestID}
			shown.Detail = e.Detail
		} else if shown.Time = hour(shown.Time); row.RevokedAt.IsZero() && !e.Time.Before(present) {
			// That something has just happened tells when, whatever its time
			// reads. An ended session has nothing to give away.
			continue
		}
		answer.Events = append(answer.Events, shown)
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}
