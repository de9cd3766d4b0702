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
)

// bench is one run.
type bench struct {
	rounds          int
	warmUp, measure time.Duration
	// binary is the program that is measured, dir where it keeps its data.
	binary, dir string
	table       *table

	memory  int64
	startUp time.Duration
}

func main() {
	role := flag.String("role", "", "internal: serve in a role")
	upstream := flag.String("upstream", "", "internal: where the proxy role sends requests")
	rounds := flag.Int("rounds", 5, "rounds, of which the median is reported")
	measure := flag.Duration("measure", 4*time.Second, "how long each round measures")
	only := flag.String("only", "refresh,gateway,pages,scale", "what to measure")
	stored := flag.Int("sessions", 1_000_000, "sessions in the large store")
	rotations := flag.Int("rotations", 1000, "rotations of each of 10,000 sessions for the pages")
	flag.Parse()
	if *role != "" {
		exit(serveRole(*role, *upstream))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{rounds: *rounds, warmUp: *measure / 4, measure: *measure, table: newTable(os.Stdout)}
	exit(b.all(ctx, *only, *stored, *rotations))
}

func (b *bench) all(ctx context.Context, only string, stored, rotations int) (err error) {
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
	fmt.Printf("%s, %d cores, %s/%s, medians of %d rounds of %s\n\n", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, b.rounds, b.measure)
	for _, part := range strings.Split(only, ",") {
		switch part {
		case "refresh":
			err = b.measureRefresh(ctx)
		case "gateway":
			err = b.measureGateway(ctx)
		case "pages":
			err = b.measurePages(ctx, rotations)
		case "scale":
			err = b.measureScale(ctx, stored)
		default:
			err = fmt.Errorf("nothing is called %q", part)
		}
		if err != nil {
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
