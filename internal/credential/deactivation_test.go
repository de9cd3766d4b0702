package credential

import (
	"testing"
	"time"
)

func TestDeactivation(t *testing.T) {
	for _, test := range []struct {
		name   string
		rule   Deactivation
		inARow int
		want   bool
	}{
		{"off", Deactivation{}, 1000, false},
		{"four of five", Deactivation{After: 5}, 4, false},
		{"five of five", Deactivation{After: 5}, 5, true},
		{"more, because two nodes counted at once", Deactivation{After: 5}, 6, true},
	} {
		if got := test.rule.Due(test.inARow); got != test.want {
			t.Errorf("%s: due %v, want %v", test.name, got, test.want)
		}
	}
	if got := (Deactivation{}).Span(); got != 10*time.Minute {
		t.Errorf("a row ends after %v, want FOLIO's 10 minutes", got)
	}
}

func TestRemindersAreThreeAnHour(t *testing.T) {
	var r Regulator
	sent := 0
	for minute := range 60 {
		if r.Remind(noon.Add(time.Duration(minute)*time.Second), "diku", owner) {
			sent++
		}
	}
	if sent != 3 {
		t.Errorf("%d messages in a minute, want 3", sent)
	}
	if !r.Remind(noon, "other", owner) || !r.Remind(noon, "diku", "another") {
		t.Error("one user's messages count for another")
	}
	if !r.Remind(noon.Add(21*time.Minute), "diku", owner) {
		t.Error("no message after a third of an hour")
	}
}
