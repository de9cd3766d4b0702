package session

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/counterfoil/counterfoil/internal/token"
)

// OldTokens says which tokens of mod-authtoken count, and until when. Fill in the
// fields.
type OldTokens struct {
	Reader *token.FOLIO
	// Until is when its access and refresh tokens cease to count.
	Until time.Time
	// Legacy are the tenants whose tokens that never expire count until
	// LegacyUntil.
	Legacy      map[string]bool
	LegacyUntil time.Time

	mu sync.RWMutex
	// moved is when the epochs moved: old tokens carry none to compare.
	moved map[epochKey]time.Time
	// told is when the use of a token was last told.
	told *lru.Cache[tokenHash, time.Time]
}

// oldTokensTold bounds the memory of told. A token that falls out is told of
// again.
const oldTokensTold = 50_000

func (o *OldTokens) init(ctx context.Context, feed Feed) error {
	o.told, _ = lru.New[tokenHash, time.Time](oldTokensTold)
	o.moved = make(map[epochKey]time.Time)
	epochs, err := feed.Epochs(ctx, time.Time{})
	for _, c := range epochs {
		o.raise(c)
	}
	return err
}

func (o *OldTokens) raise(c Change) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := epochKey{c.Tenant, c.UserID}
	if c.Epoch > 0 && c.At.After(o.moved[key]) {
		o.moved[key] = c.At
	}
}

// endedAfter is whether all sessions of a user were ended at or after a time
// that is cut to seconds.
func (o *OldTokens) endedAfter(tenant, userID string, issued time.Time) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	for _, key := range []epochKey{{}, {tenant, ""}, {tenant, userID}} {
		if at, moved := o.moved[key]; moved && issued.Before(at) {
			return true
		}
	}
	return false
}

// counts says whether a genuine token counts now.
func (o *OldTokens) counts(c *token.Claims, legacy bool, now time.Time) error {
	switch {
	case legacy && !o.HasLegacy(c.Tenant, now):
		return ErrTokenInvalid
	case !legacy && !now.Before(o.Until):
		return ErrTokenExpired // refreshing leads on
	case o.endedAfter(c.Tenant, c.UserID, c.IssuedAt):
		return ErrTokenInvalid
	}
	return nil
}

// HasLegacy is whether a tenant has tokens that never expire. It may be called
// on nil.
func (o *OldTokens) HasLegacy(tenant string, now time.Time) bool {
	return o != nil && o.Legacy[tenant] && now.Before(o.LegacyUntil)
}

// due is whether the use of a token was not told within the last minute.
func (o *OldTokens) due(raw string, now time.Time) bool {
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if last, told := o.told.Get(hash); told && now.Sub(last) < time.Minute && !now.Before(last) {
		return false
	}
	o.told.Add(hash, now)
	return true
}
