package folioclient

import (
	"context"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/directory"
)

var homeQuestion = question{"user-tenants", []string{"user-tenants.collection.get"}}

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
// belongs, among those that wanted names, if it is not empty. It is tenant itself
// where there is none, and where there are several, since a name alone does not
// tell which is meant.
func (c *Client) HomeTenant(ctx context.Context, tenant, username, userID, wanted string) (string, error) {
	asked := url.Values{"limit": {"2"}}
	if wanted != "" {
		asked.Set("tenantId", wanted)
	}
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
	var list userTenants
	if err := c.get(ctx, homeQuestion, tenant, "user-tenants", asked, &list); err != nil {
		return "", err
	}
	if list.UserTenants == nil || list.TotalRecords == nil {
		return "", c.fault(homeQuestion, tenant, errMalformed)
	}
	if *list.TotalRecords != 1 || len(*list.UserTenants) != 1 {
		return tenant, nil
	}
	one := (*list.UserTenants)[0]
	if userID != "" && !strings.EqualFold(one.UserID, userID) || userID == "" && !sameName(one.Username, username) ||
		wanted != "" && one.TenantID != wanted || one.TenantID == "" {
		return "", c.fault(homeQuestion, tenant, errMalformed)
	}
	return one.TenantID, nil
}

func sameName(a, b string) bool {
	first, err := directory.NormalName(a)
	second, err2 := directory.NormalName(b)
	return err == nil && err2 == nil && first == second
}
