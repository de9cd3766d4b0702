package session

import (
	"context"
	"time"
)

// DefaultTrust is how long a node that cannot hear of changes goes on trusting
// what it remembers, where nobody said otherwise. It outlasts the failover of a
// database, and a revocation waits no longer than that for a node that is gone.
const DefaultTrust = 30 * time.Second

// Missed is a change that stands for those of users, permissions, tenants,
// policies, keys and modules which this node cannot read one by one any more:
// it did not hear for longer than changes are kept. Whoever keeps any of those
// in memory forgets or reads all of them. Sessions that ended meanwhile and
// epochs that moved come before it, as changes of their own.
const Missed ChangeKind = "missed"

// Cluster is how the nodes of one store hear of each other.
type Cluster interface {
	// HeardAt is until when, on the store's clock, this node has applied every
	// committed change. A process that was stopped for a while finds it far
	// behind the store's clock when it wakes.
	HeardAt() time.Time
	// Flushed tells the other nodes that everything this node noticed until at
	// is stored.
	Flushed(ctx context.Context, at time.Time) error
	// FlushedAt is until when every live node has stored what it noticed.
	FlushedAt() time.Time
	// Nodes lists the live nodes, this one first.
	Nodes(ctx context.Context) ([]Node, error)
	// Await waits until every live node has applied all changes that this node
	// has committed or applied so far, and reports how many have and how long
	// it took. At the end of ctx it reports what it knows then.
	Await(ctx context.Context) (Reach, error)
}

// Node is one live process of the cluster.
type Node struct {
	ID, Name           string
	Started            time.Time
	HeardAt, FlushedAt time.Time
	// Applied is the number of the newest change that it has applied.
	Applied uint64
	// Self is whether it is the node that was asked.
	Self bool
}

// Reach is how far a change has come.
type Reach struct {
	Reached, Live int
	Took          time.Duration
}

// Await waits until every live node has applied what was committed so far, for
// so long at most, and tells how far it has come.
func (s *Service) Await(ctx context.Context, most time.Duration) (Reach, error) {
	within, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return s.Cluster.Await(within)
}

// Trusted is whether this node has heard of all changes lately enough to serve
// from memory. One that was cut off, or stopped for a while, has not: sessions
// may have ended that it does not know of, and nobody waits for it any more.
func (s *Service) Trusted(now time.Time) bool {
	return now.Sub(s.Cluster.HeardAt()) <= s.Trust
}
