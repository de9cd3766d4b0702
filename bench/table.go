package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// table prints one row a measurement, as soon as it is there.
type table struct{ out io.Writer }

func newTable(out io.Writer) *table { return &table{out: out} }

func (t *table) baseline(name string, rounds []figures) {
	fmt.Fprintf(t.out, "%-62s %9.0f/s  p50 %7s  p99 %7s\n", name, median(rounds, rate),
		short(median(rounds, p50)),
		short(median(rounds, p99)))
}

// against adds the ratio to another row, as the median of the ratios of the
// rounds: both of a round ran one after the other, so a machine that slows
// down between rounds does not count.
func (t *table) against(name string, rounds, base []figures) {
	fmt.Fprintf(t.out, "%-62s %9.0f/s  p50 %7s  p99 %7s  × %.3f  (p99 %+.2f ms)\n", name, median(rounds, rate),
		short(median(rounds, p50)),
		short(median(rounds, p99)),
		ratio(rounds, base, rate),
		median(rounds, func(f figures) float64 { return f.p99.Seconds() * 1000 })-median(base, func(f figures) float64 { return f.p99.Seconds() * 1000 }))
}

func (t *table) note(name, value string) { fmt.Fprintf(t.out, "%-62s %s\n", name, value) }

// atLeast and atMost are how a bound is read.
const (
	atLeast = "at least"
	atMost  = "at most"
)

// bound prints a value beside what it must not pass.
func (t *table) bound(name, format string, value float64, how string, limit float64) {
	verdict := "met"
	if how == atLeast && value < limit || how == atMost && value > limit {
		verdict = "MISSED"
	}
	fmt.Fprintf(t.out, "%-62s %9s  (%s %g: %s)\n", name, fmt.Sprintf(format, value), how, limit, verdict)
}

func rate(f figures) float64 { return f.perSecond }

func median(rounds []figures, of func(figures) float64) float64 {
	values := make([]float64, len(rounds))
	for i, f := range rounds {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func ratio(rounds, base []figures, of func(figures) float64) float64 {
	values := make([]float64, len(rounds))
	for i := range rounds {
		values[i] = of(rounds[i]) / of(base[i])
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func short(nanoseconds float64) string {
	return time.Duration(nanoseconds).Round(10 * time.Microsecond).String()
}
