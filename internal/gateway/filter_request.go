package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// tenantPath is where Okapi tells modules about tenants. The filter is asked
// about that, too, and about a tenant that it is about to hear of.
const tenantPath = "/_/tenant"

// readFromOkapi is read for what Okapi passes on. Okapi has found the token and
// the tenant, has put its own link to the chain of request ids, and leaves all
// else that a client says as it is.
func (l *listener) readFromOkapi(r *http.Request, rawPath string) (c Claim, requestID string, err error) {
	g, h := l.gateway, r.Header
	if err := oneSpelling(h); err != nil {
		return c, "", err
	}
	var chain, url string
	for _, field := range [...]struct {
		name  string
		value *string
	}{
		{"X-Okapi-Tenant", &c.Tenant}, {"X-Okapi-Token", &c.Token}, {"X-Okapi-Url", &url}, {"X-Okapi-Request-Id", &chain},
	} {
		var same bool
		if *field.value, same = single(h[field.name]); !same {
			return c, "", badRequest("Different values in " + field.name + ". Use only one of them")
		}
	}
	requestID = g.RequestIDs.adopt(chain, rawPath)
	audit.ActorFrom(r.Context()).RequestID = requestID
	switch {
	case c.Tenant == "":
		return c, "", badRequest("Missing header: X-Okapi-Tenant")
	case url == "": // mod-authtoken calls back there; we never go where a header says
		return c, "", badRequest("Missing header: X-Okapi-Url")
	case len(c.Token) > maxToken:
		return c, "", badRequest("Invalid Token: too long")
	}
	if _, known := g.Directory.Tenant(c.Tenant); !known && !strings.HasPrefix(rawPath, tenantPath) {
		return c, "", badRequest("No such Tenant " + cut(c.Tenant))
	}
	if cookie, n := accessTokens(h["Cookie"]); n > 0 {
		c.FromCookie = cookie == c.Token
	}
	return c, requestID, nil
}

// oneSpelling refuses names that a module may read as one of Okapi's and Okapi
// does not, such as X_Okapi_User_Id.
func oneSpelling(h http.Header) error {
	for name := range h {
		if strings.IndexFunc(name, odd) < 0 {
			continue
		}
		var buf [longestGoverned]byte
		if folded := fold(name, &buf); hasPrefix(folded, "x-okapi") || string(folded) == "authtoken-refresh-cache" {
			return badRequest("Invalid header name, write it with dashes: " + cut(name))
		}
	}
	return nil
}

func odd(c rune) bool {
	return c != '-' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
}

// read takes the permissions of the route from the headers. A header that
// comes twice is refused: one of them would not be Okapi's.
func (q *question) read(h http.Header) (err error) {
	for _, list := range [...]struct {
		name string
		into *[]string
	}{
		{"X-Okapi-Permissions-Required", &q.facts.Required},
		{"X-Okapi-Permissions-Desired", &q.facts.Desired},
		{"X-Okapi-Extra-Permissions", &q.facts.Extra},
	} {
		value, same := single(h[list.name])
		if !same {
			return badRequest("Different values in " + list.name + ". Use only one of them")
		}
		if *list.into, err = permissionList(list.name, value); err != nil {
			return err
		}
	}
	var same bool
	if q.userID, same = single(h["X-Okapi-User-Id"]); !same {
		return badRequest("Different values in X-Okapi-User-Id. Use only one of them")
	}
	lent, same := single(h["X-Okapi-Module-Permissions"])
	if !same {
		return badRequest("Different values in X-Okapi-Module-Permissions. Use only one of them")
	}
	q.modules, err = lendings(lent)
	return err
}

// permissionList reads a list as Okapi writes it: separated by commas, or a
// JSON array, as which it writes X-Okapi-Extra-Permissions alone.
func permissionList(header, value string) ([]string, error) {
	if value == "" {
		return nil, nil
	}
	var list []string
	if value[0] == '[' {
		if err := json.Unmarshal([]byte(value), &list); err != nil {
			return nil, badRequest("Invalid JSON in " + header)
		}
		return list, nil
	}
	if !utf8.ValidString(value) {
		return nil, badRequest("Invalid text in " + header)
	}
	list = make([]string, 0, strings.Count(value, ",")+1)
	for name := range strings.SplitSeq(value, ",") {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, name)
		}
	}
	return list, nil
}

// lendings reads X-Okapi-Module-Permissions, a JSON object of lists. A null
// lends nothing, and is no reason for a token.
func lendings(value string) ([]lending, error) {
	if value == "" || value == "{}" {
		return nil, nil
	}
	var lent map[string][]string
	if err := json.Unmarshal([]byte(value), &lent); err != nil {
		return nil, badRequest("Invalid JSON in X-Okapi-Module-Permissions")
	}
	if len(lent) > maxModules {
		return nil, badRequest("More than " + strconv.Itoa(maxModules) + " modules in X-Okapi-Module-Permissions")
	}
	list := make([]lending, 0, len(lent))
	for module, permissions := range lent {
		if module == "" || module == "_" {
			return nil, badRequest("Invalid module in X-Okapi-Module-Permissions")
		}
		if permissions != nil {
			list = append(list, lending{module, permissions})
		}
	}
	slices.SortFunc(list, func(a, b lending) int { return strings.Compare(a.module, b.module) })
	return list, nil
}
