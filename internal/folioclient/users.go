package folioclient

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/counterfoil/counterfoil/internal/directory"
)

var userQuestion = question{"users", []string{"users.collection.get", "users.basic-read.execute"}}

// user is what we read of mod-users' record.
type user struct {
	ID             string  `json:"id"`
	Username       string  `json:"username"`
	Active         *bool   `json:"active"`
	ExpirationDate string  `json:"expirationDate"`
	Personal       persona `json:"personal"`
}

type persona struct {
	LastName  string `json:"lastName"`
	FirstName string `json:"firstName"`
	Email     string `json:"email"`
}

type userList struct {
	Users        *[]user `json:"users"`
	TotalRecords *int    `json:"totalRecords"`
}

// User finds by id, which must be a UUID in lower case.
func (c *Client) User(ctx context.Context, tenant, id string) (directory.User, error) {
	if err := validID(id); err != nil {
		return directory.User{}, err
	}
	// The collection and not /users/{id}: there, a route that is missing would
	// look like a user who is.
	found, err := c.findUsers(ctx, tenant, equals("id", id))
	switch {
	case err != nil:
		return directory.User{}, err
	case len(found) == 0:
		return directory.User{}, fmt.Errorf("user: %w", directory.ErrNotFound)
	case len(found) > 1 || !strings.EqualFold(found[0].ID, id):
		return directory.User{}, c.fault(userQuestion, tenant, errMalformed)
	}
	return c.record(tenant, &found[0])
}

// UserByName finds by name. mod-users ignores accents and, in a pattern that
// somebody smuggled in, much more; who is meant is for our own comparison.
func (c *Client) UserByName(ctx context.Context, tenant, username string) (directory.User, error) {
	normal, err := directory.NormalName(username)
	if err != nil {
		return directory.User{}, err
	}
	found, err := c.findUsers(ctx, tenant, equals("username", username))
	if err != nil {
		return directory.User{}, err
	}
	var match *user
	for i := range found {
		if own, err := directory.NormalName(found[i].Username); err != nil || own != normal {
			continue
		}
		if match != nil {
			return directory.User{}, fmt.Errorf("user: %w: two users have this name", directory.ErrNotFound)
		}
		match = &found[i]
	}
	if match == nil {
		return directory.User{}, fmt.Errorf("user: %w", directory.ErrNotFound)
	}
	return c.record(tenant, match)
}

// enoughUsers is more than any answer that we can use has.
const enoughUsers = "10"

func (c *Client) findUsers(ctx context.Context, tenant, query string) ([]user, error) {
	var list userList
	err := c.get(ctx, userQuestion, tenant, "users", url.Values{"query": {query}, "limit": {enoughUsers}}, &list)
	if err != nil {
		return nil, err
	}
	if list.Users == nil || list.TotalRecords == nil || *list.TotalRecords < len(*list.Users) || *list.TotalRecords > 0 && len(*list.Users) == 0 {
		return nil, c.fault(userQuestion, tenant, errMalformed)
	}
	return *list.Users, nil
}

// record is a user as the directory has them. One without "active" is not
// active, and neither is one whose time is over, before mod-users' timer has
// said so.
func (c *Client) record(tenant string, u *user) (directory.User, error) {
	id, err := uuid.Parse(u.ID)
	if err != nil || len(u.ID) != len(id.String()) {
		return directory.User{}, c.fault(userQuestion, tenant, errMalformed)
	}
	d := directory.User{
		ID: id.String(), Tenant: tenant, Username: u.Username, Active: u.Active != nil && *u.Active,
		FirstName: u.Personal.FirstName, LastName: u.Personal.LastName, Email: u.Personal.Email,
	}
	if d.Username == "" {
		d.Username = d.ID // mod-login's subject for users without a name
	}
	if expires, err := parseDate(u.ExpirationDate); err == nil && !c.Now().Before(expires) {
		d.Active = false
	}
	return d, nil
}

var errNoDate = errors.New("no date")

// parseDate reads what RMB writes now and what it wrote before.
func parseDate(s string) (t time.Time, err error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700"} {
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return t, errNoDate
}

func validID(id string) error {
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return fmt.Errorf("user id: %w: must be a UUID in lower case", directory.ErrInvalid)
	}
	return nil
}
