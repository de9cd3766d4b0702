package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Store keeps the tokens of one session, between runs and between processes.
// Whoever can read it can act as the user.
type Store interface {
	// Lock keeps all others with the same store from renewing until unlock.
	// The session holds it while it asks the server.
	Lock(ctx context.Context) (unlock func(), err error)
	// Load returns nil if there is nothing.
	Load(ctx context.Context) (*Tokens, error)
	// Save replaces what there is, wholly or not at all. Nil empties the store.
	Save(ctx context.Context, t *Tokens) error
}

// FileStore is a file of one's own, with mode 0600. Processes that name the
// same file share one session: whoever finds the token at its end renews it,
// under a lock on a second file beside it, and the others read what they got.
// The file belongs on a local disk; network file systems lock as they please.
type FileStore struct{ Path string }

// Lock implements Store.
func (f FileStore) Lock(ctx context.Context) (unlock func(), err error) {
	lock, err := os.OpenFile(f.Path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("session file: %w", err)
	}
	for {
		locked, err := tryLock(lock)
		if locked {
			return func() { lock.Close() }, nil // the lock goes with the descriptor
		}
		if err == nil {
			err = pauseFor(ctx, 20*time.Millisecond)
		}
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("lock of session file %s: %w", f.Path, err)
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Load implements Store. A file that others can read is refused: whoever could
// read it may have the session.
func (f FileStore) Load(context.Context) (*Tokens, error) {
	text, err := readPrivate(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("session file: %w", err)
	}
	t := new(Tokens)
	if json.Unmarshal(text, t) != nil || t.Access == "" {
		return nil, fmt.Errorf("session file %s is not one: delete it and log in anew", f.Path)
	}
	return t, nil
}

// Save implements Store. Readers see the old file or the new one.
func (f FileStore) Save(_ context.Context, t *Tokens) error {
	if t == nil {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("session file: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(t)
	if err == nil {
		err = writePrivate(f.Path, text)
	}
	if err != nil {
		return fmt.Errorf("session file: %w", err)
	}
	return nil
}

// writePrivate replaces a file, for its owner alone from the first byte on.
func writePrivate(path string, text []byte) (err error) {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(next.Name())
		}
	}()
	_, err = next.Write(text)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

// readPrivate reads a file that only its owner can read. What is asked about
// is the open file, which nobody can exchange.
func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600, and change what it holds if somebody may have read it", path, info.Mode().Perm())
	}
	const enough = 1 << 20
	if info.Size() > enough {
		return nil, fmt.Errorf("%s is too large", path)
	}
	text := make([]byte, info.Size())
	n, err := file.ReadAt(text, 0)
	if n == len(text) {
		err = nil
	}
	return text[:n], err
}
