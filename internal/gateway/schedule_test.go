package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSchedulesOfTimers(t *testing.T) {
	for _, c := range []struct {
		schedule Schedule
		// from is a time of Berlin, and turns are those that follow, in UTC.
		from  string
		turns []string
	}{
		{Schedule{Cron: "0 3 * * *", Zone: "Europe/Berlin"}, "2027-01-15 12:00", []string{"2027-01-16T02:00:00Z", "2027-01-17T02:00:00Z"}},
		{Schedule{Cron: "0 3 * * *"}, "2027-01-15 12:00", []string{"2027-01-16T03:00:00Z"}},
		{Schedule{Cron: "*/20 8-9 * * MON", Zone: "UTC"}, "2027-01-18 10:30", []string{"2027-01-18T09:40:00Z", "2027-01-25T08:00:00Z"}},
		// Clocks are set forward at 2:00 on 28 March and back at 3:00 on 31 October.
		{Schedule{Cron: "0 4 * * *", Zone: "Europe/Berlin"}, "2027-03-27 12:00", []string{"2027-03-28T02:00:00Z", "2027-03-29T02:00:00Z"}},
		{Schedule{Cron: "0 4 * * *", Zone: "Europe/Berlin"}, "2027-10-30 12:00", []string{"2027-10-31T03:00:00Z", "2027-11-01T03:00:00Z"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			berlin, err := time.LoadLocation("Europe/Berlin")
			if err != nil {
				t.Fatal(err)
			}
			from, err := time.ParseInLocation("2006-01-02 15:04", c.from, berlin)
			if err != nil {
				t.Fatal(err)
			}
			ahead := time.Until(from)
			g := &Gateway{Now: func() time.Time { return time.Now().Add(ahead) }}
			plan, err := c.schedule.parse()
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.turns {
				if err := g.untilDue(t.Context(), &timer{schedule: plan}); err != nil {
					t.Fatal(err)
				}
				if got := g.Now().UTC().Format(time.RFC3339); got != want {
					t.Errorf("%+v: turn at %s, want %s", c.schedule, got, want)
				}
			}
		})
	}
}

func TestAScheduleThatNeverComesWaitsForTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, err := (&Schedule{Cron: "0 3 30 2 *"}).parse()
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 100*24*time.Hour)
		defer stop()
		if err := (&Gateway{Now: time.Now}).untilDue(ctx, &timer{schedule: plan}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestBadSchedulesAreRefusedWithTheDescriptor(t *testing.T) {
	for _, s := range []Schedule{
		{},
		{Cron: "* * * *"},
		{Cron: "* * * * * *"},
		{Cron: "60 * * * *"},
		{Cron: "@every 1s"},
		{Cron: "@daily"},
		{Cron: "TZ=0"},
		{Cron: "CRON_TZ=UTC 0 3 * * *"},
		{Cron: "0 3 * * *", Zone: "Local"},
		{Cron: "0 3 * * *", Zone: "Nowhere/City"},
		{Cron: "0 3 * * *", Zone: "../../etc/passwd"},
	} {
		e := RoutingEntry{PathPattern: "/timer", Schedule: &s}
		d := ModuleDescriptor{ID: "mod-timed-1.0.0", Provides: []InterfaceDescriptor{{ID: "_timer", Version: "1.0", InterfaceType: "system", Handlers: []RoutingEntry{e}}}}
		var refusal *Refusal
		if err := d.check(); !errors.As(err, &refusal) || refusal.Status != 400 {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
