package foliotest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// usersBL is mod-users-bl: the module that Stripes logs in through. It calls
// the login module and then, with the token that it got, everything that the
// user interface wants to know of the user, all by way of the gateway.
func (p *Platform) usersBL() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bl-users/login", func(w http.ResponseWriter, r *http.Request) { p.blLogin(w, r, "/authn/login") })
	mux.HandleFunc("POST /bl-users/login-with-expiry", func(w http.ResponseWriter, r *http.Request) { p.blLogin(w, r, "/authn/login-with-expiry") })
	mux.HandleFunc("GET /bl-users/_self", p.blSelf)
	return mux
}

// answered is an answer of another module that is handed on.
type answered struct {
	status int
	body   string
}

func (a *answered) Error() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// blCaller calls other modules with the headers that came.
type blCaller struct {
	base    string
	headers http.Header
}

func (p *Platform) caller(r *http.Request) *blCaller {
	c := &blCaller{base: p.Okapi, headers: http.Header{}}
	if c.base == "" {
		c.base = r.Header.Get("X-Okapi-Url")
	}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Okapi-") || name == "User-Agent" || name == "X-Forwarded-For" {
			c.headers[name] = values
		}
	}
	c.headers.Set("Content-Type", "application/json")
	c.headers.Set("Accept", "application/json")
	return c
}

func (c *blCaller) do(method, path string, body []byte) (*http.Response, []byte, error) {
	request, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Header = c.headers.Clone()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 400 {
		err = &answered{answer.StatusCode, string(text)}
	}
	return answer, text, err
}

// get reads JSON.
func (c *blCaller) get(path string, into any) error {
	_, body, err := c.do(http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

func (p *Platform) blLogin(w http.ResponseWriter, r *http.Request, login string) {
	body, err := io.ReadAll(r.Body)
	var credentials struct{ Username, Password string }
	if err != nil || json.Unmarshal(body, &credentials) != nil || credentials.Username == "" || credentials.Password == "" {
		text(w, http.StatusBadRequest, "Improperly formatted request")
		return
	}
	c := p.caller(r)
	answer, granted, err := c.do(http.MethodPost, login, body)
	if err != nil {
		fail(w, err)
		return
	}
	raw := answer.Header.Get("X-Okapi-Token")
	for _, cookie := range answer.Cookies() {
		if cookie.Name == "folioAccessToken" {
			raw = cookie.Value
		}
	}
	tenant, _, err := claims(raw)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	c.headers.Set("X-Okapi-Token", raw)
	c.headers.Set("X-Okapi-Tenant", tenant)
	composite, err := c.composite(r, `username==`+quote(credentials.Username))
	if err != nil {
		fail(w, err)
		return
	}
	composite["tenant"] = tenant
	if login == "/authn/login-with-expiry" {
		composite["tokenExpiration"] = json.RawMessage(granted)
		for _, cookie := range answer.Header.Values("Set-Cookie") {
			w.Header().Add("Set-Cookie", cookie)
		}
	} else {
		w.Header().Set("X-Okapi-Token", raw)
	}
	writeJSON(w, http.StatusCreated, composite)
}

func (p *Platform) blSelf(w http.ResponseWriter, r *http.Request) {
	tenant, userID, err := claims(r.Header.Get("X-Okapi-Token"))
	if err != nil || userID == "" {
		text(w, http.StatusBadRequest, "Unable to find user")
		return
	}
	composite, err := p.caller(r).composite(r, "id=="+quote(userID))
	if err != nil {
		fail(w, err)
		return
	}
	composite["tenant"] = tenant
	writeJSON(w, http.StatusOK, composite)
}

// composite is what mod-users-bl tells of a user.
func (c *blCaller) composite(r *http.Request, who string) (map[string]any, error) {
	var users struct{ Users []User }
	if err := c.get("/users?query="+url.QueryEscape(who), &users); err != nil {
		return nil, err
	}
	if len(users.Users) != 1 {
		return nil, &answered{http.StatusNotFound, "Unable to find user"}
	}
	u := users.Users[0]
	var granted struct{ PermissionUsers []PermissionUser }
	if err := c.get("/perms/users?query="+url.QueryEscape("userId=="+u.ID), &granted); err != nil {
		return nil, err
	}
	permissions := map[string]any{"userId": u.ID, "permissions": []string{}}
	if len(granted.PermissionUsers) > 0 {
		own := granted.PermissionUsers[0]
		permissions["id"], permissions["permissions"] = own.ID, own.Permissions
		if r.URL.Query().Get("expandPermissions") == "true" {
			var all struct{ PermissionNames []any }
			if err := c.get("/perms/users/"+own.ID+"/permissions?expanded=true&full=true", &all); err != nil {
				return nil, err
			}
			permissions["permissions"] = all.PermissionNames
		}
	}
	answer := map[string]any{"user": u, "permissions": permissions, "proxiesFor": []any{}}
	if u.PatronGroup != "" {
		var group Group
		if err := c.get("/groups/"+u.PatronGroup, &group); err != nil {
			return nil, err
		}
		answer["patronGroup"] = group
	}
	return answer, c.desks(u.ID, answer)
}

func (c *blCaller) desks(userID string, answer map[string]any) error {
	var assigned struct{ ServicePointsUsers []ServicePointsUser }
	if err := c.get("/service-points-users?limit=1000&query="+url.QueryEscape("userId=="+userID), &assigned); err != nil {
		return err
	}
	if len(assigned.ServicePointsUsers) == 0 {
		return nil
	}
	own := assigned.ServicePointsUsers[0]
	var ids []string
	for _, id := range own.ServicePointsIDs {
		ids = append(ids, "id=="+id)
	}
	var points struct{ Servicepoints []ServicePoint }
	if err := c.get("/service-points?query="+url.QueryEscape("("+strings.Join(ids, " or ")+")"), &points); err != nil {
		return err
	}
	answer["servicePointsUser"] = map[string]any{
		"id": own.ID, "userId": own.UserID, "servicePointsIds": own.ServicePointsIDs,
		"servicePoints": points.Servicepoints, "defaultServicePointId": own.DefaultServicePointID,
	}
	return nil
}

// fail hands on what another module answered, as far as mod-users-bl does.
func fail(w http.ResponseWriter, err error) {
	var a *answered
	if !errors.As(err, &a) {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	switch a.status {
	case http.StatusUnprocessableEntity:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound:
		text(w, a.status, a.body)
	default:
		text(w, http.StatusInternalServerError, a.body)
	}
}

// claims reads a token as mod-users-bl does, without verifying it.
func claims(raw string) (tenant, userID string, err error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return "", "", errors.New("unable to parse token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", "", err
	}
	var c struct {
		Tenant string `json:"tenant"`
		UserID string `json:"user_id"`
	}
	if err := json.Unmarshal(payload, &c); err != nil || c.Tenant == "" {
		return "", "", errors.New("token without tenant")
	}
	return c.Tenant, c.UserID, nil
}

// quote is a term of CQL that means itself.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `*`, `\*`, `?`, `\?`, `^`, `\^`).Replace(s) + `"`
}
