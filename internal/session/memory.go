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

// epochKey names a tenant's epoch when userID is empty, and when tenant is empty,
// too, that of all tenants, which a restore moves.
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
// order. A restore of the store is the exception: epochs from before it are of
// sessions that are over by its own, and may be higher than those that the
// store now gives out.
func (m *memory) raise(tenant, userID string, epoch uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := epochKey{tenant, userID}
	if key == (epochKey{}) && epoch > m.epochs[key] {
		clear(m.epochs)
	}
	m.epochs[key] = max(m.epochs[key], epoch)
}

// epoch is a user's, as far as it moved while tokens from before may live.
func (m *memory) epoch(tenant, userID string) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.epochs[epochKey{tenant, userID}]
}

// TenantEpoch is the epoch for a token that is minted now, in a tenant and for
// nobody: one of a lower epoch was revoked.
func (s *Service) TenantEpoch(tenant string) uint64 {
	m := &s.memory
	m.mu.RLock()
	defer m.mu.RUnlock()
	return max(m.epochs[epochKey{}], m.epochs[epochKey{tenant, ""}])
}

// over is whether a token of this session and these epochs was revoked.
func (m *memory) over(id token.SessionID, tenant, userID string, tenantEpoch, userEpoch uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, ended := m.ended[id]; ended {
		return true
	}
	return tenantEpoch < max(m.epochs[epochKey{}], m.epochs[epochKey{tenant, ""}]) ||
		userID != "" && userEpoch < m.epochs[epochKey{tenant, userID}]
}

// overRow is whether the session of a row is over by what is remembered. The row may
// not say so: an epoch is in no row, and a database that was turned back has forgotten.
func (m *memory) overRow(row *Session) bool {
	return m.over(row.ID, row.Tenant, row.UserID, row.TenantEpoch, row.UserEpoch)
}

// restored is whether sessions of this epoch ended because the database was
// restored.
func (m *memory) restored(tenantEpoch uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return tenantEpoch < m.epochs[epochKey{}]
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
