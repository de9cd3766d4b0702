package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Backchannel tells one client of the ends of its sessions (OpenID Connect
// Back-Channel Logout 1.0). It takes the events of the audit log in their order, as
// any sink does: the log remembers how far it came, one node does it, and a client
// that is away is told later.
type Backchannel struct {
	Client   *session.Client
	Sessions *session.Service
	Ring     *token.Ring
	// HTTP follows no redirects.
	HTTP *http.Client
	Now  func() time.Time

	// told is how far the sessions of a tenant that was ended have been told of: one
	// event may be of more than can be told in one go.
	told struct {
		n      int64
		cursor string
	}
}

// ErrNotTold is a client that does not want to hear of an end.
var ErrNotTold = errors.New("the client refuses to be told")

// staleAfter is when nobody needs to hear of an end any more: access tokens and
// most sessions at the client are over by then.
const staleAfter = 24 * time.Hour

// Deliver tells of one end after the other, until one cannot be told.
func (b *Backchannel) Deliver(ctx context.Context, records []audit.Record) (int, error) {
	for i := range records {
		if err := b.tell(ctx, &records[i]); err != nil {
			return i, err
		}
	}
	return len(records), nil
}

// Close ends idle connections.
func (b *Backchannel) Close() { b.HTTP.CloseIdleConnections() }

func (b *Backchannel) tell(ctx context.Context, r *audit.Record) error {
	if r.Tenant != b.Client.Tenant || b.Now().Sub(r.Time) > staleAfter {
		return nil
	}
	if r.Kind == audit.TenantEnded {
		return b.tellAll(ctx, r)
	}
	id, err := token.ParseSessionID(r.Session)
	if err != nil || !session.Ends(r.Kind) {
		return nil
	}
	row, err := b.Sessions.Session(ctx, id)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil
	case err != nil:
		return err
	case row.Client != b.Client.ID || row.RevokedAt.IsZero():
		return nil
	}
	return b.post(ctx, row)
}

// tellAll is for the end of all sessions of a tenant, which is one event.
func (b *Backchannel) tellAll(ctx context.Context, r *audit.Record) error {
	f := session.Filter{Tenant: b.Client.Tenant, Client: b.Client.ID, Limit: 100}
	if b.told.n == r.N {
		f.Cursor = b.told.cursor
	}
	for {
		page, err := b.Sessions.List(ctx, f)
		if err != nil {
			return err
		}
		for i := range page.Sessions {
			row := &page.Sessions[i]
			if row.CreatedAt.After(r.Time) || !row.RevokedAt.IsZero() && row.RevokedAt.Before(r.Time) || !row.AbsoluteExpiry.After(r.Time) {
				continue
			}
			if err := b.post(ctx, row); err != nil && !errors.Is(err, ErrNotTold) {
				return err
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return nil
		}
		b.told.n, b.told.cursor = r.N, f.Cursor
	}
}

func (b *Backchannel) post(ctx context.Context, row *session.Session) error {
	logout, err := b.Ring.MintLogout(row.Tenant, row.Client, row.UserID, row.ID, b.Now())
	if err != nil {
		return err
	}
	body := url.Values{"logout_token": {logout}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.Client.LogoutURI, strings.NewReader(body))
	if err != nil {
		return errors.New("back-channel logout: the request cannot be made")
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "Counterfoil")
	answer, err := b.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("back-channel logout at client %s: %w", b.Client.ID, errors.Unwrap(err)) // without the URL
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // or the connection could not be used again
	switch code := answer.StatusCode; {
	case code == http.StatusOK, code == http.StatusNoContent:
		return nil
	case code == http.StatusBadRequest:
		return fmt.Errorf("%w: status %d", ErrNotTold, code)
	default:
		return fmt.Errorf("back-channel logout at client %s: status %d", b.Client.ID, code)
	}
}
