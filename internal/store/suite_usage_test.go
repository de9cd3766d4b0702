package store

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
)

var usageTests = map[string]func(*testing.T, bench, engine){
	"usage is kept in constant space":       testUsage,
	"notable events are found among others": testNotable,
}

func testUsage(t *testing.T, b bench, _ engine) {
	ctx := t.Context()
	read := func(series session.UsageSeries) []session.Usage {
		t.Helper()
		kept, err := b.Usage(ctx, series)
		must(t, err)
		if int64(len(kept)) > series.Slots {
			t.Fatalf("%d rows of series %s", len(kept), series.Name)
		}
		return series.Whole(kept, b.clock.Now())
	}
	newest := func(series session.UsageSeries) session.Usage { all := read(series); return all[len(all)-1] }
	add := func(u session.Usage) { t.Helper(); must(t, b.AddUsage(ctx, b.clock.Now(), u)) }
	_, minute := session.LastHour.Slot(b.clock.Now())
	b.clock.advance(minute.Add(time.Minute).Sub(b.clock.Now()))
	add(session.Usage{Live: 10, Refreshes: 3, Logins: 1, Behind: 5 * time.Millisecond})
	add(session.Usage{Live: 12, Refreshes: 4, LoginsFailed: 2, Behind: 2 * time.Millisecond})
	got := newest(session.LastHour)
	wantEqual(t, got, session.Usage{Begins: got.Begins, Live: 12, Refreshes: 7, Logins: 1, LoginsFailed: 2, Behind: 5 * time.Millisecond})
	at := b.clock.Now()
	b.clock.advance(time.Minute)
	add(session.Usage{Live: 9, Refreshes: 1})
	wantEqual(t, newest(session.LastHour).Refreshes, 1)
	all := read(session.LastHour)
	wantEqual(t, all[len(all)-2].Refreshes, 7)

	// A ring comes round: what is written over is gone, and late counts of then
	// do not come back.
	b.clock.advance(59 * time.Minute)
	add(session.Usage{Live: 8, Refreshes: 2})
	wantEqual(t, newest(session.LastHour).Refreshes, 2)
	must(t, b.AddUsage(ctx, at, session.Usage{Refreshes: 1000}))
	if refreshes := sum(read(session.LastHour)); refreshes != 3 {
		t.Errorf("%d refreshes in the last hour", refreshes)
	}
	for range 300 {
		b.clock.advance(time.Hour)
		add(session.Usage{Refreshes: 1})
	}
	read(session.LastHour)
	_, begins := session.LastMonth.Slot(b.clock.Now())
	wantEqual(t, newest(session.LastMonth).Begins, begins)
	b.clock.advance(31 * 24 * time.Hour)
	if refreshes := sum(read(session.LastMonth)); refreshes != 0 {
		t.Errorf("%d refreshes in a month in which nobody ran", refreshes)
	}
}

func sum(all []session.Usage) (n int64) {
	for _, u := range all {
		n += u.Refreshes
	}
	return n
}

func testNotable(t *testing.T, b bench, _ engine) {
	ctx := as(t.Context())
	var quoted []string
	for i, kind := range audit.Notable {
		quoted = append(quoted, "'"+string(kind)+"'")
		must(t, b.AppendEvents(ctx, audit.Event{Kind: audit.Login, Tenant: "diku"}, audit.Event{Kind: kind, Tenant: "diku", Reason: strconv.Itoa(i)}))
	}
	wantEqual(t, notableKinds, strings.Join(quoted, ", "))
	must(t, b.AppendEvents(ctx, audit.Event{Kind: audit.Login, Tenant: "diku"}))
	events, err := b.Events(ctx, session.EventFilter{Notable: true, Limit: 3})
	must(t, err)
	var found []string
	for _, e := range events {
		found = append(found, e.Reason)
	}
	wantEqual(t, found, []string{"8", "7", "6"})
}
