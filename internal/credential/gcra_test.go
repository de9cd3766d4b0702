package credential

import (
	"testing"
	"time"

	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// noon has no monotonic reading, as a clock read from a store.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestGCRA(t *testing.T) {
	fivePerMinute := Limit{Burst: 5, Period: time.Minute}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	tests := []struct {
		name    string
		tat     time.Time
		cost    int
		limit   Limit
		want    time.Time
		allowed bool
		wait    time.Duration
	}{
		{"never used", time.Time{}, 1, fivePerMinute, at(12), true, 0},
		{"idle for long", at(-3600), 1, fivePerMinute, at(12), true, 0},
		{"whole burst at once", time.Time{}, 5, fivePerMinute, at(60), true, 0},
		{"more than the burst", time.Time{}, 6, fivePerMinute, time.Time{}, false, Never},
		{"partly used", at(24), 1, fivePerMinute, at(36), true, 0},
		{"last of the burst", at(48), 1, fivePerMinute, at(60), true, 0},
		{"used up", at(60), 1, fivePerMinute, at(60), false, 12 * time.Second},
		{"used up, half an interval later", at(54), 1, fivePerMinute, at(54), false, 6 * time.Second},
		{"too much for what is left", at(36), 3, fivePerMinute, at(36), false, 12 * time.Second},
		{"no cost", at(60), 0, fivePerMinute, at(60), true, 0},
		{"clock was set back", at(3600), 1, fivePerMinute, at(60), false, 12 * time.Second},
		{"no burst", time.Time{}, 1, Limit{Period: time.Minute}, time.Time{}, false, Never},
		{"no period", time.Time{}, 1, Limit{Burst: 5}, time.Time{}, false, Never},
		{"interval under a nanosecond", time.Time{}, 2, Limit{Burst: 5, Period: 2}, noon.Add(2), true, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, allowed, wait := GCRA(noon, test.tat, test.cost, test.limit)
			if !got.Equal(test.want) || allowed != test.allowed || wait != test.wait {
				t.Errorf("got %v, %v, %v; want %v, %v, %v", got, allowed, wait, test.want, test.allowed, test.wait)
			}
		})
	}
}

func limits() *rapid.Generator[Limit] {
	return rapid.Custom(func(t *rapid.T) Limit {
		return Limit{
			Burst:  rapid.IntRange(1, 50).Draw(t, "burst"),
			Period: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "period")),
		}
	})
}

func TestGCRANeverLetsMoreThroughThanTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := limits().Draw(t, "limit")
		interval := limit.interval()
		var tat time.Time
		var admitted []time.Time
		now := noon
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(3*interval)).Draw(t, "pause")))
			var allowed bool
			if tat, allowed, _ = GCRA(now, tat, 1, limit); allowed {
				admitted = append(admitted, now)
			}
		}
		// In any stretch of time: the burst, and one for each interval.
		for i, from := range admitted {
			for j := i; j < len(admitted); j++ {
				if most := limit.Burst + int(admitted[j].Sub(from)/interval); j-i+1 > most {
					t.Fatalf("%d admitted within %v, at most %d", j-i+1, admitted[j].Sub(from), most)
				}
			}
		}
	})
}

func TestGCRAKeepsItsWordOnWaiting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := limits().Draw(t, "limit")
		cost := rapid.IntRange(0, limit.Burst).Draw(t, "cost")
		tat := noon.Add(time.Duration(rapid.Int64Range(-int64(2*time.Hour), int64(2*time.Hour)).Draw(t, "tat")))
		state, allowed, wait := GCRA(noon, tat, cost, limit)
		if allowed {
			if wait != 0 {
				t.Fatalf("allowed with a wait of %v", wait)
			}
			return
		}
		if wait <= 0 || wait > limit.interval()*time.Duration(cost) {
			t.Fatalf("wait %v for %d events of %v", wait, cost, limit.interval())
		}
		if _, early, _ := GCRA(noon.Add(wait-1), state, cost, limit); early {
			t.Fatal("let through before the wait was over")
		}
		if _, inTime, _ := GCRA(noon.Add(wait), state, cost, limit); !inTime {
			t.Fatal("refused although the wait is over")
		}
	})
}

func TestGCRAAdmitsWhatATokenBucketAdmits(t *testing.T) {
	for _, limit := range []Limit{{20, time.Minute}, {200, time.Hour}, {300, time.Minute}, {1, time.Second}, {7, time.Second}} {
		for _, pause := range []time.Duration{time.Millisecond, 37 * time.Millisecond, 200 * time.Millisecond, 2*time.Second + time.Millisecond, 19 * time.Second} {
			bucket := rate.NewLimiter(rate.Every(limit.interval()), limit.Burst)
			var tat time.Time
			ours, theirs := 0, 0
			for i := range 2000 {
				now := noon.Add(time.Duration(i) * pause)
				var allowed bool
				if tat, allowed, _ = GCRA(now, tat, 1, limit); allowed {
					ours++
				}
				if bucket.AllowN(now, 1) {
					theirs++
				}
			}
			// The bucket reckons in floating point: at the very edge of an
			// interval it may be one off.
			if diff := ours - theirs; diff < -1 || diff > 1 {
				t.Errorf("%d per %v, an event every %v: %d admitted, a token bucket admits %d", limit.Burst, limit.Period, pause, ours, theirs)
			}
		}
	}
}

func BenchmarkGCRA(b *testing.B) {
	limit := Limit{Burst: 300, Period: time.Minute}
	var tat time.Time
	now := noon
	for b.Loop() {
		now = now.Add(time.Millisecond)
		tat, _, _ = GCRA(now, tat, 1, limit)
	}
}

func BenchmarkTokenBucket(b *testing.B) {
	bucket := rate.NewLimiter(rate.Every(200*time.Millisecond), 300)
	now := noon
	for b.Loop() {
		now = now.Add(time.Millisecond)
		bucket.AllowN(now, 1)
	}
}
