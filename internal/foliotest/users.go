package foliotest

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// tenant is what all modules keep of one tenant.
type tenant struct {
	users         []User
	groups        []Group
	userTenants   []UserTenant
	permUsers     []PermissionUser
	permissions   []Permission
	entries       []Entry
	servicePoints []ServicePoint
	assigned      []ServicePointsUser
}

// User is mod-users' record. Active nil is a record without that member.
type User struct {
	ID               string    `json:"id"`
	Username         string    `json:"username,omitempty"`
	ExternalSystemID string    `json:"externalSystemId,omitempty"`
	Barcode          string    `json:"barcode,omitempty"`
	Active           *bool     `json:"active,omitempty"`
	Type             string    `json:"type,omitempty"`
	PatronGroup      string    `json:"patronGroup,omitempty"`
	ExpirationDate   string    `json:"expirationDate,omitempty"`
	Personal         *Personal `json:"personal,omitempty"`
}

// Personal is the personal part of a User.
type Personal struct {
	LastName    string `json:"lastName,omitempty"`
	FirstName   string `json:"firstName,omitempty"`
	Email       string `json:"email,omitempty"`
	Phone       string `json:"phone,omitempty"`
	MobilePhone string `json:"mobilePhone,omitempty"`
}

// Group is a patron group.
type Group struct {
	ID    string `json:"id"`
	Group string `json:"group"`
	Desc  string `json:"desc,omitempty"`
}

// UserTenant says to which tenant of a consortium a user belongs.
type UserTenant struct {
	ID               string `json:"id"`
	UserID           string `json:"userId"`
	Username         string `json:"username"`
	TenantID         string `json:"tenantId"`
	CentralTenantID  string `json:"centralTenantId,omitempty"`
	ConsortiumID     string `json:"consortiumId,omitempty"`
	Email            string `json:"email,omitempty"`
	PhoneNumber      string `json:"phoneNumber,omitempty"`
	MobilePhone      string `json:"mobilePhoneNumber,omitempty"`
	Barcode          string `json:"barcode,omitempty"`
	ExternalSystemID string `json:"externalSystemId,omitempty"`
}

// Active is for User.Active.
func Active(active bool) *bool { return &active }

// AddUser stores a user, with a new id if it has none, and returns the id. A
// user with the same id is replaced.
func (p *Platform) AddUser(tenantID string, u User) string {
	u.ID = orNew(u.ID)
	p.in(tenantID, func(t *tenant) {
		t.users = slices.DeleteFunc(t.users, func(old User) bool { return old.ID == u.ID })
		t.users = append(t.users, u)
	})
	return u.ID
}

// SetActive makes a user active or not.
func (p *Platform) SetActive(tenantID, id string, active bool) {
	p.in(tenantID, func(t *tenant) {
		for i := range t.users {
			if t.users[i].ID == id {
				t.users[i].Active = &active
			}
		}
	})
}

// RemoveUser deletes a user, and leaves the permissions alone as mod-users does.
func (p *Platform) RemoveUser(tenantID, id string) {
	p.in(tenantID, func(t *tenant) {
		t.users = slices.DeleteFunc(t.users, func(u User) bool { return u.ID == id })
	})
}

// AddGroup stores a patron group and returns its id.
func (p *Platform) AddGroup(tenantID string, g Group) string {
	g.ID = orNew(g.ID)
	p.in(tenantID, func(t *tenant) { t.groups = append(t.groups, g) })
	return g.ID
}

// AddUserTenant stores a row of user-tenants, in the tenant that is asked for it.
func (p *Platform) AddUserTenant(tenantID string, u UserTenant) {
	u.ID = orNew(u.ID)
	u.Username = strings.ToLower(u.Username)
	p.in(tenantID, func(t *tenant) { t.userTenants = append(t.userTenants, u) })
}

