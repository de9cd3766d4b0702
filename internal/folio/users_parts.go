package folio

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// CallModule sends a request to the module that the caller's tenant has for
// target, with a token of its own for the module. A status of 0 is that the
// tenant has none.
type CallModule func(ctx context.Context, caller *session.Caller, method, target string, body []byte) (status int, answer []byte, err error)

// usersModule is what the modules see us as, and usersLent what we may ask of
// them: mod-users-bl's modulePermissions, as far as we need them.
const usersModule = "mod-users-bl"

var usersLent = []string{
	"users.item.get", "usergroups.item.get", "permissions.users.item.get", "notify.item.post",
	"inventory-storage.service-points-users.collection.get", "inventory-storage.service-points.collection.get",
}

// addParts adds what other modules know. A module that the tenant does not have
// leaves its part out, and so does one that does not know the user; one that
// fails fails the request, since a user interface would take a part that is
// missing for one that is empty.
func (h *Handler) addParts(ctx context.Context, by token.Claims, userID string, wanted func(string) bool, to *composite) error {
	record, err := h.ask(ctx, by, "/users/"+userID)
	if err != nil {
		return err
	}
	if record != nil {
		var known struct {
			ID    string `json:"id"`
			Group string `json:"patronGroup"`
		}
		if err := json.Unmarshal(record, &known); err != nil || known.ID != userID {
			return fmt.Errorf("%w: the module behind /users answered with another user", session.ErrUnavailable)
		}
		to.User = record
		if id, err := uuid.Parse(known.Group); err == nil && wanted("groups") {
			if to.PatronGroup, err = h.ask(ctx, by, "/groups/"+id.String()); err != nil {
				return err
			}
		}
	}
	if wanted("servicepoints") {
		to.ServicePointsUser, err = h.servicePoints(ctx, by, userID)
	}
	return err
}

// servicePoints is the user's record of service points, with the service points
// themselves in it.
func (h *Handler) servicePoints(ctx context.Context, by token.Claims, userID string) (jsontext.Value, error) {
	answer, err := h.ask(ctx, by, "/service-points-users?query="+url.QueryEscape("userId=="+userID)+"&limit=1000")
	if err != nil || answer == nil {
		return nil, err
	}
	var page struct {
		Records []map[string]jsontext.Value `json:"servicePointsUsers"`
	}
	if err := json.Unmarshal(answer, &page); err != nil || len(page.Records) == 0 {
		return nil, err
	}
	record := page.Records[0]
	points, err := h.pointsNamed(ctx, by, record["servicePointsIds"])
	if err != nil {
		return nil, err
	}
	if points != nil {
		record["servicePoints"] = points
	}
	merged, err := json.Marshal(record, json.Deterministic(true))
	return merged, err
}

func (h *Handler) pointsNamed(ctx context.Context, by token.Claims, list jsontext.Value) (jsontext.Value, error) {
	var ids []string
	if len(list) == 0 || json.Unmarshal(list, &ids) != nil {
		return nil, nil
	}
	var terms []string
	for _, id := range ids {
		// A query is made of UUIDs alone: what else a module has stored there
		// would become a part of its language.
		if parsed, err := uuid.Parse(id); err == nil {
			terms = append(terms, "id=="+parsed.String())
		}
	}
	if len(terms) == 0 {
		return nil, nil
	}
	answer, err := h.ask(ctx, by, "/service-points?query="+url.QueryEscape("("+strings.Join(terms, " or ")+")")+"&limit=1000")
	if err != nil || answer == nil {
		return nil, err
	}
	var page struct {
		Points jsontext.Value `json:"servicepoints"`
	}
	err = json.Unmarshal(answer, &page)
	return page.Points, err
}

// eurekaPermissions asks the module that has Eureka's /permissions; nil is that
// there is none.
func (h *Handler) eurekaPermissions(ctx context.Context, by token.Claims, userID string) ([]string, error) {
	answer, err := h.ask(ctx, by, "/permissions/users/"+userID)
	if err != nil || answer == nil {
		return nil, err
	}
	var page struct {
		Permissions []string `json:"permissions"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return nil, fmt.Errorf("%w: the module behind /permissions gave no list of names", session.ErrUnavailable)
	}
	return slices.Concat([]string{}, page.Permissions), nil
}

// ask reads a JSON object from a module, in the name of by. nil is that no
// module has it.
func (h *Handler) ask(ctx context.Context, by token.Claims, target string) (jsontext.Value, error) {
	if h.Call == nil {
		return nil, nil
	}
	status, answer, err := h.Call(ctx, asUsersModule(by), http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	value := jsontext.Value(answer)
	switch {
	case status == 0, status == http.StatusNotFound:
		return nil, nil
	case status != http.StatusOK:
		return nil, fmt.Errorf("%w: a module answered %d to a part of a user", session.ErrUnavailable, status)
	case !value.IsValid() || value.Kind() != '{':
		return nil, fmt.Errorf("%w: a module answered with something else than a JSON object", session.ErrUnavailable)
	}
	return value, nil
}

// asUsersModule is a caller with the name of c's user and the permissions that
// are lent to us.
func asUsersModule(c token.Claims) *session.Caller {
	c.Kind, c.Module, c.Permissions = token.KindModule, usersModule, usersLent
	return &session.Caller{Claims: c}
}
