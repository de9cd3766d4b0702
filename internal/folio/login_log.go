package folio

import (
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// LoginEvents are the types of events in mod-login's log.
var LoginEvents = []string{
	"SUCCESSFUL_LOGIN_ATTEMPT", "FAILED_LOGIN_ATTEMPT", "USER_BLOCK", "PASSWORD_CREATE", "PASSWORD_CHANGE", "PASSWORD_RESET",
}

// typeOf is which audit events are which of them.
var typeOf = map[audit.Kind]string{
	audit.Login: "SUCCESSFUL_LOGIN_ATTEMPT", audit.LoginFailed: "FAILED_LOGIN_ATTEMPT", audit.UserBlocked: "USER_BLOCK",
	audit.PasswordCreated: "PASSWORD_CREATE", audit.PasswordChanged: "PASSWORD_CHANGE", audit.PasswordReset: "PASSWORD_RESET",
}

// loginEvent is an event in mod-login's words.
type loginEvent struct {
	ID        string  `json:"id,omitempty"`
	Tenant    string  `json:"tenant"`
	UserID    string  `json:"userId"`
	Type      string  `json:"eventType"`
	Address   string  `json:"ip,omitempty"`
	Browser   string  `json:"browserInformation,omitempty"`
	Timestamp instant `json:"timestamp,omitzero"`
}

// listLoginLog answers GET /authn/log/events: the audit events about users, as
// far as their types are in Handler.LoginLog. 204 is FOLIO's answer where
// there is no log.
func (h *Handler) listLoginLog(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	if len(h.LoginLog) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	filter, err := logFilter(r)
	if err != nil {
		return err
	}
	filter.Tenant, filter.Kinds = caller.Claims.Tenant, h.logged()
	events, total, err := h.Sessions.LoginLog(r.Context(), filter)
	if err != nil {
		return err
	}
	list := make([]loginEvent, 0, len(events))
	for _, e := range events {
		list = append(list, asLoginEvent(&e))
	}
	writeJSON(w, http.StatusOK, struct {
		Events []loginEvent `json:"loggingEvent"`
		Total  int          `json:"totalRecords"`
	}{list, total})
	return nil
}

// logged are the audit events that the log shows. What modules reported was
// looked at when they did.
func (h *Handler) logged() []audit.Kind {
	kinds := []audit.Kind{audit.LoginReported}
	for kind, name := range typeOf {
		if slices.Contains(h.LoginLog, name) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// idOf names an event by its number, in the form that FOLIO's clients expect.
func idOf(e *audit.Event) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("counterfoil event "+strconv.FormatInt(e.Seq, 10))).String()
}

func asLoginEvent(e *audit.Event) loginEvent {
	if e.Kind == audit.LoginReported {
		return loginEvent{e.Detail["id"], e.Tenant, e.UserID, e.Detail["eventType"], e.Detail["ip"], e.Detail["browser"], instant(e.Time)}
	}
	return loginEvent{idOf(e), e.Tenant, e.UserID, typeOf[e.Kind], e.Actor.Address, e.Actor.UserAgent, instant(e.Time)}
}

// byUser is what we understand of CQL here. A query is never handed on.
var byUser = regexp.MustCompile(`^\(?userId==?"?([0-9A-Fa-f-]{36})"?\)?$`)

func logFilter(r *http.Request) (f session.LogFilter, err error) {
	q := r.URL.Query()
	if query := strings.TrimSpace(q.Get("query")); query != "" && query != "cql.allRecords=1" {
		match := byUser.FindStringSubmatch(query)
		if match == nil {
			return f, plain(http.StatusBadRequest, "Query not understood. Use userId==UUID or none")
		}
		f.UserID = strings.ToLower(match[1])
	}
	for name, into := range map[string]*int{"offset": &f.Offset, "limit": &f.Limit} {
		if text := q.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return f, plain(http.StatusBadRequest, name+" must be a number that is not negative")
			}
			*into = n
		}
	}
	if f.Offset > 10_000 {
		return f, plain(http.StatusBadRequest, "offset must not be more than 10000")
	}
	if f.Limit == 0 {
		f.Limit = 10
	}
	return f, nil
}

// reportLogin takes an event from a module: POST /authn/log/events. It is
// kept as what it is, somebody's word, beside what the program saw itself.
func (h *Handler) reportLogin(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	var body struct {
		Tenant  string `json:"tenant"`
		UserID  string `json:"userId"`
		Type    string `json:"eventType"`
		Address string `json:"ip"`
		Browser string `json:"browserInformation"`
	}
	if _, err := decode(w, r, &body); err != nil {
		return err
	}
	if !slices.Contains(LoginEvents, body.Type) {
		return badBody("eventType is none of " + strings.Join(LoginEvents, ", "))
	}
	id, err := userUUID(body.UserID)
	if err != nil {
		return err
	}
	if body.Tenant != "" && body.Tenant != caller.Claims.Tenant {
		return plain(http.StatusBadRequest, "Different tenants in X-Okapi-Tenant and in the body. Use only one of them")
	}
	if _, err := netip.ParseAddr(body.Address); body.Address != "" && err != nil {
		return badBody("ip is no address")
	}
	if !slices.Contains(h.LoginLog, body.Type) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	browser := strings.ToValidUTF8(body.Browser[:min(len(body.Browser), 200)], "")
	eventID := uuid.NewString()
	err = h.Sessions.ReportLogin(r.Context(), audit.Event{
		Tenant: caller.Claims.Tenant, UserID: id,
		Detail: map[string]string{"id": eventID, "eventType": body.Type, "ip": body.Address, "browser": browser},
	})
	if err != nil {
		return err
	}
	writeText(w, http.StatusCreated, "Event id: "+eventID+" was successfully saved to event log")
	return nil
}

// clearLoginLog begins the log of a user anew: DELETE /authn/log/events/{id}.
func (h *Handler) clearLoginLog(w http.ResponseWriter, r *http.Request, caller *session.Caller) error {
	if len(h.LoginLog) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	id, err := userUUID(r.PathValue("id"))
	if err != nil {
		return err
	}
	tenant := caller.Claims.Tenant
	_, total, err := h.Sessions.LoginLog(r.Context(), session.LogFilter{Tenant: tenant, UserID: id, Kinds: h.logged(), Limit: 1})
	switch {
	case err != nil:
		return err
	case total == 0:
		return plain(http.StatusNotFound, "No events found for user "+id)
	}
	if err := h.Sessions.ClearLoginLog(r.Context(), tenant, id); err != nil {
		return err
	}
	writeText(w, http.StatusOK, "Events of user "+id+" were deleted from the event log")
	return nil
}
