package trail

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Webhook is a sink that posts each event by itself, signed as the Standard
// Webhooks say: HMAC-SHA-256 over id, timestamp and body. The body has the claims
// of a Security Event Token (RFC 8417), with CAEP's event types where one fits.
type Webhook struct {
	URL    string
	Secret []byte
	// Issuer is our public URL, or another name of this installation.
	Issuer string
	Now    func() time.Time
	Client *http.Client
}

// ownEvents names the events that CAEP does not have.
const ownEvents = "urn:counterfoil:event:"

// NewWebhookClient follows no redirect and asks no proxy: the URL is the
// operator's, and nothing that answers may send events elsewhere. It does not
// connect to link-local addresses, where clouds keep credentials.
func NewWebhookClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || Forbidden(at.Addr()) {
			return errors.New("a webhook is not called at this address")
		}
		return nil
	}}
	return &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Forbidden are addresses that no webhook is at.
func Forbidden(a netip.Addr) bool {
	a = a.Unmap()
	return !a.IsValid() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
}

// Deliver posts one record after the other, until one is not taken.
func (w *Webhook) Deliver(ctx context.Context, records []audit.Record) (int, error) {
	for i := range records {
		if err := w.post(ctx, &records[i]); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

// Close ends idle connections.
func (w *Webhook) Close() { w.Client.CloseIdleConnections() }

func (w *Webhook) post(ctx context.Context, r *audit.Record) error {
	body, err := json.Marshal(w.claims(r), json.Deterministic(true))
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("audit.webhook: the request cannot be made")
	}
	id, stamp := eventID(r), strconv.FormatInt(w.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Counterfoil")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", stamp)
	request.Header.Set("Webhook-Signature", "v1,"+w.sign(id, stamp, body))
	answer, err := w.Client.Do(request)
	if err != nil {
		return fmt.Errorf("audit.webhook: %w", withoutURL(err))
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // or the connection could not be used again
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		// The receiver says that it is this event. All else may be its
		// configuration, or ours, and passes.
		return fmt.Errorf("%w: status %d", ErrRefused, code)
	default:
		return fmt.Errorf("audit.webhook: status %d", code)
	}
}

// withoutURL leaves out the URL, whose path may be a secret.
func withoutURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

func (w *Webhook) sign(id, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, w.Secret)
	mac.Write([]byte(id + "." + stamp + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// eventID is the same whenever an event is delivered, and of no other event of any
// installation.
func eventID(r *audit.Record) string { return "cfe_" + r.Hash[:32] }

// claims are those of a Security Event Token.
type claims struct {
	Issuer  string                    `json:"iss"`
	ID      string                    `json:"jti"`
	Issued  int64                     `json:"iat"`
	Time    int64                     `json:"toe"`
	Subject subject                   `json:"sub_id,omitzero"`
	Events  map[string]map[string]any `json:"events"`
	// Record is the event as the audit log has it, with its place in the chain.
	Record *audit.Record `json:"counterfoil"`
}

// subject is a complex subject of the Shared Signals Framework.
type subject struct {
	Format  string  `json:"format"`
	Tenant  *opaque `json:"tenant,omitempty"`
	User    *opaque `json:"user,omitempty"`
	Session *opaque `json:"session,omitempty"`
}

type opaque struct {
	Format string `json:"format"`
	ID     string `json:"id"`
}

func (w *Webhook) claims(r *audit.Record) claims {
	name := r.CAEP
	event := map[string]any{"event_timestamp": r.Time.Unix()}
	switch {
	case name == "":
		name = ownEvents + string(r.Kind)
	case r.Kind.CAEPChange() != "":
		event["credential_type"], event["change_type"] = "password", r.Kind.CAEPChange()
		if r.Kind == audit.APIKeyCreated || r.Kind == audit.APIKeyRotated || r.Kind == audit.APIKeyRevoked {
			event["credential_type"] = "api-key"
		}
	}
	if r.Reason != "" {
		event["reason_admin"] = map[string]string{"en": r.Reason}
	}
	s := subject{Tenant: of(r.Tenant), User: of(r.UserID), Session: of(r.Session)}
	if s != (subject{}) {
		s.Format = "complex"
	}
	return claims{
		Issuer: w.Issuer, ID: eventID(r), Issued: w.Now().Unix(), Time: r.Time.Unix(), Subject: s,
		Events: map[string]map[string]any{name: event}, Record: r,
	}
}

func of(id string) *opaque {
	if id == "" {
		return nil
	}
	return &opaque{"opaque", id}
}
