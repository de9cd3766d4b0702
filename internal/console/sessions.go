package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	Tenants                                   []directory.Tenant
	Tenant, User, Client, Address, Show, Sort string
	Rows                                      []sessionRow
	Next                                      string
	// Problem is why nothing was looked for.
	Problem string
}

// filter reads what to look for. The list's Problem is why nothing is.
func (h *Handler) filter(ctx context.Context, q url.Values) (list sessionList, f session.Filter, err error) {
	list = sessionList{
		Tenant: q.Get("tenant"), User: strings.TrimSpace(q.Get("user")), Client: strings.TrimSpace(q.Get("client")),
		Address: strings.TrimSpace(q.Get("address")), Show: q.Get("show"), Sort: q.Get("sort"),
	}
	f = session.Filter{
		Tenant: list.Tenant, Client: list.Client, Address: list.Address, Live: list.Show != "all", ByActivity: list.Sort == "activity", Cursor: q.Get("cursor"), Limit: pageSize,
	}
	if list.User == "" {
		return list, f, nil
	}
	u, err := h.find(ctx, list.Tenant, list.User)
	switch {
	case list.Tenant == "":
		list.Problem = "Choose the tenant of the user: names are unique within a tenant only."
	case errors.Is(err, directory.ErrNotFound), errors.Is(err, directory.ErrInvalid):
		list.Problem = "There is no such user in this tenant."
	case err != nil:
		return list, f, err
	}
	f.UserID = u.ID
	return list, f, nil
}

func (h *Handler) sessions(v *visit) error {
	list, filter, err := h.filter(v.r.Context(), v.r.URL.Query())
	if err != nil {
		return err
	}
	if list.Tenants, err = h.Users.Tenants(v.r.Context()); err != nil {
		return err
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

// endingPage asks whether all sessions of a filter should end.
type endingPage struct {
	sessionList
	Count int
	// More is whether there are more than end at once.
	More  bool
	Until string
	// Mistyped is whether the number was another one.
	Mistyped bool
}

// ending shows how many sessions a filter would end.
func (h *Handler) ending(v *visit) error {
	return h.askToEnd(v, v.r.URL.Query(), h.Now(), false)
}

func (h *Handler) askToEnd(v *visit, q url.Values, until time.Time, mistyped bool) error {
	list, filter, err := h.filter(v.r.Context(), q)
	if err != nil {
		return err
	}
	if list.Problem != "" {
		return &fault{http.StatusUnprocessableEntity, list.Problem}
	}
	n, err := h.Sessions.CountMatching(v.r.Context(), filter, until)
	if err != nil {
		return err
	}
	if mistyped {
		v.w.WriteHeader(http.StatusUnprocessableEntity)
	}
	return h.render(v, "ending", endingPage{list, n, n == session.MostAtOnce, until.UTC().Format(time.RFC3339Nano), mistyped})
}

// endMatching ends them, if the operator has typed how many there are.
func (h *Handler) endMatching(v *visit) error {
	if err := v.r.ParseForm(); err != nil {
		return &fault{http.StatusBadRequest, "The form could not be read."}
	}
	until, err := time.Parse(time.RFC3339Nano, v.r.PostForm.Get("until"))
	if err != nil {
		return &fault{http.StatusBadRequest, "The form could not be read."}
	}
	list, filter, err := h.filter(v.r.Context(), v.r.PostForm)
	if err != nil {
		return err
	}
	if list.Problem != "" {
		return &fault{http.StatusUnprocessableEntity, list.Problem}
	}
	if typed := strings.TrimSpace(v.r.PostForm.Get("confirm")); typed != v.r.PostForm.Get("count") || typed == "" {
		return h.askToEnd(v, v.r.PostForm, until, true)
	}
	n, err := h.Sessions.EndMatching(v.r.Context(), filter, until)
	if err != nil {
		return fmt.Errorf("%d sessions had ended: %w", n, err)
	}
	return h.ended(v, n, Path+"sessions?"+string(query("tenant", list.Tenant, "user", list.User, "client", list.Client, "address", list.Address)), "the sessions")
}
