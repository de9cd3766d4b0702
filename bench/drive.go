package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// figures are what one run measured.
type figures struct {
	perSecond float64
	p50, p99  time.Duration
	// requests were measured, answered are those and the ones of the warm-up.
	requests, answered int
}

// schedule says when requests are due. In a closed loop that is as soon as a
// worker is free. In an open one they arrive at a constant rate whether or not
// anybody is free, and the time that one waited for a worker counts as its own.
type schedule struct {
	begin, from, until time.Time
	every              time.Duration // 0: a closed loop
	arrivals           atomic.Int64
	stopped            atomic.Bool
}

func closedLoop(warmUp, measure time.Duration) *schedule {
	now := time.Now()
	return &schedule{begin: now, from: now.Add(warmUp), until: now.Add(warmUp + measure)}
}

func openLoop(perSecond float64, warmUp, measure time.Duration) *schedule {
	s := closedLoop(warmUp, measure)
	s.every = time.Duration(float64(time.Second) / perSecond)
	return s
}

// stop ends it before its time.
func (s *schedule) stop() { s.stopped.Store(true) }

// next waits until a request is due, and tells whether there is one.
func (s *schedule) next() (due time.Time, ok bool) {
	due = time.Now()
	if s.every > 0 {
		due = s.begin.Add(time.Duration(s.arrivals.Add(1)-1) * s.every)
		time.Sleep(time.Until(due))
	}
	return due, due.Before(s.until) && !s.stopped.Load()
}

// task is what one worker does again and again: what is not measured, and what
// is.
type task struct {
	prepare, act func() error
	done         func()
}

// errRefused is from a server that is measured and failed: it is no figure.
// errOver is from a worker that has nothing left to do.
var (
	errRefused = errors.New("refused")
	errOver    = errors.New("over")
)

// drive lets workers do their tasks on a schedule.
func drive(workers int, s *schedule, start func(i int) (task, error)) (figures, error) {
	var group sync.WaitGroup
	latencies, answered, faults := make([][]time.Duration, workers), make([]int, workers), make([]error, workers)
	for i := range workers {
		group.Go(func() {
			t, err := start(i)
			if err == nil {
				latencies[i], answered[i], err = t.loop(s)
				t.done()
			}
			faults[i] = err
		})
	}
	group.Wait()
	if err := errors.Join(faults...); err != nil {
		return figures{}, err
	}
	return sum(latencies, answered, min(time.Since(s.from), s.until.Sub(s.from)))
}

func (t task) loop(s *schedule) (took []time.Duration, answered int, err error) {
	took = make([]time.Duration, 0, 100_000)
	for {
		if err := t.prepare(); errors.Is(err, errOver) {
			return took, answered, nil
		} else if err != nil {
			return took, answered, err
		}
		due, ok := s.next()
		if !ok {
			return took, answered, nil
		}
		if err := t.act(); errors.Is(err, errRefused) {
			continue
		} else if err != nil {
			return took, answered, fmt.Errorf("request: %w", err)
		}
		answered++
		if !due.Before(s.from) {
			took = append(took, time.Since(due))
		}
	}
}

func sum(latencies [][]time.Duration, answered []int, measured time.Duration) (figures, error) {
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return figures{}, errors.New("nothing was answered")
	}
	slices.Sort(all)
	f := figures{perSecond: float64(len(all)) / measured.Seconds(), requests: len(all), p50: all[len(all)/2], p99: all[len(all)*99/100]}
	for _, n := range answered {
		f.answered += n
	}
	return f, nil
}

// run drives HTTP clients against address, each in a closed loop on its own
// connection, and measures what comes after the warm-up.
func run(address string, clients []client, warmUp, measure time.Duration) (figures, error) {
	return runOn(address, clients, closedLoop(warmUp, measure))
}

func runOn(address string, clients []client, s *schedule) (figures, error) {
	return drive(len(clients), s, func(i int) (task, error) {
		w, err := dial(address)
		if err != nil {
			return task{}, err
		}
		var status int
		var request, body []byte
		return task{
			prepare: func() (err error) { request, err = clients[i](status, body); return err },
			act:     func() (err error) { status, body, err = w.do(request); return err },
			done:    func() { _ = w.conn.Close() },
		}, nil
	})
}
