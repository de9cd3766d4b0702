package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/counterfoil/counterfoil/internal/server"
)

type storeCommand struct {
	Copy     storeCopyCommand     `cmd:"" help:"Move a whole installation from SQLite to PostgreSQL, or back, live sessions included."`
	Adopt    storeAdoptCommand    `cmd:"" help:"After a restore and before serving: let its sessions catch up instead of ending them."`
	Restored storeRestoredCommand `cmd:"" help:"After a restore on a machine that remembers nothing: end all sessions."`
}

type storeCopyCommand struct {
	From   string `required:"" help:"Where the installation is: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE." placeholder:"STORE"`
	To     string `required:"" help:"Where it is to go, in the same words; must be empty." placeholder:"STORE"`
	Config string `help:"Configuration file with the settings postgres.*; those of the environment win." type:"path" placeholder:"FILE"`
	Force  bool   `help:"Copy although programs work on the source. For rehearsals: what they do meanwhile is not in the copy."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c *storeCopyCommand) Run(p *program) error {
	config, err := p.config(place{Config: c.Config})
	if err != nil {
		return err
	}
	copied, err := server.CopyStore(p.ctx, config, c.From, c.To, server.CopyOptions{Force: c.Force, Progress: p.copying})
	if err != nil {
		return c.explain(err)
	}
	if c.JSON {
		return p.printJSON(copied)
	}
	var rows [][]string
	for _, t := range copied.Tables {
		rows = append(rows, []string{t.Name, strconv.FormatInt(t.Rows, 10), t.Checksum[:16]})
	}
	if err := p.table("TABLE\tROWS\tCHECKSUM", rows); err != nil {
		return err
	}
	if copied.Replaced > 0 {
		fmt.Fprintf(p.out, "%s held what PostgreSQL cannot; it has U+FFFD in its place\n", count(int(copied.Replaced), "text"))
	}
	_, err = fmt.Fprintln(p.out, "source and target are equal; programs need the same master key on both")
	return err
}

// explain says what to do about an error.
func (c *storeCopyCommand) explain(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted: nothing was copied, and the target is as empty as it was")
	case errors.Is(err, server.ErrInUse):
		return fmt.Errorf("%w: stop what works on it first, or rehearse with --force if it is the source", err)
	case errors.Is(err, server.ErrTargetNotEmpty):
		return fmt.Errorf("%w: name a new database that nothing has been started on", err)
	}
	return err
}

// copying tells how far a large table is.
func (p *program) copying(at server.CopyProgress) {
	if at.Done == 0 {
		return
	}
	doing := "copied"
	if at.Checking {
		doing = "checked"
	}
	fmt.Fprintf(p.errors, "%s: %s %d of %d\n", at.Table, doing, at.Done, at.Of)
}
