package console

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

func TestTimesInWords(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{
		now: "now", now.Add(-time.Second): "1 second ago", now.Add(-90 * time.Second): "1 minute ago", now.Add(-2 * time.Hour): "2 hours ago",
		now.Add(-50 * time.Hour): "2 days ago", now.Add(90 * time.Minute): "in 1 hour", {}: "never",
	} {
		if got := ago(now, at); got != want {
			t.Errorf("%s: %q, want %q", at, got, want)
		}
	}
}

func TestDevicesInWords(t *testing.T) {
	for agent, want := range map[string]string{
		"": "unknown program", "curl/7.88.1": "curl/7.88.1",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                                   "Chrome on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0":                                                        "Firefox on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1": "Safari on iOS",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPlots(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 30, 0, time.UTC)
	all := session.LastHour.Whole([]session.Usage{
		{Begins: now.Truncate(time.Minute).Add(-time.Minute), Live: 1234567, Refreshes: 40, Behind: 3 * time.Millisecond},
		{Begins: now.Truncate(time.Minute).Add(-2 * time.Minute), Live: 1, Refreshes: 10},
		{Begins: now.Add(-24 * time.Hour).Truncate(time.Minute), Refreshes: 1000}, // what the ring has not written over
	}, now)
	if len(all) != 60 {
		t.Fatalf("%d whiles", len(all))
	}
	list := plots(all)
	if list[0].Said != "1\u202f234\u202f567" || list[1].Said != "50" {
		t.Errorf("said %q live and %q refreshes", list[0].Said, list[1].Said)
	}
	drawn := string(list[1].Bars)
	if strings.Count(drawn, "<rect") != 2 || !strings.Contains(drawn, `<title>40, 26 Nov 11:59 UTC</title>`) || !strings.Contains(drawn, `height="10.0"`) {
		t.Errorf("%s", drawn)
	}
}
