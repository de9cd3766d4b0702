// Command bench measures Counterfoil side by side with the least that could do
// the same work, on the same machine and in the same run, and prints ratios:
// absolute figures of a shared machine mean little.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// bench is one run.
type bench struct {
	rounds          int
	warmUp, measure time.Duration
	// binary is the program that is measured, dir where it keeps its data.
	binary, dir string
	table       *table
	// postgres is where stores are, unless they are SQLite's.
	postgres  *pgtest.Server
	databases int
	// stored is how many sessions the large store has, rotations how often those
	// are rotated whose pages are counted.
	stored, rotations int

	memory  int64
	startUp time.Duration
}

func main() {
	role := flag.String("role", "", "internal: serve in a role")
	upstream := flag.String("upstream", "", "internal: where the proxy role sends requests")
	rounds := flag.Int("rounds", 5, "rounds, of which the median is reported")
	measure := flag.Duration("measure", 4*time.Second, "how long each round measures")
	engine := flag.String("store", "sqlite", "sqlite, or postgres: a server of the bench's own")
	only := flag.String("only", "", "what to measure: refresh, gateway, okapi, verify, oauth, pages, scale, lists, soak (not by default); on postgres refresh, cost, steady, scale, lists (default all)")
	stored := flag.Int("sessions", 1_000_000, "sessions in the large store")
	rotations := flag.Int("rotations", 1000, "rotations of each of 10,000 sessions for the pages")
	peer := peerFlags()
	flag.Parse()
	if *role != "" {
		exit(serveRole(*role, *upstream))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{
		rounds: *rounds, warmUp: *measure / 4, measure: *measure, table: newTable(os.Stdout),
		stored: *stored, rotations: *rotations,
	}
	if *peer.name != "" {
		exit(peer.measure(ctx, b))
		return
	}
	exit(b.all(ctx, *engine, *only))
}

func (b *bench) all(ctx context.Context, engine, only string) (err error) {
	if b.dir, err = os.MkdirTemp("", "counterfoil-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.binary = filepath.Join(b.dir, "counterfoil")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.binary, "./cmd/counterfoil")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build the program: %w", err)
	}
	fmt.Printf("%s, %d cores, %s/%s, medians of %d rounds of %s\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, b.rounds, b.measure)
	order, parts := []string{"refresh", "gateway", "okapi", "verify", "oauth", "pages", "scale", "lists"}, map[string]func(context.Context) error{
		"refresh": b.measureRefresh, "gateway": b.measureGateway, "okapi": b.measureOkapi, "verify": b.measureVerify, "oauth": b.measureOAuth,
		"pages": b.measurePages, "scale": b.measureScale, "lists": b.measureLists, "soak": b.measureSoak,
	}
	if engine == "postgres" {
		stop, err := b.usePostgres(ctx)
		if err != nil {
			return err
		}
		defer stop()
		order, parts = []string{"refresh", "cost", "steady", "scale", "lists"}, map[string]func(context.Context) error{
			"refresh": b.measurePostgres, "cost": b.measureCost, "steady": b.measureSteady, "scale": b.measureScale, "lists": b.measureLists,
		}
	} else if engine != "sqlite" {
		return fmt.Errorf("no store is called %q", engine)
	}
	fmt.Println()
	if only != "" {
		order = strings.Split(only, ",")
	}
	for _, part := range order {
		measure := parts[part]
		if measure == nil {
			return fmt.Errorf("nothing is called %q", part)
		}
		if err := measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
