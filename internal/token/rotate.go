package token

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Rotate brings a new key of the purpose and of one of its algorithms, "" for
// the default. Keys of other algorithms stay as they are.
//
// An access key is pending until it was published for long enough, unless now
// is true: then it signs at once, and whoever caches the JWKS refuses its
// tokens until he fetches again. There is one pending key at most: a second
// call returns it, or with now makes it active. Keys of other purposes are
// always active at once.
//
// The key that was active is retired. Rotating the derive key removes the old
// one and with it everything that was made with its sub-keys. Another node
// refuses tokens of a key that is active at once until it has called Reload.
func (r *Ring) Rotate(ctx context.Context, purpose, algorithm string, now bool) (KeyInfo, error) {
	if algorithm == "" && len(algorithms[purpose]) > 0 {
		algorithm = algorithms[purpose][0]
	}
	var id string
	err := r.change(ctx, func(d *draft) error {
		i := slices.IndexFunc(d.keys, func(k StoredKey) bool {
			return k.Purpose == purpose && k.Algorithm == algorithm && k.State == StatePending
		})
		if i < 0 {
			var err error
			if i, err = d.add(purpose, algorithm); err != nil {
				return err
			}
		}
		if now || purpose != PurposeAccess {
			d.activate(i)
		}
		id = d.keys[i].ID
		return nil
	})
	if err != nil {
		return KeyInfo{}, fmt.Errorf("rotate %s key: %w", purpose, err)
	}
	infos := r.Keys()
	return infos[slices.IndexFunc(infos, func(k KeyInfo) bool {
		return k.Purpose == purpose && k.ID == id
	})], nil
}

