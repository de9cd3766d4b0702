package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil/internal/store"
)

// CopyOptions is what a copy of a store is told beside from where to where.
type CopyOptions struct {
	// Force copies a source that programs work on.
	Force bool
	// Progress hears where the copy is; nil is nobody.
	Progress func(CopyProgress)
}

// CopyProgress is how much of a table is done.
type CopyProgress = store.Progress

// Copied is what was copied.
type Copied = store.Copied

// CopiedTable is a table that source and target agree on.
type CopiedTable = store.CopiedTable

// ErrTargetNotEmpty is a target that somebody has worked with.
var ErrTargetNotEmpty = store.ErrNotEmpty

// CopyStore copies a whole installation from one place to another. Both are
// named as the store of a configuration is; c says the rest: passwords,
// certificates, whether a pooler is between.
func CopyStore(ctx context.Context, c *Config, from, to string, o CopyOptions) (*Copied, error) {
	if from == to {
		return nil, errors.New("--from and --to are the same")
	}
	source, err := c.place(from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	target, err := c.place(to)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	if target.Path != "" {
		if err := os.MkdirAll(filepath.Dir(target.Path), 0o700); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
	}
	return store.Copy(ctx, store.CopyConfig{
		From: source, To: target, Force: o.Force, LiveFor: c.TrustMemory.Std(), Now: c.Now, Progress: o.Progress,
	})
}

// place is where a store is.
func (c *Config) place(address string) (store.Place, error) {
	named := *c
	named.Store = address
	if faults := named.checkStore(); len(faults) > 0 {
		return store.Place{}, errors.Join(faults...)
	}
	if path, is := strings.CutPrefix(address, "sqlite:"); is {
		return store.Place{Path: path}, nil
	}
	if c.Postgres.certificates != "" { // they are written to a file
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return store.Place{}, fmt.Errorf("data directory: %w", err)
		}
	}
	url, err := named.databaseURL(address)
	return store.Place{URL: url, Pooled: c.Postgres.Pooled}, err
}
