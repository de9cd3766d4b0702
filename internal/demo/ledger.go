package demo

import (
	"errors"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// ledger is what the program knows of a session, for the picture. It tells what
// the real API keeps from a session's own token on purpose, above all when it
// rotated: whoever copied the token could wait for the moment.
//
// All times are durations in milliseconds, seen from the moment of the answer,
// so that the page needs no clock that is right.
type ledger struct {
	Session    string         `json:"session"`
	Username   string         `json:"username"`
	State      session.State  `json:"state"`
	EndReason  session.Reason `json:"endReason,omitempty"`
	EndedBy    string         `json:"endedBy,omitempty"`
	Generation uint64         `json:"generation"`
	// Rotated is how long ago the newest refresh token was made.
	Rotated int64 `json:"rotated"`
	// GraceFor is how long the one before it is still answered.
	GraceFor int64 `json:"graceFor"`
	// RotatesIn is when a refresh will rotate again; until then it gives new
	// access tokens only.
	RotatesIn int64 `json:"rotatesIn"`
	// IdleEndsIn is when the session ends unless it is refreshed, EndsIn when
	// it does whatever happens.
	IdleEndsIn int64 `json:"idleEndsIn"`
	EndsIn     int64 `json:"endsIn"`
	// Retries are answers that gave the same token again, stored every two
	// seconds or so.
	Retries uint64 `json:"retries"`
	Strikes int    `json:"strikes"`
	// StrikeEndsIn is when the session ends unless its owner heals the strikes.
	StrikeEndsIn int64         `json:"strikeEndsIn,omitempty"`
	Access       *ledgerAccess `json:"access,omitempty"`
	Events       []ledgerEvent `json:"events"`
}

// ledgerAccess is the access token that came with the request.
type ledgerAccess struct {
	ID         string `json:"id"`
	Generation uint64 `json:"generation"`
	Issued     int64  `json:"issued"`
	EndsIn     int64  `json:"endsIn"`
}

type ledgerEvent struct {
	Seq    int64      `json:"seq"`
	Ago    int64      `json:"ago"`
	Kind   audit.Kind `json:"kind"`
	Reason string     `json:"reason,omitempty"`
}

// ledger is GET /demo/ledger?session=ID. Whoever knows the id may read, also
// once the session is over and no token holds any more. Reading is no use of
// the session: the access cookie is looked at, and nothing is noted of it.
func (st *stage) ledger(w http.ResponseWriter, r *http.Request) {
	id, err := token.ParseSessionID(r.URL.Query().Get("session"))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": "session must be the id of a session"})
		return
	}
	sessions := st.server.Sessions()
	row, err := sessions.Session(r.Context(), id)
	var events []audit.Event
	if err == nil {
		events, err = sessions.Timeline(r.Context(), row)
	}
	switch {
	case errors.Is(err, session.ErrNotFound):
		answer(w, http.StatusNotFound, map[string]string{"message": "there is no such session"})
		return
	case err != nil:
		answer(w, http.StatusServiceUnavailable, map[string]string{"message": "the session cannot be read, try again"})
		return
	}
	now := st.server.Store().Now()
	l := st.ledgerOf(row, now)
	l.Access = st.accessOf(r, row, now)
	for _, e := range events {
		l.Events = append(l.Events, ledgerEvent{e.Seq, now.Sub(e.Time).Milliseconds(), e.Kind, e.Reason})
	}
	answer(w, http.StatusOK, l)
}

func (st *stage) ledgerOf(row *session.Session, now time.Time) *ledger {
	sessions := st.server.Sessions()
	rule := sessions.Policies.For(row.Tenant, row.Client, row.UserID).Rule()
	until := func(at time.Time) int64 { return max(0, ceilMilliseconds(at.Sub(now))) }
	l := &ledger{
		Session: row.ID.String(), Username: row.Username, State: sessions.StateOf(row, now),
		EndReason: row.RevokedWhy, EndedBy: row.RevokedBy, Generation: row.Gen,
		Rotated: now.Sub(row.RotatedAt).Milliseconds(), Retries: row.Retries,
		IdleEndsIn: until(sessions.ExpiresAt(row)), EndsIn: until(row.AbsoluteExpiry), Events: []ledgerEvent{},
	}
	if !row.WindowAt.IsZero() { // a first refresh rotates at once
		l.GraceFor, l.RotatesIn = until(row.WindowAt.Add(rule.Grace)), until(row.WindowAt.Add(rule.Floor))
	}
	for _, open := range row.StrikeOpen {
		if open != 0 {
			l.Strikes++
		}
	}
	if l.Strikes > 0 && l.State == session.StateLive {
		l.StrikeEndsIn = until(row.StrikeAt.Add(rule.Heal))
	}
	return l
}

// accessOf reads the access cookie, if it is of this session and not over.
func (st *stage) accessOf(r *http.Request, row *session.Session, now time.Time) *ledgerAccess {
	jar, err := session.ReadCookies(r)
	if err != nil {
		return nil
	}
	claims, err := st.server.Tokens().Verify(jar.Access, now, token.KindAccess)
	if err != nil || claims.Session != row.ID {
		return nil
	}
	return &ledgerAccess{
		ID: claims.ID, Generation: claims.Gen,
		Issued: now.Sub(claims.IssuedAt).Milliseconds(), EndsIn: claims.Expires.Sub(now).Milliseconds(),
	}
}

// ceilMilliseconds rounds up: whoever waits as long as it says has waited long
// enough.
func ceilMilliseconds(d time.Duration) int64 {
	return (d + time.Millisecond - 1).Milliseconds()
}
