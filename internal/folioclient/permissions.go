package folioclient

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/directory"
)

var (
	grantsQuestion = question{"grants", []string{"perms.users.get"}}
	// mod-permissions renamed its permission; both names are lent.
	setsQuestion = question{"permissions", []string{"perms.permissions.get", "perms.permissions.collection.get", "perms.permissions.item.get"}}
)

// Grants reads what was given to a user, sets by their names. Nothing granted
// yet is directory.ErrNotFound.
func (c *Client) Grants(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	if err := validID(userID); err != nil {
		return directory.Grants{}, err
	}
	var list struct {
		PermissionUsers *[]struct {
			UserID      string   `json:"userId"`
			Permissions []string `json:"permissions"`
		} `json:"permissionUsers"`
		TotalRecords *int `json:"totalRecords"`
	}
	err := c.get(ctx, grantsQuestion, tenant, "perms/users", url.Values{"query": {equals("userId", userID)}}, &list)
	switch {
	case err != nil:
		return directory.Grants{}, err
	case list.PermissionUsers == nil || list.TotalRecords == nil || *list.TotalRecords != len(*list.PermissionUsers):
		return directory.Grants{}, c.fault(grantsQuestion, tenant, errMalformed)
	case len(*list.PermissionUsers) == 0:
		return directory.Grants{}, directory.ErrNotFound
	case len(*list.PermissionUsers) > 1 || (*list.PermissionUsers)[0].UserID != userID:
		return directory.Grants{}, c.fault(grantsQuestion, tenant, errMalformed)
	}
	return directory.Grants{Permissions: valid((*list.PermissionUsers)[0].Permissions)}, nil
}

// Expanded reads what was given to a user, with all that it stands for. Nothing
// granted yet is directory.ErrNotFound.
func (c *Client) Expanded(ctx context.Context, tenant, userID string) (directory.Grants, error) {
	if err := validID(userID); err != nil {
		return directory.Grants{}, err
	}
	var list struct {
		PermissionNames *[]string `json:"permissionNames"`
	}
	err := c.get(ctx, grantsQuestion, tenant, "perms/users/"+userID+"/permissions",
		url.Values{"expanded": {"true"}, "indexField": {"userId"}}, &list)
	var status statusError
	if errors.As(err, &status) && status == http.StatusNotFound {
		// mod-permissions says so of a user to whom nothing was given yet, and
		// a gateway of a route that is missing. The collection tells them apart.
		switch _, second := c.Grants(ctx, tenant, userID); {
		case errors.Is(second, directory.ErrNotFound):
			return directory.Grants{}, second
		case second != nil:
			return directory.Grants{}, second
		}
		return directory.Grants{}, err
	}
	if err != nil {
		return directory.Grants{}, err
	}
	if list.PermissionNames == nil {
		return directory.Grants{}, c.fault(grantsQuestion, tenant, errMalformed)
	}
	return directory.Grants{Permissions: valid(*list.PermissionNames)}, nil
}

// valid leaves out names that nobody could have been given here, such as a
// wildcard. Less is safe.
func valid(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return directory.ValidPermission(name) != nil })
}

// expandAtOnce keeps the query within what gateways take as a URL.
const expandAtOnce = 25

// Expand returns what names stand for, themselves included. A name that
// mod-permissions does not know stands for itself alone.
func (c *Client) Expand(ctx context.Context, tenant string, names []string) ([]string, error) {
	all := slices.Clone(names)
	for some := range slices.Chunk(names, expandAtOnce) {
		found, err := c.expand(ctx, tenant, some)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (c *Client) expand(ctx context.Context, tenant string, names []string) ([]string, error) {
	var list struct {
		Permissions  *[]permission `json:"permissions"`
		TotalRecords *int          `json:"totalRecords"`
	}
	err := c.get(ctx, setsQuestion, tenant, "perms/permissions", url.Values{
		"expanded": {"true"}, "query": {anyOf("permissionName", names)},
		// mod-authtoken leaves the limit out, and the eleventh set with it.
		"limit": {strconv.Itoa(len(names))},
	}, &list)
	if err != nil {
		return nil, err
	}
	if list.Permissions == nil || list.TotalRecords == nil || *list.TotalRecords > len(*list.Permissions) {
		return nil, c.fault(setsQuestion, tenant, errMalformed)
	}
	var all []string
	for _, p := range *list.Permissions {
		if !slices.Contains(names, p.Name) {
			continue // an answer to another question lends nothing
		}
		all = append(all, p.all()...)
	}
	return valid(all), nil
}

// permission is a permission of mod-permissions with what it stands for, each
// by its name or whole.
type permission struct {
	Name string
	Sub  []permission
}

// UnmarshalJSONFrom reads a name or a record.
func (p *permission) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() == '"' {
		return json.UnmarshalDecode(d, &p.Name)
	}
	var record struct {
		Name string       `json:"permissionName"`
		Sub  []permission `json:"subPermissions"`
	}
	err := json.UnmarshalDecode(d, &record)
	p.Name, p.Sub = record.Name, record.Sub
	return err
}

func (p *permission) all() []string {
	names := []string{p.Name}
	for i := range p.Sub {
		names = append(names, p.Sub[i].all()...)
	}
	return names
}