// Retire takes a key out of use for signing; it still verifies for a while. A
// new key takes the place of the active one at once. Retiring a retired key
// changes nothing. A removed key stays removed: ErrNoKey.
func (r *Ring) Retire(ctx context.Context, purpose, id string) error {
	err := r.change(ctx, func(d *draft) error {
		i, err := d.find(purpose, id)
		if err != nil {
			return err
		}
		switch d.keys[i].State {
		case StateRemoved:
			return fmt.Errorf("%w: it was removed", ErrNoKey)
		case StatePending, StateActive:
			d.enter(i, StateRetired)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("retire %s key %q: %w", purpose, id, err)
	}
	return nil
}

// Remove is for a key that others may know: it wipes the secret from the
// store, and when it returns this node refuses everything that the key signed.
// A new key takes the place of the active one in the same write. A pending key
// does not: if it may be known too, remove it as well. Removing a removed key changes nothing.
func (r *Ring) Remove(ctx context.Context, purpose, id string) error {
	err := r.change(ctx, func(d *draft) error {
		i, err := d.find(purpose, id)
		if err != nil {
			return err
		}
		if d.keys[i].State != StateRemoved {
			d.enter(i, StateRemoved)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove %s key %q: %w", purpose, id, err)
	}
	return nil
}

// Tick makes pending keys active that were published for long enough and
// removes retired keys whose time is over. Call it every minute or so.
func (r *Ring) Tick(ctx context.Context) error {
	if err := r.change(ctx, func(*draft) error { return nil }); err != nil {
		return fmt.Errorf("key ring: %w", err)
	}
	return nil
}

// Reload reads the keys again, after another node changed them. If it fails
// the ring goes on with the keys that it has.
func (r *Ring) Reload(ctx context.Context) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	return r.read(ctx)
}

// read is called with changing held.
func (r *Ring) read(ctx context.Context) error {
	stored, err := r.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("reload keys: %w", err)
	}
	next, err := r.open(stored, r.state.Load())
	if err != nil {
		return fmt.Errorf("reload keys: %w", err)
	}
	r.state.Store(next)
	return nil
}

// Heard is Reload for whoever is told of changes that may be this ring's own:
// such a change is not waited for, since it may be waiting for the caller. What
// others changed meanwhile is read right after it.
func (r *Ring) Heard(ctx context.Context) error {
	if !r.changing.TryLock() {
		r.behind.Store(true)
		return nil
	}
	defer r.changing.Unlock()
	return r.read(ctx)
}

// change applies edit and what is due to the keys as they are in the store
// now, which another node may have changed, so that a key it removed is not
// written back. Only keys that changed are saved, in one step, and only if
// the result can be opened; readers see it afterwards.
func (r *Ring) change(ctx context.Context, edit func(*draft) error) error {
	err := r.changeAlone(ctx, edit)
	if r.behind.Swap(false) {
		_ = r.Reload(ctx) // if it fails, Tick reads them within a minute
	}
	return err
}

func (r *Ring) changeAlone(ctx context.Context, edit func(*draft) error) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	stored, err := r.store.Keys(ctx)
	if err != nil {
		return err
	}
	// Nothing is changed in a store with keys that cannot be opened: what is
	// due would remove some of them unseen.
	if _, err := r.openKeys(stored); err != nil {
		return err
	}
	d := &draft{
		ring: r,
		now:  r.now().UTC().Truncate(time.Millisecond),
		keys: slices.Clone(stored),
	}
	d.changed = make([]bool, len(d.keys))
	if err := edit(d); err != nil {
		return err
	}
	if err := d.settle(); err != nil {
		return err
	}
	next, err := r.open(d.keys, r.state.Load())
	if err != nil {
		return err
	}
	if changes := d.changes(); len(changes) > 0 {
		if err := r.store.SaveKeys(ctx, changes); err != nil {
			return err
		}
	}
	r.state.Store(next)
	return nil
}

// draft is the keys while a change is worked out.
type draft struct {
	ring    *Ring
	now     time.Time
	keys    []StoredKey
	changed []bool // beside keys
}

func (d *draft) changes() []StoredKey {
	var changes []StoredKey
	for i, k := range d.keys {
		if d.changed[i] {
			changes = append(changes, k)
		}
	}
	return changes
}

func (d *draft) find(purpose, id string) (int, error) {
	i := slices.IndexFunc(d.keys, func(k StoredKey) bool { return k.Purpose == purpose && k.ID == id })
	if i < 0 {
		return 0, ErrNoKey
	}
	return i, nil
}

// add draws a new key, pending.
func (d *draft) add(purpose, algorithm string) (int, error) {
	if !slices.Contains(purposes, purpose) {
		return 0, fmt.Errorf("%w: the purposes are %v", ErrNoKey, purposes)
	}
	if !slices.Contains(algorithms[purpose], algorithm) {
		return 0, fmt.Errorf("%w: the algorithms of %s keys are %v", ErrNoKey, purpose, algorithms[purpose])
	}
	k, err := newKey(purpose, algorithm, d.keys, d.ring.vault)
	if err != nil {
		return 0, err
	}
	k.State, k.CreatedAt = StatePending, d.now
	// A refresh key's number may be that of a key removed long ago.
	if i, err := d.find(purpose, k.ID); err == nil {
		d.keys[i], d.changed[i] = k, true
		return i, nil
	}
	d.keys = append(d.keys, k)
	d.changed = append(d.changed, true)
	return len(d.keys) - 1, nil
}

// enter brings a key into a state and notes the time.
func (d *draft) enter(i int, state string) {
	k := &d.keys[i]
	k.State = state
	d.changed[i] = true
	switch state {
	case StateActive:
		k.ActivatedAt = d.now
	case StateRetired:
		k.RetiredAt = d.now
	case StateRemoved:
		k.RemovedAt = d.now
		k.Wrapped = nil
	}
}

// activate makes key i the active one of its purpose and algorithm and retires
// the others.
func (d *draft) activate(i int) {
	for j, k := range d.keys {
		if j != i && k.Purpose == d.keys[i].Purpose && k.Algorithm == d.keys[i].Algorithm && k.State == StateActive {
			d.enter(j, StateRetired)
		}
	}
	if d.keys[i].State != StateActive {
		d.enter(i, StateActive)
	}
}

// settle does what is due and leaves one active key for each purpose, and for
// each algorithm that had one.
func (d *draft) settle() error {
	for i, k := range d.keys {
		if k.State == StatePending && d.due(k) {
			d.activate(i)
		}
	}
	for _, purpose := range purposes {
		algorithm := algorithms[purpose][0]
		active := d.newest(purpose, algorithm, StateActive)
		if active < 0 {
			var err error
			if active, err = d.add(purpose, algorithm); err != nil {
				return err
			}
		}
		d.activate(active)
	}
	if err := d.settleOthers(); err != nil {
		return err
	}
	for i, k := range d.keys {
		if k.State == StateRetired && d.due(k) {
			d.enter(i, StateRemoved)
		}
	}
	return nil
}

// settleOthers publishes a key of each further algorithm that is chosen. Until it
// signs the default does, whose key everybody knows.
func (d *draft) settleOthers() error {
	for _, algorithm := range algorithms[PurposeAccess][1:] {
		active := d.newest(PurposeAccess, algorithm, StateActive)
		if active >= 0 {
			d.activate(active)
			continue
		}
		if d.ring.algorithms == nil || !slices.Contains(d.ring.algorithms(), algorithm) ||
			d.newest(PurposeAccess, algorithm, StatePending) >= 0 {
			continue
		}
		if _, err := d.add(PurposeAccess, algorithm); err != nil {
			return err
		}
	}
	return nil
}

// newest is the key that became active last, of those in a state; -1 if none is.
func (d *draft) newest(purpose, algorithm, state string) int {
	found := -1
	for i, k := range d.keys {
		if k.Purpose == purpose && k.Algorithm == algorithm && k.State == state && (found < 0 || laterActive(k, d.keys[found])) {
			found = i
		}
	}
	return found
}

func (d *draft) due(k StoredKey) bool {
	return !d.now.Before(d.ring.info(k).DueAt)
}
