package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// pageSize is how many rows a page has.
const pageSize = 50

// sessionRow is a session in a list.
type sessionRow struct {
	*session.Session
	State   session.State
	Expires time.Time
}

func (h *Handler) row(s *session.Session) sessionRow {
	return sessionRow{s, h.Sessions.StateOf(s, h.Now()), h.Sessions.ExpiresAt(s)}
}

// sessionList is the page of sessions.
type sessionList struct {
	Tenants                             []directory.Tenant
	Tenant, User, Client, Address, Show string
	Rows                                []sessionRow
	Next                                string
	// Problem is why nothing was looked for.
	Problem string
}

func (h *Handler) sessions(v *visit) error {
	q := v.r.URL.Query()
	list := sessionList{Tenant: q.Get("tenant"), User: strings.TrimSpace(q.Get("user")), Client: q.Get("client"), Address: strings.TrimSpace(q.Get("address")), Show: q.Get("show")}
	var err error
	if list.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
	}
	filter := session.Filter{
		Tenant: list.Tenant, Client: list.Client, Address: list.Address, Live: list.Show != "all", Cursor: q.Get("cursor"), Limit: pageSize,
	}
	if list.User != "" {
		u, err := h.find(v.r.Context(), list.Tenant, list.User)
		switch {
		case list.Tenant == "":
			list.Problem = "Choose the tenant of the user: names are unique within a tenant only."
		case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
			list.Problem = "There is no such user in this tenant."
		case err != nil:
			return err
		}
		filter.UserID = u.ID
	}
	if list.Problem == "" {
		found, err := h.Sessions.List(v.r.Context(), filter)
		if err != nil {
			return err
		}
		for i := range found.Sessions {
			list.Rows = append(list.Rows, h.row(&found.Sessions[i]))
		}
		list.Next = found.Next
	}
	if v.r.Header.Get("HX-Target") == "found" {
		return h.part(v, "sessions", "found", list)
	}
	return h.render(v, "sessions", list)
}

// find finds a user by id or by name, because people know names.
func (h *Handler) find(ctx context.Context, tenant, user string) (directory.User, error) {
	if tenant == "" {
		return directory.User{}, directory.ErrNotFound
	}
	if id, err := uuid.Parse(user); err == nil {
		u, err := h.Users.User(ctx, tenant, id.String())
		if !errors.Is(err, directory.ErrNotFound) {
			return u, err
		}
	}
	return h.Users.UserByName(ctx, tenant, user)
}

// sessionPage is one session with its story.
type sessionPage struct {
	sessionRow
	Why   string
	Story []audit.Event
}

func (h *Handler) session(v *visit) error {
	row, err := h.sessionOf(v)
	if err != nil {
		return err
	}
	story, err := h.Sessions.Story(v.r.Context(), row)
	if err != nil {
		return err
	}
	return h.render(v, "session", sessionPage{h.row(row), h.Sessions.Why(row, story), story})
}

func (h *Handler) sessionOf(v *visit) (*session.Session, error) {
	id, err := token.ParseSessionID(v.r.PathValue("id"))
	if err != nil {
		return nil, errNotFound
	}
	return h.Sessions.Session(v.r.Context(), id)
}

// done tells what was done, and how far it has come.
type done struct {
	Text string
	// Back is the page to go on from, and BackName its name.
	Back, BackName string
	// Reached of Live nodes refuse the access tokens by now.
	Reached, Live int
	Took          time.Duration
}

// awaited is how long a page waits for the other nodes.
const awaited = 2 * time.Second

func (h *Handler) ended(v *visit, n int, back, name string) error {
	reach, err := h.Sessions.Await(v.r.Context(), awaited)
	if err != nil {
		return err
	}
	return h.render(v, "done", done{count(n, "session") + " ended.", back, name, reach.Reached, reach.Live, reach.Took.Round(time.Millisecond)})
}

func (h *Handler) endSession(v *visit) error {
	row, err := h.sessionOf(v)
	if err != nil {
		return err
	}
	ended, err := h.Sessions.Revoke(v.r.Context(), row.ID)
	if err != nil {
		return err
	}
	if !ended {
		return &fault{http.StatusConflict, "The session was over already."}
	}
	return h.ended(v, 1, Path+"sessions/"+row.ID.String(), "the session")
}
