package store

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/pgtest"
)

// A lone refresh waits for the network twice, and for the disk once: what it
// locks and reads is one trip, what it writes and the COMMIT another.
func TestARotationTakesTwoRoundTrips(t *testing.T) {
	way, err := pgtest.CountTrips(pgtest.Reused(t, emptied))
	if err != nil && strings.Contains(err.Error(), "socket") {
		t.Skip("trips to this server cannot be counted")
	}
	must(t, err)
	t.Cleanup(way.Close)
	p := openPostgres(t, PostgresConfig{URL: way.URL, Beat: time.Hour})
	one := newSession("diku", alice, time.Now())
	must(t, p.CreateSession(t.Context(), one, 0))
	must(t, p.UpdateSession(t.Context(), one.ID, rotate)) // prepares
	const rotations = 20
	fewest := int64(1 << 62)
	for range 10 { // the node's own talk only adds
		before := way.Count()
		for range rotations {
			must(t, p.UpdateSession(t.Context(), one.ID, rotate))
		}
		fewest = min(fewest, way.Count()-before)
	}
	if fewest != 2*rotations {
		t.Errorf("%d rotations took %d round trips", rotations, fewest)
	}
}
