package folioclient

import (
	"context"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/directory"
)

var affiliationsQuestion = question{"user-tenants", []string{"user-tenants.collection.get"}}

// userTenants is a page of mod-users' user-tenants.
type userTenants struct {
	UserTenants *[]struct {
		UserID   string `json:"userId"`
		Username string `json:"username"`
		TenantID string `json:"tenantId"`
	} `json:"userTenants"`
	TotalRecords *int `json:"totalRecords"`
}

// HomeTenant is the tenant in which a user logs in who was named in another
// one, mod-login's rule for consortia: the only tenant to which the user
// belongs. It is tenant itself where there is none, and where there are several,
// since a name alone does not tell which is meant.
func (c *Client) HomeTenant(ctx context.Context, tenant, username, userID string) (string, error) {
	asked := url.Values{"limit": {"2"}}
	switch {
	case userID != "":
		if err := validID(userID); err != nil {
			return "", err
		}
		asked.Set("userId", userID)
	default:
		if _, err := directory.NormalName(username); err != nil {
			return "", err
		}
		asked.Set("username", username)
	}
	list, err := c.affiliations(ctx, tenant, asked)
	if err != nil {
		return "", err
	}
	if *list.TotalRecords != 1 || len(*list.UserTenants) != 1 {
		return tenant, nil
	}
	one := (*list.UserTenants)[0]
	if userID != "" && !strings.EqualFold(one.UserID, userID) || userID == "" && !sameName(one.Username, username) || one.TenantID == "" {
		return "", c.fault(affiliationsQuestion, tenant, errMalformed)
	}
	return one.TenantID, nil
}

// Affiliated is whether a user of home belongs to tenant, too: mod-authtoken's
// rule for tokens of another tenant. There, one row of anybody lets the users
// of all tenants in; here it must be this user's.
func (c *Client) Affiliated(ctx context.Context, tenant, home, userID string) (bool, error) {
	if err := validID(userID); err != nil {
		return false, err
	}
	list, err := c.affiliations(ctx, tenant, url.Values{"userId": {userID}, "tenantId": {home}, "limit": {"2"}})
	if err != nil {
		return false, err
	}
	for _, one := range *list.UserTenants {
		if strings.EqualFold(one.UserID, userID) && one.TenantID == home {
			return true, nil
		}
	}
	return false, nil
}

func (c *Client) affiliations(ctx context.Context, tenant string, asked url.Values) (userTenants, error) {
	var list userTenants
	if err := c.get(ctx, affiliationsQuestion, tenant, "user-tenants", asked, &list); err != nil {
		return list, err
	}
	if list.UserTenants == nil || list.TotalRecords == nil {
		return list, c.fault(affiliationsQuestion, tenant, errMalformed)
	}
	return list, nil
}

func sameName(a, b string) bool {
	first, err := directory.NormalName(a)
	second, err2 := directory.NormalName(b)
	return err == nil && err2 == nil && first == second
}
