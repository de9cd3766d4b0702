package directory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// loadTimeout ends a look-up that nobody may be waiting for any more. It is
// mod-authtoken's perm.lookup.timeout.
const loadTimeout = 10 * time.Second

// memory keeps the answers of a slow source, the most recently used ones, and
// asks once for all who want the same at the same time.
//
// What is forgotten stays forgotten: an answer that was on its way when its
// key was forgotten reaches those who already waited for it, and is neither
// kept nor given to anybody who asks later. This is why it is not
// x/sync/singleflight, whose Forget cannot keep the late answer out of a
// cache beside it.
type memory[K comparable, V any] struct {
	mu      sync.Mutex
	kept    *simplelru.LRU[K, answer[V]]
	loading map[K]*load[V]
	now     func() time.Time
	// stale is told of every answer that is given beyond its time.
	stale func()
}

// answer is a value and when it is too old; zero means that it does not age.
type answer[V any] struct {
	value V
	until time.Time
	// stale is until when it may be given beyond that, while the source fails.
	stale time.Time
}

// staleFor is for how long an answer is given beyond its time before the source
// is asked again.
const staleFor = time.Second

type load[V any] struct {
	done chan struct{}
	answer[V]
	err error
}

func (m *memory[K, V]) init(size int, now func() time.Time, stale func()) error {
	kept, err := simplelru.NewLRU[K, answer[V]](size, nil)
	m.kept, m.loading, m.now, m.stale = kept, make(map[K]*load[V]), now, stale
	return err
}

// get returns what is kept. It does not allocate.
func (m *memory[K, V]) get(key K) (a answer[V], ok bool) {
	m.mu.Lock()
	a, ok = m.kept.Get(key)
	m.mu.Unlock()
	if ok && !a.until.IsZero() && !m.now().Before(a.until) {
		return answer[V]{}, false
	}
	return a, ok
}

// load reads what is not kept. The reading goes on if the caller leaves, since
// others may wait for it. Errors are not kept.
func (m *memory[K, V]) load(ctx context.Context, key K, read func(context.Context) (answer[V], error)) (answer[V], error) {
	m.mu.Lock()
	l, running := m.loading[key]
	if !running {
		l = &load[V]{done: make(chan struct{})}
		m.loading[key] = l
		go m.run(context.WithoutCancel(ctx), key, l, read)
	}
	m.mu.Unlock()
	select {
	case <-l.done:
		return l.answer, l.err
	case <-ctx.Done():
		return answer[V]{}, ctx.Err()
	}
}

func (m *memory[K, V]) run(ctx context.Context, key K, l *load[V], read func(context.Context) (answer[V], error)) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	l.answer, l.err = read(ctx)
	m.mu.Lock()
	if m.loading[key] == l {
		delete(m.loading, key)
		m.settle(key, l)
	}
	m.mu.Unlock()
	close(l.done)
}

// settle keeps an answer. Where the source failed, the last one counts a little
// longer, if it is not too old for that. One who is gone is no failure.
func (m *memory[K, V]) settle(key K, l *load[V]) {
	if l.err == nil {
		m.kept.Add(key, l.answer)
		return
	}
	if errors.Is(l.err, ErrNotFound) {
		m.kept.Remove(key)
		return
	}
	now := m.now()
	last, ok := m.kept.Peek(key)
	if !ok || !now.Before(last.stale) {
		return
	}
	if last.until = now.Add(staleFor); last.until.After(last.stale) {
		last.until = last.stale
	}
	m.kept.Add(key, last)
	l.answer, l.err = last, nil
	if m.stale != nil {
		m.stale()
	}
}

// forget drops one key and disowns its load.
func (m *memory[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept.Remove(key)
	delete(m.loading, key)
}

// forgetAll drops the keys that which names, and disowns their loads.
func (m *memory[K, V]) forgetAll(which func(K) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range m.kept.Keys() {
		if which(key) {
			m.kept.Remove(key)
		}
	}
	for key := range m.loading {
		if which(key) {
			delete(m.loading, key)
		}
	}
}
