package session

import (
	"context"
	"time"
)

// LiveFor is how long a node counts as live after the last time at which it
// reported to have heard everything. A node that has not heard for so long may
// not be waited for any more, so it must not trust what it remembers either:
// it compares HeardAt with the store's clock before it serves from memory. Five
// heartbeats may be missed; a revocation waits no longer than that for a node
// that died.
const LiveFor = 5 * time.Second

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
