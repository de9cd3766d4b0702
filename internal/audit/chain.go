package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Hash is a SHA-256 of the chain.
type Hash [sha256.Size]byte

// Link ties one event to all before it. Links are numbered from 1 without gaps,
// in the order of the events' own numbers, which may have gaps.
type Link struct {
	// N is the number in the chain, Seq that of the event, At its time.
	N, Seq int64
	At     time.Time
	// Passing events go with their session, or were caused by strangers: they
	// may be deleted before the rest, see Passing.
	Passing bool
	// Digest is of the event alone, Hash of this link and all before it.
	Digest, Hash Hash
}

// Checkpoint is a signed word of the program that the chain had a hash at a time.
// It vouches for every link up to it.
type Checkpoint struct {
	N, Seq int64
	Hash   Hash
	// At is when it was made. Swept is how old, at least, the passing events are
	// that may have been deleted by then.
	At, Swept time.Time
	// Key is the id of the audit key, and Signature is of Message.
	Key       string
	Signature []byte
}

// Sealed is a link with its event. The event of a passing one may be gone.
type Sealed struct {
	Link
	Event Event
	Gone  bool
}

// Unsealed counts what the chain does not hold of the events.
type Unsealed struct {
	// Waiting are those that no link follows yet.
	Waiting int64
	// Inserted are those among the sealed that no link knows, oldest first.
	Inserted []Event
}

const (
	domainEvent      = "counterfoil audit event 1"
	domainLink       = "counterfoil audit link 1"
	domainCheckpoint = "counterfoil audit checkpoint 1"
)

// Refused are the kinds of events that strangers can cause.
var Refused = []Kind{LoginFailed, LoginLimited, ElevationFailed}

// Passing is whether an event may be deleted before the rest of the log: with its
// session, or because strangers could fill the disk with it.
func (e *Event) Passing() bool { return e.Session != "" || slices.Contains(Refused, e.Kind) }

// Text is a text as every store and every export can hold it: UTF-8 without the
// character 0. Digests are of this, so that they outlive a move between stores.
func Text(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// Digest is the SHA-256 of the canonical encoding of an event: each field in the
// order below, numbers as eight bytes, texts behind their lengths. No two events
// have the same encoding.
func (e *Event) Digest() Hash {
	a := &e.Actor
	b := number([]byte(domainEvent), e.Seq)
	b = number(b, micro(e.Time))
	for _, s := range []string{
		string(e.Kind), e.Tenant, e.Session, e.UserID, a.Kind, a.Name, a.UserID, a.Address, a.UserAgent, a.RequestID, e.Reason,
	} {
		b = text(b, s)
	}
	detail := make(map[string]string, len(e.Detail))
	for key, value := range e.Detail {
		detail[Text(key)] = value
	}
	b = number(b, int64(len(detail)))
	for _, key := range slices.Sorted(maps.Keys(detail)) {
		b = text(text(b, key), detail[key])
	}
	return sha256.Sum256(b)
}

// Follow makes the link of the next event after prev, which is zero for the first.
func Follow(prev *Link, e *Event) Link {
	l := Link{N: prev.N + 1, Seq: e.Seq, At: e.Time, Passing: e.Passing(), Digest: e.Digest()}
	l.Hash = l.after(prev.Hash)
	return l
}

// after is the hash that l has behind a link with the hash prev.
func (l *Link) after(prev Hash) Hash {
	b := append([]byte(domainLink), prev[:]...)
	b = number(number(number(b, l.N), l.Seq), micro(l.At))
	passing := byte(0)
	if l.Passing {
		passing = 1
	}
	b = append(append(b, passing), l.Digest[:]...)
	return sha256.Sum256(b)
}

// Message is what the signature of a checkpoint is of.
func (c *Checkpoint) Message() []byte {
	b := number(number([]byte(domainCheckpoint), c.N), c.Seq)
	b = append(b, c.Hash[:]...)
	return number(number(b, micro(c.At)), micro(c.Swept))
}

func number(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

func text(b []byte, s string) []byte {
	s = Text(s)
	return append(number(b, int64(len(s))), s...)
}

// micro is a time as stores keep it.
func micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Sink is a place that events are brought to.
type Sink struct {
	Name string
	// N is up to which link the sink has them.
	N int64
	// Holder is the node that brings them.
	Holder string
	// Dead is how many it refused for good.
	Dead int64
}

// DeadLetter is an event that a sink refused for good.
type DeadLetter struct {
	Sink string
	N    int64
	At   time.Time
	Why  string
}
