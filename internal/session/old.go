package session

import (
	"context"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/counterfoil/counterfoil/internal/audit"
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
	// used are the legacy tokens that were used of late, and left what could not
	// be told of those that fell out.
	used *lru.Cache[tokenHash, *legacyUses]
	left []audit.Event
}

const (
	// legacyUsed bounds how many tokens are remembered.
	legacyUsed = 50_000
	// tellLegacyEvery is how often a token that is used all the time is told of.
	tellLegacyEvery = time.Minute
	// usedFrom bounds the addresses that are told of one token at one time.
	usedFrom = 8
)

// legacyUses are the uses of one token that are not told yet.
type legacyUses struct {
	last      audit.Event // of the last use
	told      time.Time
	since     time.Time
	count     int
	addresses []string
}

func (o *OldTokens) init(ctx context.Context, feed Feed) error {
	o.used, _ = lru.NewWithEvict(legacyUsed, func(_ tokenHash, u *legacyUses) {
		if u.count > 0 {
			o.left = append(o.left, u.tell())
		}
	})
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

// use counts a use of a legacy token, and gives the events that are to be
// written now. The first use is told at once, those that follow within a minute
// together.
func (o *OldTokens) use(raw string, e audit.Event, now time.Time) []audit.Event {
	hash := tokenHash(sha256.Sum256([]byte(raw)))
	o.mu.Lock()
	defer o.mu.Unlock()
	u, known := o.used.Get(hash)
	if !known {
		u = &legacyUses{}
		o.used.Add(hash, u)
	}
	if u.count == 0 {
		u.since = now
	}
	u.count++
	u.last = e
	if from := e.Actor.Address; len(u.addresses) < usedFrom && !slices.Contains(u.addresses, from) {
		u.addresses = append(u.addresses, from)
	}
	events := o.left
	o.left = nil
	if u.due(now) {
		u.told = now
		events = append(events, u.tell())
	}
	return events
}

// untold are the events of uses that were not told within a minute, or of all
// uses that were not told.
func (o *OldTokens) untold(now time.Time, all bool) []audit.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	events := o.left
	o.left = nil
	for _, u := range o.used.Values() {
		if u.count > 0 && (all || u.due(now)) {
			u.told = now
			events = append(events, u.tell())
		}
	}
	return events
}

func (u *legacyUses) due(now time.Time) bool {
	return now.Sub(u.told) >= tellLegacyEvery || now.Before(u.told)
}

// tell makes the event of all uses since the last one.
func (u *legacyUses) tell() audit.Event {
	e := u.last
	e.Detail = map[string]string{
		"uses": strconv.Itoa(u.count), "since": u.since.UTC().Format(time.RFC3339), "addresses": strings.Join(u.addresses, " "),
	}
	u.count, u.addresses = 0, nil
	return e
}
