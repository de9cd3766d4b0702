package store

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// A lone refresh waits for the network once, where the node wrote the session
// last, and else twice; for the disk once.
func TestARotationTakesOneRoundTripOrTwo(t *testing.T) {
	way, err := pgtest.CountTrips(pgtest.Reused(t, emptied))
	if err != nil && strings.Contains(err.Error(), "socket") {
		t.Skip("trips to this server cannot be counted")
	}
	must(t, err)
	t.Cleanup(way.Close)
	p := openPostgres(t, PostgresConfig{URL: way.URL, Beat: time.Hour})
	one := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), one, 0))
	for name, each := range map[string]struct {
		trips  int64
		forget bool
	}{"remembered": {trips: 1}, "not remembered": {trips: 2, forget: true}} {
		p.swapper.recent.Purge()
		must(t, p.UpdateSession(t.Context(), one.ID, rotate)) // prepares
		must(t, p.UpdateSession(t.Context(), one.ID, rotate))
		const rotations = 20
		fewest := int64(1 << 62)
		for range 10 { // the node's own talk only adds
			before := way.Count()
			for range rotations {
				if each.forget {
					p.swapper.recent.Purge()
				}
				must(t, p.UpdateSession(t.Context(), one.ID, rotate))
			}
			fewest = min(fewest, way.Count()-before)
		}
		if fewest != each.trips*rotations {
			t.Errorf("%d rotations of a session that is %s took %d round trips", rotations, name, fewest)
		}
	}
}
