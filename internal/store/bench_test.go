package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/token"
)

func benchStore(b *testing.B, sessions int) (*SQLite, []token.SessionID) {
	b.Helper()
	s, err := Open(b.Context(), Config{Path: b.TempDir() + "/bench.db", Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
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
	return s, ids
}

// BenchmarkUpdateSession measures committed and synced rotations. cpu-ns/op is
// the processor time of the whole process, which other programs disturb less.
func BenchmarkUpdateSession(b *testing.B) {
	s, ids := benchStore(b, 1000)
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
}

func BenchmarkSession(b *testing.B) {
	s, ids := benchStore(b, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Session(context.Background(), ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
	}
}

func processorTime() int64 {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used.Utime.Nano() + used.Stime.Nano()
}
