package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/internal/token"
)

func benchEngines(b *testing.B, bench func(b *testing.B, s DB)) {
	b.Run("sqlite", func(b *testing.B) { bench(b, openSQLite(b, databasePath(b), time.Now)) })
	for name, pooled := range map[string]bool{"postgres": false, "pooled": true} {
		b.Run(name, func(b *testing.B) {
			bench(b, openPostgres(b, PostgresConfig{URL: pgtest.Reused(b, emptied), Pooled: pooled}))
		})
	}
}

func benchSessions(b *testing.B, s DB, sessions int) []token.SessionID {
	b.Helper()
	ids := make([]token.SessionID, sessions)
	var group sync.WaitGroup
	for part := range 100 {
		group.Go(func() {
			for i := part; i < sessions; i += 100 {
				one := newSession("diku", fmt.Sprintf("9eb67301-6f6e-468f-9b1a-%012d", i), time.Now())
				if err := s.CreateSession(context.Background(), one, 0); err != nil {
					b.Error(err)
				}
				ids[i] = one.ID
			}
		})
	}
	group.Wait()
	return ids
}

// BenchmarkUpdateSession measures committed and synced rotations. cpu-ns/op is
// the processor time of the whole process, which other programs disturb less.
func BenchmarkUpdateSession(b *testing.B) {
	benchEngines(b, func(b *testing.B, s DB) {
		ids := benchSessions(b, s, 1000)
		for _, callers := range []int{1, 32, 128} {
			b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
				b.ReportAllocs()
				before := processorTime()
				var next atomic.Int64
				var group sync.WaitGroup
				for caller := range callers {
					group.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if err := s.UpdateSession(context.Background(), ids[caller], rotate); err != nil {
								b.Error(err)
							}
						}
					})
				}
				group.Wait()
				b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/op")
			})
		}
	})
}

func BenchmarkSession(b *testing.B) {
	benchEngines(b, func(b *testing.B, s DB) {
		ids := benchSessions(b, s, 1000)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Session(context.Background(), ids[i%len(ids)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func processorTime() int64 {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used.Utime.Nano() + used.Stime.Nano()
}
