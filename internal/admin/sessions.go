package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// sessionView is a session as operators see one.
type sessionView struct {
	ID           string        `json:"id"`
	Tenant       string        `json:"tenant"`
	UserID       string        `json:"userId"`
	Username     string        `json:"username"`
	Client       string        `json:"client"`
	State        session.State `json:"state"`
	CreatedAt    time.Time     `json:"createdAt"`
	RotatedAt    time.Time     `json:"rotatedAt"`
	LastActivity time.Time     `json:"lastActivity"`
	ExpiresAt    time.Time     `json:"expiresAt"`
	Rotations    uint64        `json:"rotations"`
	Retries      uint64        `json:"retries"`
	LoginAddress string        `json:"loginAddress"`
	LastAddress  string        `json:"lastAddress"`
	UserAgent    string        `json:"userAgent"`
	// BoundTo is the key without which the session's tokens are worth nothing.
	BoundTo  string     `json:"boundTo,omitempty"`
	EndedAt  *time.Time `json:"endedAt,omitempty"`
	EndedWhy string     `json:"endedWhy,omitempty"`
	EndedBy  string     `json:"endedBy,omitempty"`
	// Why is a sentence, of one session alone.
	Why    string      `json:"why,omitempty"`
	Events []eventView `json:"events,omitempty"`
}

func (h *Handler) viewSession(row *session.Session) sessionView {
	v := sessionView{
		ID: row.ID.String(), Tenant: row.Tenant, UserID: row.UserID, Username: row.Username, Client: row.Client,
		State: h.Sessions.StateOf(row, h.Now()), CreatedAt: row.CreatedAt.UTC(), RotatedAt: row.RotatedAt.UTC(),
		LastActivity: row.LastActivity.UTC(), ExpiresAt: h.Sessions.ExpiresAt(row).UTC(),
		Rotations: row.Gen - 1, Retries: row.Retries,
		LoginAddress: row.LoginAddress, LastAddress: row.LastAddress, UserAgent: row.UserAgent, BoundTo: string(row.Confirm),
		EndedWhy: string(row.RevokedWhy), EndedBy: row.RevokedBy,
	}
	if !row.RevokedAt.IsZero() {
		at := row.RevokedAt.UTC()
		v.EndedAt = &at
	}
	return v
}

func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := number(r, "limit", 100, 1000)
	if err != nil {
		return err
	}
	if sort := q.Get("sort"); sort != "" && sort != "activity" && sort != "login" {
		return &problem{http.StatusBadRequest, "malformed", "sort is login or activity"}
	}
	filter := session.Filter{
		Tenant: q.Get("tenant"), UserID: q.Get("userId"), Client: q.Get("client"), Address: q.Get("address"),
		Live: q.Get("live") == "true", ByActivity: q.Get("sort") == "activity", Cursor: q.Get("cursor"), Limit: limit,
	}
	if name := q.Get("user"); name != "" {
		if filter.Tenant == "" {
			return &problem{http.StatusBadRequest, "malformed", "user needs tenant: names are unique within a tenant only"}
		}
		u, err := h.user(r.Context(), filter.Tenant, name)
		if err != nil {
			return err
		}
		filter.UserID = u.ID
	}
	page, err := h.Sessions.List(r.Context(), filter)
	if err != nil {
		return err
	}
	views := make([]sessionView, len(page.Sessions))
	for i := range page.Sessions {
		views[i] = h.viewSession(&page.Sessions[i])
	}
	return answer(w, http.StatusOK, map[string]any{"sessions": views, "next": page.Next})
}

func (h *Handler) showSession(w http.ResponseWriter, r *http.Request) error {
	id, err := sessionID(r)
	if err != nil {
		return err
	}
	row, err := h.Sessions.Session(r.Context(), id)
	if err != nil {
		return err
	}
	events, err := h.Sessions.Story(r.Context(), row)
	if err != nil {
		return err
	}
	v := h.viewSession(row)
	v.Why, v.Events = h.Sessions.Why(row, events), viewEvents(events)
	return answer(w, http.StatusOK, v)
}

