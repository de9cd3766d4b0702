package gateway

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
)

// maxPartnerError is how much of a module's fault is told to a partner, bytes.
const maxPartnerError = 64 << 10

// ordersError is what edge-orders answers to a fault.
type ordersError struct {
	XMLName xml.Name `json:"-" xml:"Response"`
	Error   struct {
		Code    string `json:"Code" xml:"Code"`
		Message string `json:"Message" xml:"Message"`
	} `json:"Error" xml:"Error"`
}

// ordersCode is edge-orders' name for a status.
func ordersCode(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "BAD_REQUEST"
	case http.StatusUnauthorized:
		return "API_KEY_INVALID"
	case http.StatusForbidden:
		return "FORBIDDEN"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusRequestTimeout:
		return "REQUEST_TIMEOUT"
	}
	return "INTERNAL_SERVER_ERROR"
}

// ordersBody writes a fault in JSON to whoever accepts that, and in XML to all
// others.
func ordersBody(accept, code, text string) (contentType string, body []byte) {
	var e ordersError
	e.Error.Code, e.Error.Message = code, strings.ToValidUTF8(text, "\ufffd")
	if strings.Contains(accept, "application/json") {
		body, _ = json.Marshal(&e) // strings alone cannot fail
		return "application/json", body
	}
	body, _ = xml.Marshal(&e)
	return "application/xml", append([]byte(xml.Header), body...)
}

// writeOrdersError answers a fault of the gateway's own. A module that took too
// long is 408 with edge-orders.
func writeOrdersError(w http.ResponseWriter, r *http.Request, status int, text string) {
	if status == http.StatusGatewayTimeout {
		status = http.StatusRequestTimeout
	}
	contentType, body := ordersBody(r.Header.Get("Accept"), ordersCode(status), text)
	write(w, status, contentType, body)
}

// ordersResponse puts a module's fault into that form, unless it is in the very
// type that the partner asked for. The status stays.
func ordersResponse(r *http.Request, res *http.Response) error {
	contentType := res.Header.Get("Content-Type")
	if res.StatusCode < 300 || res.Body == nil || r.Method == http.MethodHead || contentType != "" && contentType == r.Header.Get("Accept") {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxPartnerError))
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if len(text) > 0 {
		code := ordersCode(res.StatusCode)
		if res.StatusCode == http.StatusUnauthorized {
			code = "ACCESS_DENIED" // the key was good
		}
		contentType, text = ordersBody(r.Header.Get("Accept"), code, string(text))
		res.Header.Set("Content-Type", contentType)
	}
	res.Header.Del("Content-Encoding")
	res.Header.Set("Content-Length", strconv.Itoa(len(text)))
	res.ContentLength = int64(len(text))
	res.Body = io.NopCloser(bytes.NewReader(text))
	return nil
}