func (p *Platform) users() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "users", 10, t.users, userIndexes, User.field)
	})
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		item(w, r, t.users, func(u User) string { return u.ID }, "User not found")
	})
	mux.HandleFunc("PUT /users/{id}", p.putUser)
	mux.HandleFunc("GET /groups", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		collection(w, r, "usergroups", 10, t.groups, []string{"id", "group"}, func(g Group, index string) []string {
			return map[string][]string{"id": {g.ID}, "group": {g.Group}}[index]
		})
	})
	mux.HandleFunc("GET /groups/{id}", func(w http.ResponseWriter, r *http.Request) {
		t, release := p.of(r)
		defer release()
		item(w, r, t.groups, func(g Group) string { return g.ID }, "Group not found")
	})
	mux.HandleFunc("GET /user-tenants", p.getUserTenants)
	return mux
}

var userIndexes = []string{"id", "username", "externalSystemId", "barcode", "active", "personal.email"}

func (u User) field(index string) []string {
	switch index {
	case "id":
		return []string{u.ID}
	case "username":
		return []string{u.Username}
	case "externalSystemId":
		return []string{u.ExternalSystemID}
	case "barcode":
		return []string{u.Barcode}
	case "active":
		if u.Active != nil {
			return []string{map[bool]string{true: "true", false: "false"}[*u.Active]}
		}
	case "personal.email":
		if u.Personal != nil {
			return []string{u.Personal.Email}
		}
	}
	return nil
}

// item answers a GET of one record by its id.
func item[T any](w http.ResponseWriter, r *http.Request, all []T, id func(T) string, missing string) {
	asked := r.PathValue("id")
	if uuid.Validate(asked) != nil {
		text(w, http.StatusBadRequest, "Invalid UUID format of id, should be xxxxxxxx-xxxx-Mxxx-Nxxx-xxxxxxxxxxxx")
		return
	}
	for _, one := range all {
		if strings.EqualFold(id(one), asked) {
			writeJSON(w, http.StatusOK, one)
			return
		}
	}
	text(w, http.StatusNotFound, missing)
}

func (p *Platform) putUser(w http.ResponseWriter, r *http.Request) {
	var u User
	if !read(w, r, &u) {
		return
	}
	t, release := p.of(r)
	defer release()
	for i := range t.users {
		if t.users[i].ID == r.PathValue("id") {
			t.users[i] = u
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	text(w, http.StatusNotFound, r.PathValue("id"))
}

// getUserTenants finds rows by plain parameters: this one has no CQL. All of
// them must be met, or with queryOp=or one of them.
func (p *Platform) getUserTenants(w http.ResponseWriter, r *http.Request) {
	t, release := p.of(r)
	defer release()
	offset, limit, err := paging(r, 10)
	if err != nil {
		text(w, http.StatusBadRequest, err.Error())
		return
	}
	asked := r.URL.Query()
	one := asked.Get("queryOp") == "or"
	var found []UserTenant
	for _, row := range t.userTenants {
		conditions, met := 0, 0
		for name, value := range map[string]string{
			"userId": row.UserID, "username": row.Username, "tenantId": row.TenantID, "email": row.Email,
			"phoneNumber": row.PhoneNumber, "mobilePhoneNumber": row.MobilePhone,
			"barcode": row.Barcode, "externalSystemId": row.ExternalSystemID,
		} {
			want := asked.Get(name)
			if name == "username" {
				want = strings.ToLower(want)
			}
			if want != "" {
				conditions++
				if want == value {
					met++
				}
			}
		}
		if met == conditions || one && met > 0 {
			found = append(found, row)
		}
	}
	body := list("userTenants", found, offset, limit)
	delete(body, "resultInfo")
	writeJSON(w, http.StatusOK, body)
}

// clone copies a record by way of JSON, as it travels.
func clone[T any](record T) (copied T) {
	text, err := json.Marshal(record)
	if err == nil {
		err = json.Unmarshal(text, &copied)
	}
	if err != nil {
		panic(err)
	}
	return copied
}
