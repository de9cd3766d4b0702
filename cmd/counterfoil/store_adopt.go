package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/server"
	"github.com/counterfoil/counterfoil/internal/session"
)

type storeAdoptCommand struct {
	place
	Within time.Duration `help:"For how long sessions may catch up; those that have not by then end. 30 days at most." default:"24h"`
	Yes    bool          `help:"Do not ask."`
}

// longestAdoption is longer than most sessions live.
const longestAdoption = 30 * 24 * time.Hour

func (storeAdoptCommand) Help() string {
	return `Without this command all sessions end when the program notices that the database
was restored, and everybody logs in anew. With it, whoever comes with a newer
refresh token than the restored row knows goes on, once for each session, as an
event. Sessions that have not caught up when the time is over end then.

What you risk meanwhile: who holds a used token that was the newest one at the
time of the backup cannot be told from the owner, and gets tokens until the time
is over or the owner comes; sessions that were ended, passwords that were changed
and keys that were removed since the backup are as they were. Do that again
first, with the commands of this program, which work before it serves.

Call it once, on a machine where a node ran before, while none runs.

    counterfoil store adopt --config counterfoil.yaml
    counterfoil store adopt --config counterfoil.yaml --within 8h --yes`
}

func (c *storeAdoptCommand) Run(p *program) error {
	if c.Within <= 0 || c.Within > longestAdoption {
		return usageError("--within must be more than 0 and 30 days at most")
	}
	if err := p.sure(c.Yes, "Who holds a used refresh token of the time of the backup may go on for %s.", c.Within); err != nil {
		return err
	}
	return p.restored(c.place, c.Within, func(m session.Mark) string {
		return "sessions may catch up until " + m.Adoption.Until.Format(time.RFC3339) + "; start the program"
	})
}

type storeRestoredCommand struct {
	place
	Yes bool `help:"Do not ask."`
}

func (storeRestoredCommand) Help() string {
	return `A node notices a restore by the file mark.json in its data directory. On a new
machine there is none, and after a restore of the whole machine it is as old as
the database: then say so with this command, while nothing runs. All sessions of
all tenants end, and their access tokens, by one write.

    counterfoil store restored --config counterfoil.yaml --yes`
}

func (c *storeRestoredCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "Everybody of all tenants will have to log in again."); err != nil {
		return err
	}
	return p.restored(c.place, 0, func(session.Mark) string { return "all sessions ended" })
}

// restored tells the database itself, not a program that works on it: one that
// does has served from it already.
func (p *program) restored(where place, adoptFor time.Duration, done func(session.Mark) string) (err error) {
	config, err := p.config(where)
	if err != nil {
		return err
	}
	if !server.HasStore(config) {
		return fmt.Errorf("there is no database at %s", config.Store)
	}
	s, err := server.OpenOffline(p.ctx, config)
	if errors.Is(err, server.ErrInUse) {
		return fmt.Errorf("stop the program first: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(p.ctx))) }()
	ctx := audit.WithActor(p.ctx, &audit.Actor{Kind: "operator", Name: p.command})
	mark, err := s.Restored(ctx, adoptFor)
	if err != nil {
		return err
	}
	if where.JSON {
		return p.printJSON(map[string]any{"number": mark.N, "until": until(mark)})
	}
	_, err = fmt.Fprintln(p.out, done(mark))
	return err
}

// until is when an adoption ends; nil is that there is none.
func until(m session.Mark) *time.Time {
	if m.Adoption.Epoch == 0 {
		return nil
	}
	return &m.Adoption.Until
}
