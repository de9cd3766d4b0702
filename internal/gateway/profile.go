package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

// ErrorProfile is in whose statuses and shapes the gateway refuses. Who is
// refused is the same in all of them.
type ErrorProfile string

// The profiles. ProfileOkapi is that of Okapi with mod-authtoken: 400 for a
// missing token, one line of text for everything. ProfileEureka is that of
// folio-module-sidecar: 401, and a list of errors in JSON. Otherwise 401, and
// JSON for tokens that do not hold, so that a client knows when to refresh.
const (
	ProfileCounterfoil ErrorProfile = "counterfoil"
	ProfileOkapi       ErrorProfile = "okapi"
	ProfileEureka      ErrorProfile = "eureka"
)

// Check refuses what is no profile.
func (p ErrorProfile) Check() error {
	switch p {
	case ProfileCounterfoil, ProfileOkapi, ProfileEureka:
		return nil
	}
	return fmt.Errorf("%q is not counterfoil, okapi or eureka", string(p))
}

// ErrorProfiles is the profile of each tenant. The zero value is
// ProfileCounterfoil for all.
type ErrorProfiles struct {
	// Default is that of tenants which Tenants does not name.
	Default ErrorProfile
	Tenants map[string]ErrorProfile
}

// For is the profile of a tenant, "" for one that is not known.
func (p *ErrorProfiles) For(tenant string) ErrorProfile {
	if own, ok := p.Tenants[tenant]; ok {
		return own
	}
	return p.Default
}

// of is the profile of a request by the tenant that it claims. Nothing is
// verified, since nothing but the shape of a refusal depends on it.
func (p *ErrorProfiles) of(r *http.Request) ErrorProfile {
	if len(p.Tenants) == 0 {
		return p.Default
	}
	c, err := ExtractClaim(r.Header, "", UnverifiedTenant)
	if err != nil {
		c.Tenant, _ = single(r.Header["X-Okapi-Tenant"])
	}
	return p.For(c.Tenant)
}

const invalidToken = "Invalid token"

// errOtherTenant is a token that holds, in another tenant than the one asked
// for. Okapi's filter says no more than that it is invalid.
var errOtherTenant = &Refusal{http.StatusForbidden, invalidToken + ": it is not of the tenant in X-Okapi-Tenant"}

// exactly is a refusal in the words and with the status of Okapi and
// mod-authtoken.
func exactly(r *http.Request, err error) error {
	if err = inFolioWords(err, audit.ActorFrom(r.Context()).UserID); errors.Is(err, session.ErrTokenExpired) {
		return &Refusal{http.StatusUnauthorized, invalidToken}
	}
	var refusal *Refusal
	switch {
	case err == errOtherTenant:
		return &Refusal{http.StatusForbidden, invalidToken}
	case errors.As(err, &refusal) && refusal.Status == http.StatusMethodNotAllowed:
		return noRoute
	}
	return err
}

// inFolioWords is a refusal as clients of FOLIO go by it, whose body is text.
// An expired token is left to the caller.
func inFolioWords(err error, userID string) error {
	var denied *Denied
	var gone *session.UserGone
	var wrong tokenRefusal
	switch {
	case errors.As(err, &wrong):
		return &Refusal{http.StatusUnauthorized, invalidToken + ": " + wrong.Error()}
	case errors.As(err, &gone) && gone.Inactive:
		return &Refusal{http.StatusUnauthorized, "Invalid token: user with id " + gone.UserID + " is not active"}
	case errors.As(err, &gone):
		return &Refusal{http.StatusUnauthorized, "Invalid token: User with id " + gone.UserID + " does not exist"}
	case errors.As(err, &denied) && denied.Caller == nil:
		// Stripes goes by this status and these words.
		return &Refusal{http.StatusBadRequest, denied.Error()}
	case errors.Is(err, session.ErrTokenInvalid):
		return &Refusal{http.StatusUnauthorized, invalidToken}
	case errors.Is(err, session.ErrDirectory):
		return &Refusal{http.StatusBadRequest, "Unable to retrieve permissions for user with id '" + userID + "': directory not available"}
	}
	return err
}

// eurekaErrors is a refusal as folio-module-sidecar writes it.
type eurekaErrors struct {
	Errors []eurekaError `json:"errors"`
	Total  int           `json:"total_records"`
}

type eurekaError struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// writeEureka says why in the message, but for tokens and permissions, of which
// a sidecar says nothing either.
func writeEureka(w http.ResponseWriter, status int, text string) {
	e := eurekaError{Type: "InternalServerErrorException", Code: "service_error", Message: strings.ToValidUTF8(text, "\ufffd")}
	switch status {
	case http.StatusUnauthorized:
		e = eurekaError{"UnauthorizedException", "authorization_error", "Unauthorized"}
	case http.StatusForbidden:
		e = eurekaError{"ForbiddenException", "authorization_error", "Access Denied"}
	case http.StatusNotFound:
		e.Type, e.Code = "NotFoundException", "route_not_found_error"
	case http.StatusBadGateway:
		e.Type = "WebApplicationException"
	case http.StatusServiceUnavailable:
		e.Type = "ServiceUnavailableException"
	case http.StatusGatewayTimeout:
		e.Type, e.Code = "TimeoutException", "read_timeout_error"
	default:
		if status < http.StatusInternalServerError {
			e.Type = "BadRequestException"
		}
	}
	body, _ := json.Marshal(eurekaErrors{[]eurekaError{e}, 1}) // valid strings alone cannot fail
	writeJSON(w, status, body)
}
