package trail

import (
	"context"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// Out is where a sink's events go. Deliver returns how many of the records it
// took for good, in order. An error says why the next was not taken: one that
// is ErrRefused will never be.
type Out interface {
	Deliver(ctx context.Context, records []audit.Record) (int, error)
	Close()
}

// ErrRefused is a record that a sink will not take, however often it comes.
var ErrRefused = errors.New("refused for good")

// Sink brings events to one place, each at least once and in order. How far it is
// stands in the store.
type Sink struct {
	// Name is the sink's in the store, Holder this node's.
	Name, Holder string
	Out          Out

	trail   *Trail
	wake    chan struct{}
	failing bool
}

const (
	// leaseFor is how long other nodes wait for one that feeds a sink.
	leaseFor = 30 * time.Second
	// sinkBatch is how many events are in memory at a time: the store is the queue.
	sinkBatch = 64
	// firstPause and longestPause are between attempts that fail.
	firstPause   = time.Second
	longestPause = 5 * time.Minute
)

func (s *Sink) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		wait := time.NewTimer(longestPause)
		if pause > 0 {
			wait.Reset(pause)
			select {
			case <-wait.C:
			case <-ctx.Done():
			}
		} else {
			select {
			case <-s.wake:
			case <-wait.C:
			case <-ctx.Done():
			}
		}
		wait.Stop()
		if ctx.Err() != nil {
			return
		}
		err := s.bring(ctx)
		if ctx.Err() != nil {
			return
		}
		s.report(ctx, err)
		if err == nil {
			pause = 0
			continue
		}
		pause = min(max(firstPause, 2*pause), longestPause)
	}
}

func (s *Sink) report(ctx context.Context, err error) {
	switch {
	case err != nil:
		s.trail.Observe.SinkFailed(s.Name)
		if !s.failing {
			s.trail.Log.WarnContext(ctx, "a sink of the audit log takes nothing, events wait in the store", "sink", s.Name, "error", err)
		}
		s.failing = true
	case s.failing:
		s.failing = false
		s.trail.Log.InfoContext(ctx, "the sink of the audit log takes events again", "sink", s.Name)
	}
}

// bring brings all there is, unless another node does.
func (s *Sink) bring(ctx context.Context) error {
	for {
		after, mine, err := s.trail.Store.LeaseSink(ctx, s.Name, s.Holder, leaseFor)
		if err != nil || !mine {
			return err
		}
		n, err := s.batch(ctx, after)
		if err != nil || n == 0 {
			return err
		}
	}
}

// batch brings some events and notes how far the sink is, also after a failure.
func (s *Sink) batch(ctx context.Context, after int64) (int, error) {
	links, err := s.trail.Store.Chain(ctx, after, sinkBatch)
	if err != nil {
		return 0, err
	}
	if len(links) == 0 {
		s.trail.Observe.SinkDelivered(s.Name, 0, 0)
		return 0, nil
	}
	var records []audit.Record
	lost := links[0].N - after - 1 // pruned before the sink had them
	for i := range links {
		if links[i].Gone {
			lost++
			continue
		}
		records = append(records, audit.OfSealed(&links[i]))
	}
	// A sink must not hold the lease longer than it has it.
	within, cancel := context.WithTimeout(ctx, leaseFor/2)
	defer cancel()
	done, failed := s.Out.Deliver(within, records)
	reached, dead := links[len(links)-1].N, []audit.DeadLetter(nil)
	if done < len(records) {
		reached = records[done].N - 1
		if errors.Is(failed, ErrRefused) {
			reached = records[done].N
			dead, failed = []audit.DeadLetter{{N: reached, Why: failed.Error()}}, nil
		}
	}
	if reached == after && len(dead) == 0 {
		s.lag(ctx, 0, after)
		return 0, failed
	}
	// What was delivered is noted also when the program is told to stop.
	noted, err := s.trail.Store.AdvanceSink(context.WithoutCancel(ctx), s.Name, s.Holder, reached, dead)
	if err != nil || !noted {
		return 0, errors.Join(failed, err)
	}
	s.trail.Observe.SinkDead(s.Name, len(dead))
	if lost > 0 && failed == nil {
		s.trail.Observe.SinkLost(s.Name, int(lost))
		s.trail.Log.ErrorContext(ctx, "events were deleted by age before the sink of the audit log had them", "sink", s.Name, "events", lost)
	}
	s.lag(ctx, done, reached)
	return len(links), failed
}

func (s *Sink) lag(ctx context.Context, delivered int, reached int64) {
	head, err := s.trail.Store.ChainHead(ctx)
	if err == nil {
		s.trail.Observe.SinkDelivered(s.Name, delivered, head.N-reached)
	}
}
