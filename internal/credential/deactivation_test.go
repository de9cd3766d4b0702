package credential

import (
	"testing"
	"time"
)

func TestDeactivation(t *testing.T) {
	minutes := func(all ...int) []time.Duration {
		var out []time.Duration
		for _, m := range all {
			out = append(out, time.Duration(m)*time.Minute)
		}
		return out
	}
	five := Deactivation{After: 5}
	tests := []struct {
		name  string
		rule  Deactivation
		fails []time.Duration
		want  bool
	}{
		{"off", Deactivation{}, minutes(0, 0, 0, 0, 0, 0, 0), false},
		{"four", five, minutes(0, 0, 0, 0), false},
		{"five at once", five, minutes(0, 0, 0, 0, 0), true},
		{"five, each within ten minutes of the one before", five, minutes(0, 9, 18, 27, 36), true},
		{"the fifth ten minutes late", five, minutes(0, 0, 0, 0, 10), false},
		// mod-login takes the minutes modulo 60: 61 minutes are one to it.
		{"the fifth 61 minutes late", five, minutes(0, 0, 0, 0, 61), false},
		{"the fifth a day late", five, minutes(0, 0, 0, 0, 24*60+1), false},
		{"five more after the window", five, minutes(0, 0, 0, 0, 61, 61, 61, 61, 61), true},
		{"two of two", Deactivation{After: 2}, minutes(0, 9), true},
		{"window of an hour", Deactivation{After: 2, Window: time.Hour}, minutes(0, 59), true},
		{"window of an hour is over", Deactivation{After: 2, Window: time.Hour}, minutes(0, 60), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := Regulator{Deactivation: test.rule}
			a := attempt(owner, desk)
			got := false
			for _, after := range test.fails {
				r.Failed(noon.Add(after), a)
				got = r.ShouldDeactivate(noon.Add(after), a)
			}
			if got != test.want {
				t.Errorf("deactivate %v, want %v", got, test.want)
			}
		})
	}
}

func TestDeactivationCountsAllNetworksOfOneUser(t *testing.T) {
	r := Regulator{Deactivation: Deactivation{After: 3}}
	for _, a := range []Attempt{attempt(owner, desk), attempt("another", desk), attempt(owner, "203.0.113.9")} {
		r.Failed(noon, a)
		if r.ShouldDeactivate(noon, a) {
			t.Fatal("deactivated after two failures")
		}
	}
	last := attempt(owner, "2001:db8::1")
	r.Failed(noon, last)
	if !r.ShouldDeactivate(noon, last) {
		t.Fatal("not deactivated after three failures")
	}
	if r.ShouldDeactivate(noon, last) {
		t.Error("told twice: whoever activates the user again must find all attempts given back")
	}
}

func TestSuccessStartsTheDeactivationCountAnew(t *testing.T) {
	r := Regulator{Deactivation: Deactivation{After: 2}}
	a := attempt(owner, desk)
	r.Failed(noon, a)
	succeed(t, &r, noon, a)
	r.Failed(noon, a)
	if r.ShouldDeactivate(noon, a) {
		t.Error("deactivated by failures that are not in a row")
	}
}
