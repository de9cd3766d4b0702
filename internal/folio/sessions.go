package folio

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

const sessionsPath = "/authn/sessions"

// sessionPage is a page of sessions, newest first.
type sessionPage struct {
	Sessions []sessionView `json:"sessions"`
	// Next is the link of the next page.
	Next string `json:"next,omitempty"`
}

// listSessions lists sessions of the caller's tenant: GET /authn/sessions with
// userId, client, address, live=true, limit and cursor, all optional.
func (h *Handler) listSessions(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	filter, err := filterOf(r, "userId", "client", "address", "live", "limit", "cursor")
	if err != nil {
		return err
	}
	filter.Tenant = caller.Claims.Tenant
	return h.writePage(w, r, filter, caller, false)
}

// listOwn lists the caller's own sessions: GET /authn/sessions/_self.
func (h *Handler) listOwn(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	filter, err := filterOf(r, "live", "limit", "cursor")
	if err != nil {
		return err
	}
	filter.Tenant, filter.UserID = caller.Claims.Tenant, caller.Claims.UserID
	return h.writePage(w, r, filter, caller, true)
}

func (h *Handler) writePage(w http.ResponseWriter, r *http.Request, filter session.Filter, caller *session.Caller, own bool) error {
	page, err := h.Sessions.List(r.Context(), filter)
	if err != nil {
		return err
	}
	answer := sessionPage{Sessions: make([]sessionView, len(page.Sessions))}
	for i := range page.Sessions {
		answer.Sessions[i] = h.view(&page.Sessions[i], caller, own)
	}
	if page.Next != "" {
		query := r.URL.Query()
		query.Set("cursor", page.Next)
		answer.Next = h.Prefix + r.URL.Path + "?" + query.Encode()
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// showSession is GET /authn/sessions/{id}.
func (h *Handler) showSession(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	row, err := h.find(r, caller)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, h.view(row, caller, false))
	return nil
}

// endSession is DELETE /authn/sessions/{id}. It is idempotent.
func (h *Handler) endSession(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	row, err := h.find(r, caller)
	if err != nil {
		return err
	}
	return h.end(w, r, row)
}

// endOwn is DELETE /authn/sessions/_self/{id}.
func (h *Handler) endOwn(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	row, err := h.findOwn(r, caller)
	if err != nil {
		return err
	}
	if row.ID != caller.Claims.Session && h.challenged(w, r, caller) {
		return nil
	}
	return h.end(w, r, row)
}

// challenged is whether the policy wants another proof of who the caller is before
// others of his sessions end, and he was told so.
func (h *Handler) challenged(w http.ResponseWriter, r *http.Request, caller *session.Caller) bool {
	step, asked := h.Sessions.ToEndOthers(&caller.Claims)
	if asked {
		h.Challenge(w, r, session.EndOthers, step)
	}
	return asked
}

func (h *Handler) end(w http.ResponseWriter, r *http.Request, row *session.Session) error {
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	if _, err := h.Sessions.Revoke(r.Context(), row.ID); err != nil {
		return err
	}
	return h.reached(w, r, wait)
}

const longestWait = 30 * time.Second

// waitOf is how long a caller wants to wait until all nodes refuse the access
// tokens of what it ended; 0 is not at all.
func waitOf(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := session.ParseDuration(text)
	if err != nil || wait <= 0 || wait > longestWait {
		return 0, badQuery("wait must be a duration such as 2s, 30s at most")
	}
	return wait, nil
}

// reached answers an ending with nothing, or, to whoever waits, with how many
// of the live nodes know of it.
func (h *Handler) reached(w http.ResponseWriter, r *http.Request, wait time.Duration) error {
	if wait == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	reach, err := h.Sessions.Await(r.Context(), wait)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Reached      int   `json:"reached"`
		Live         int   `json:"live"`
		Milliseconds int64 `json:"milliseconds"`
	}{reach.Reached, reach.Live, reach.Took.Milliseconds()})
	return nil
}

// endSessions ends all sessions of one user: DELETE /authn/sessions?userId=.
// Without the user, or with anything beside it that was meant to narrow the
// choice, it is refused: it would end more than the caller wanted.
func (h *Handler) endSessions(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	filter, err := filterOf(r, "userId", "wait")
	if err != nil {
		return err
	}
	wait, err := waitOf(r)
	if err != nil {
		return err
	}
	if filter.UserID == "" {
		return badQuery("userId must name the user whose sessions end")
	}
	scope := session.Scope{Tenant: caller.Claims.Tenant, UserID: filter.UserID}
	if _, err := h.Sessions.EndUser(r.Context(), scope, session.RevokedByAdmin, audit.SessionRevoked); err != nil {
		return err
	}
	return h.reached(w, r, wait)
}

// endAllOwn ends all sessions of the caller, the present one too: DELETE
// /authn/sessions/_self.
func (h *Handler) endAllOwn(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	if _, err := filterOf(r); err != nil {
		return err
	}
	if h.challenged(w, r, caller) {
		return nil
	}
	if err := h.Sessions.LogoutUser(r.Context(), caller.Claims.Tenant, caller.Claims.UserID); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// find reads the session in the path. One of another tenant does not exist for
// the caller, or ids could be tried out across tenants.
func (h *Handler) find(r *http.Request, caller *session.Caller) (*session.Session, error) {
	id, err := token.ParseSessionID(r.PathValue("id"))
	if err != nil {
		return nil, session.ErrNotFound
	}
	row, err := h.Sessions.Session(r.Context(), id)
	if err != nil {
		return nil, err
	}
	if row.Tenant != caller.Claims.Tenant {
		return nil, session.ErrNotFound
	}
	return row, nil
}

// findOwn is find for a session of the caller's own.
func (h *Handler) findOwn(r *http.Request, caller *session.Caller) (*session.Session, error) {
	row, err := h.find(r, caller)
	if err == nil && row.UserID != caller.Claims.UserID {
		return nil, session.ErrNotFound
	}
	return row, err
}

// filterOf reads a query of which each name is known and comes once. A
// misspelt filter must not select everything.
func filterOf(r *http.Request, known ...string) (session.Filter, error) {
	var f session.Filter
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return f, badQuery("the query cannot be read")
	}
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			return f, badQuery(fmt.Sprintf("allowed are, once each: %q", known))
		}
		if err := setFilter(&f, name, values[0]); err != nil {
			return f, err
		}
	}
	return f, nil
}

func setFilter(f *session.Filter, name, value string) error {
	switch name {
	case "userId":
		id, err := uuid.Parse(value)
		if err != nil {
			return badQuery("userId must be a UUID")
		}
		f.UserID = id.String()
	case "client":
		f.Client = value
	case "address":
		f.Address = value
	case "cursor":
		f.Cursor = value
	case "live":
		live, err := strconv.ParseBool(value)
		if err != nil {
			return badQuery("live must be true or false")
		}
		f.Live = live
	case "limit":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 1000 {
			return badQuery("limit must be between 1 and 1000")
		}
		f.Limit = n
	}
	return nil
}

func badQuery(why string) *refusal {
	return listed(http.StatusBadRequest, "query.not.accepted", "Query not accepted: "+why)
}
