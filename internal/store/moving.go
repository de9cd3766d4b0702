package store

import (
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// oldToken is a row of old_tokens.
func oldToken(id, userID, became string, expires, used int64) (o session.OldToken, err error) {
	o = session.OldToken{ID: id, UserID: userID, Expires: fromMicro(expires)}
	if used != 0 {
		o.UsedAt = fromMicro(used)
	}
	if became != "" {
		o.Session, err = token.ParseSessionID(became)
	}
	return o, err
}
