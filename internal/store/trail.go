package store

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// TrailStore is trail.Store, method by method: the two packages must not import
// each other. It keeps the chain over the events, which is made after their
// commit: whoever writes an event does not wait for it.
type TrailStore interface {
	// Seal adds at most limit events to the chain, in the order of their numbers,
	// and returns how many. It adds an event only when no transaction can commit
	// a smaller number any more. One node of a database seals at a time; others
	// add nothing meanwhile.
	Seal(ctx context.Context, limit int) (int, error)
	// ChainHead is the newest link, zero if there is none.
	ChainHead(ctx context.Context) (audit.Link, error)
	// Chain reads at most limit links after a number, oldest first.
	Chain(ctx context.Context, after int64, limit int) ([]audit.Sealed, error)
	// Unsealed is what the chain does not hold of the events.
	Unsealed(ctx context.Context) (audit.Unsealed, error)
	// SaveCheckpoint stores a checkpoint, in place of one of the same number.
	SaveCheckpoint(ctx context.Context, c audit.Checkpoint) error
	// Checkpoints reads those from one number to another, oldest first.
	Checkpoints(ctx context.Context, from, to int64) ([]audit.Checkpoint, error)
	// NewestCheckpoint is the last one, or the last from before a time; zero if
	// there is none.
	NewestCheckpoint(ctx context.Context, before time.Time) (audit.Checkpoint, error)
	// Prune deletes at most limit links up to a checkpoint, oldest first, with
	// their events and the checkpoints before, and returns how many. The chain is
	// verifiable from that checkpoint on once it returns 0.
	Prune(ctx context.Context, upTo int64, limit int) (int, error)
	// LeaseSink lets a node feed a sink for a while, and returns how far it is.
	// ok is false while another node does. A new sink begins at the chain's head.
	LeaseSink(ctx context.Context, name, holder string, hold time.Duration) (n int64, ok bool, err error)
	// AdvanceSink notes what a sink has, and what it refused for good. It returns
	// false, and notes nothing, if the node does not feed the sink any more.
	AdvanceSink(ctx context.Context, name, holder string, n int64, dead []audit.DeadLetter) (bool, error)
	// Sinks lists all sinks.
	Sinks(ctx context.Context) ([]audit.Sink, error)
	// DeadLetters lists what sinks refused for good, newest first.
	DeadLetters(ctx context.Context, limit int) ([]audit.DeadLetter, error)
}

// sealBatch bounds how many links are made in one transaction.
const sealBatch = 512

func links(head audit.Link, events []audit.Event) []audit.Link {
	made := make([]audit.Link, 0, len(events))
	for i := range events {
		head = audit.Follow(&head, &events[i])
		made = append(made, head)
	}
	return made
}

// The statements that both engines understand.
const (
	selectHead  = `SELECT n, seq, at, passing, digest, hash FROM event_chain ORDER BY n DESC LIMIT 1`
	selectSinks = `SELECT s.name, s.n, s.holder, (SELECT count(*) FROM event_dead_letters d WHERE d.sink = s.name) FROM event_sinks s ORDER BY s.name`
	countFresh  = `SELECT count(*) FROM events WHERE seq > coalesce((SELECT max(seq) FROM event_chain), 0)`
	// selectInserted leaves out what is older than the chain, which was pruned.
	selectInserted = `SELECT ` + eventColumns + ` FROM events e WHERE seq <= coalesce((SELECT max(seq) FROM event_chain), 0)
		AND seq > coalesce((SELECT min(seq) FROM event_checkpoints WHERE n < (SELECT min(n) FROM event_chain)), 0)
		AND NOT EXISTS (SELECT 1 FROM event_chain c WHERE c.seq = e.seq) ORDER BY seq LIMIT 100`
	// chainColumns reads an event that is gone as one without number.
	chainColumns = `coalesce(e.seq, 0), c.n, c.seq, c.at, c.passing, c.digest, c.hash, coalesce(e.at, 0), coalesce(e.kind, ''), coalesce(e.tenant, ''),
		coalesce(e.session, ''), coalesce(e.user_id, ''), coalesce(e.actor_kind, ''), coalesce(e.actor_name, ''), coalesce(e.actor_user_id, ''),
		coalesce(e.address, ''), coalesce(e.user_agent, ''), coalesce(e.request_id, ''), coalesce(e.reason, ''), coalesce(e.detail, '')
		FROM event_chain c LEFT JOIN events e ON e.seq = c.seq`
	checkpointColumns = `n, seq, hash, at, swept, key_id, signature`
)