func (h *Handler) revokeSession(w http.ResponseWriter, r *http.Request) error {
	id, err := sessionID(r)
	if err != nil {
		return err
	}
	return h.ending(w, r, func(ctx context.Context) (int, error) {
		ended, err := h.Sessions.Revoke(ctx, id)
		if ended {
			return 1, err
		}
		return 0, err
	})
}

// nodesView tells on how many of the live nodes an ending has effect.
type nodesView struct {
	Reached      int   `json:"reached"`
	Live         int   `json:"live"`
	Milliseconds int64 `json:"milliseconds"`
}

// How long an answer waits for the other nodes if the caller does not say, and
// at most.
const (
	defaultWait = 2 * time.Second
	longestWait = 30 * time.Second
)

// ending ends sessions and answers how many, and where access tokens of theirs
// are refused by now. Once they have ended, that is committed and holds on this
// node: a node that has not heard in time only shows in the answer. With wait=0s
// none is waited for.
func (h *Handler) ending(w http.ResponseWriter, r *http.Request, end func(context.Context) (int, error)) error {
	wait := defaultWait
	if text := r.URL.Query().Get("wait"); text != "" {
		var err error
		if wait, err = session.ParseDuration(text); err != nil || wait < 0 || wait > longestWait {
			return &problem{http.StatusBadRequest, "malformed", "wait must be a duration between 0s and 30s"}
		}
	}
	n, err := end(r.Context())
	if err != nil {
		return err
	}
	reach, err := h.Sessions.Await(r.Context(), wait)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, map[string]any{
		"ended": n, "nodes": nodesView{reach.Reached, reach.Live, reach.Took.Milliseconds()},
	})
}

func sessionID(r *http.Request) (token.SessionID, error) {
	id, err := token.ParseSessionID(r.PathValue("id"))
	if err != nil {
		return id, &problem{http.StatusBadRequest, "malformed", "a session's id is a UUID"}
	}
	return id, nil
}

// eventView is an event as operators see one.
type eventView struct {
	Seq       int64             `json:"seq"`
	Time      time.Time         `json:"time"`
	Kind      audit.Kind        `json:"kind"`
	Tenant    string            `json:"tenant,omitempty"`
	Session   string            `json:"session,omitempty"`
	UserID    string            `json:"userId,omitempty"`
	Actor     string            `json:"actor,omitempty"`
	Address   string            `json:"address,omitempty"`
	UserAgent string            `json:"userAgent,omitempty"`
	RequestID string            `json:"requestId,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Detail    map[string]string `json:"detail,omitempty"`
}

func viewEvents(events []audit.Event) []eventView {
	views := make([]eventView, len(events))
	for i, e := range events {
		actor := e.Actor.Name
		if actor == "" {
			actor = e.Actor.Kind
		}
		views[i] = eventView{
			Seq: e.Seq, Time: e.Time.UTC(), Kind: e.Kind, Tenant: e.Tenant, Session: e.Session, UserID: e.UserID,
			Actor: actor, Address: e.Actor.Address, UserAgent: e.Actor.UserAgent, RequestID: e.Actor.RequestID,
			Reason: e.Reason, Detail: e.Detail,
		}
	}
	return views
}

func (h *Handler) listEvents(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	limit, err := number(r, "limit", 100, 1000)
	if err != nil {
		return err
	}
	before, err := number(r, "before", 0, 1<<53)
	if err != nil {
		return err
	}
	since, err := moment(r, "since")
	if err != nil {
		return err
	}
	until, err := moment(r, "until")
	if err != nil {
		return err
	}
	events, err := h.Sessions.Events.Events(r.Context(), session.EventFilter{
		Tenant: q.Get("tenant"), UserID: q.Get("userId"), Session: q.Get("session"), Kind: audit.Kind(q.Get("kind")),
		Since: since, Until: until, Before: int64(before), Limit: limit,
	})
	if err != nil {
		return err
	}
	found := map[string]any{"events": viewEvents(events)}
	if len(events) == limit {
		found["before"] = events[limit-1].Seq // where the next page begins
	}
	return answer(w, http.StatusOK, found)
}
