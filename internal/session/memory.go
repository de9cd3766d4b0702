package session

import (
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

// memory is what every node knows of revocations without asking the store:
// the sessions that ended while access tokens of theirs may still live, and
// the epochs of tenants and users.
type memory struct {
	mu     sync.RWMutex
	ended  map[token.SessionID]time.Time
	epochs map[epochKey]uint64
}

// epochKey names a tenant's epoch when userID is empty.
type epochKey struct{ tenant, userID string }

func (m *memory) init() {
	m.ended = make(map[token.SessionID]time.Time)
	m.epochs = make(map[epochKey]uint64)
}

func (m *memory) end(id token.SessionID, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, known := m.ended[id]; !known || old.Before(at) {
		m.ended[id] = at
	}
}

// raise moves an epoch. Epochs compose by max, so that news may arrive in any
// order.
func (m *memory) raise(tenant, userID string, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := epochKey{tenant, userID}
	m.epochs[key] = max(m.epochs[key], epoch)
}

// epoch is a user's, as far as it moved while tokens from before may live.
func (m *memory) epoch(tenant, userID string) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.epochs[epochKey{tenant, userID}]
}

// over is whether a token of this session and these epochs was revoked.
func (m *memory) over(id token.SessionID, tenant, userID string, tenantEpoch, userEpoch uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, ended := m.ended[id]; ended {
		return true
	}
	return tenantEpoch < m.epochs[epochKey{tenant, ""}] ||
		userID != "" && userEpoch < m.epochs[epochKey{tenant, userID}]
}

// forget drops sessions that ended before t.
func (m *memory) forget(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range m.ended {
		if at.Before(t) {
			delete(m.ended, id)
		}
	}
}
