package folio

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/internal/session"
)

// maxBody bounds what is read of a request, in bytes.
const maxBody = 64 << 10

// strict refuses members that we do not know, where the shape is ours. FOLIO's
// clients send more than they must, so its own shapes are read without.
var strict = json.RejectUnknownMembers(true)

// decode reads the JSON object in r's body into v. It returns false if there
// is no body, with whatever media type. A body must say that it is JSON: forms
// and text are what pages of other sites can send without asking.
//
// Names are compared exactly and must not occur twice: a decoder that is
// lenient there, as others are, finds another password than the filter in
// front of it did.
func decode(w http.ResponseWriter, r *http.Request, v any, options ...json.Options) (present bool, err error) {
	for _, encoding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(encoding, "identity") {
			return false, listed(http.StatusUnsupportedMediaType, "body.encoding", "Send the body without Content-Encoding")
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return false, listed(http.StatusRequestEntityTooLarge, "body.too.large", "Body must not exceed 64 KiB")
	case err != nil:
		return false, badBody("it was not sent to its end")
	}
	body = bytes.TrimLeft(body, " \t\r\n")
	if len(body) == 0 {
		return false, nil
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return false, listed(http.StatusUnsupportedMediaType, "body.type", "Content-Type must be application/json")
	}
	if body[0] != '{' {
		return false, badBody("it must be a JSON object")
	}
	if err := json.Unmarshal(body, v, options...); err != nil {
		return false, badBody(reason(err))
	}
	return true, nil
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	media, params, err := mime.ParseMediaType(contentType)
	charset, ok := params["charset"]
	return err == nil && media == "application/json" && (!ok || strings.EqualFold(charset, "utf-8"))
}

func badBody(why string) *refusal {
	return listed(http.StatusBadRequest, codeBody, "Body not accepted: "+why)
}

// reason says what is wrong with a body. It repeats nothing of it: in the
// wrong place may stand a password.
func reason(err error) string {
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "a name occurs twice in one object"
	case errors.Is(err, json.ErrUnknownName):
		return "it has a member that is not known here"
	case errors.As(err, &semantic):
		return "a member has the wrong type"
	}
	return "it is not valid JSON in UTF-8"
}

// tenantOf is the tenant that a request names, empty if it names none. Named
// twice, it must be the same, or a proxy and we might each believe another.
func tenantOf(r *http.Request) (string, error) {
	values := r.Header.Values("X-Okapi-Tenant")
	for _, v := range values {
		if v != values[0] {
			return "", plain(http.StatusBadRequest, "Different tenants in X-Okapi-Tenant. Use only one of them")
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// knownTenant is the tenant that a request must name.
func (h *Handler) knownTenant(r *http.Request) (string, error) {
	tenant, err := tenantOf(r)
	if err != nil {
		return "", err
	}
	if tenant == "" {
		return "", errMissingTenant
	}
	if _, known := h.Directory.Tenant(tenant); !known {
		return "", plain(http.StatusBadRequest, "No such Tenant "+cut(tenant))
	}
	return tenant, nil
}

// cut bounds what a refusal repeats of its request.
func cut(s string) string { return s[:min(len(s), 64)] }

// presented is the refresh token of a request, and what came along.
type presented struct {
	token  string
	heals  []string
	device string
	// inBody is whether the client keeps its tokens itself.
	inBody bool
}

// present finds the refresh token of a request, in the body or in the cookie.
// None is no error; two that differ are, because whichever we took could be
// the wrong one.
func present(w http.ResponseWriter, r *http.Request) (presented, error) {
	var body struct {
		RefreshToken string `json:"refreshToken"`
		Heal         string `json:"heal"`
	}
	if _, err := decode(w, r, &body, strict); err != nil {
		var bad *refusal
		if errors.As(err, &bad) && bad.status == http.StatusBadRequest {
			err = listed(http.StatusBadRequest, codeTokenParse, bad.fault.Message)
		}
		return presented{}, err
	}
	jar, err := session.ReadCookies(r)
	if err != nil {
		return presented{}, listed(http.StatusBadRequest, codeTokenParse, "A token cookie came more than once")
	}
	p := presented{token: jar.Refresh, heals: jar.Heals, device: jar.Device}
	if body.RefreshToken != "" {
		if jar.Refresh != "" && jar.Refresh != body.RefreshToken {
			return presented{}, listed(http.StatusBadRequest, codeTokenParse, "Different refresh tokens in body and cookie. Use only one of them")
		}
		p.token, p.inBody = body.RefreshToken, true
	}
	if body.Heal != "" {
		p.heals = []string{body.Heal}
	}
	return p, nil
}

// fromBrowser is whether a request comes from a browser, where several tabs
// share one cookie jar. Programs do not send these headers.
func fromBrowser(r *http.Request) bool {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"} {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}
