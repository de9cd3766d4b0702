package folio

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/session"
)

// writeText answers with one line, as FOLIO does where it has no JSON.
func writeText(w http.ResponseWriter, status int, text string) {
	write(w, status, "text/plain; charset=utf-8", []byte(text))
}

// writeJSON answers with a value of one of the types of this package, all of
// which can be written.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body := bodies.Get().(*bytes.Buffer)
	body.Reset()
	if err := json.MarshalWrite(body, v); err != nil {
		writeText(w, http.StatusInternalServerError, errInternal.text)
		return
	}
	write(w, status, "application/json", body.Bytes())
	if body.Len() <= copied {
		bodies.Put(body)
	}
}

// bodies are used again if the server has copied them. A longer one it passes on
// as it is, and HTTP/2 may still be reading that when the client has given its
// request up: another's tokens must not get in there.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// copied is less than what the servers of HTTP/1 and HTTP/2 gather.
const copied = 2000

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// instant is a time as FOLIO writes it: RFC 3339, UTC as Z, whole seconds. It
// rounds down, so that a client that goes by it is never late.
type instant time.Time

func (i instant) MarshalText() ([]byte, error) {
	text := make([]byte, 0, len("2006-01-02T15:04:05Z"))
	return time.Time(i).UTC().AppendFormat(text, time.RFC3339), nil
}

// IsZero leaves a time out that there is not.
func (i instant) IsZero() bool { return time.Time(i).IsZero() }

// expirations tells a browser how long its cookies are good for.
type expirations struct {
	Access  instant `json:"accessTokenExpiration"`
	Refresh instant `json:"refreshTokenExpiration"`
}

func expirationsOf(t *session.Tokens) expirations {
	return expirations{instant(t.AccessExpires), instant(t.RefreshExpires)}
}

// pair is the tokens for whoever keeps them outside of a cookie jar.
type pair struct {
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	expirations
	TenantID string `json:"tenantId"`
}

// boundPair says also how the access token is to be shown, where it is bound to a
// key.
type boundPair struct {
	pair
	TokenType string `json:"tokenType,omitzero"`
}

func pairOf(t *session.Tokens) pair {
	return pair{t.Access, t.Refresh, expirationsOf(t), t.Tenant}
}
