package audit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// The types of records, each one line of an export.
const (
	RecordEvent      = "event"
	RecordCheckpoint = "checkpoint"
	// RecordInserted is an event among the sealed ones that the chain does not
	// know.
	RecordInserted = "inserted"
	// RecordEnd closes an export: one without it was cut off.
	RecordEnd = "end"
)

// Record is a line of an export or of a sink's file, in JSON. Which fields it has
// depends on its type.
type Record struct {
	Type string `json:"type"`
	N    int64  `json:"n,omitzero"`
	Seq  int64  `json:"seq,omitzero"`
	// Hash is of the chain up to here, Digest of the event alone; hexadecimal.
	Hash   string `json:"hash,omitzero"`
	Digest string `json:"digest,omitzero"`

	Time    time.Time `json:"time,omitzero"`
	Passing bool      `json:"passing,omitzero"`
	// Gone is a passing event that was deleted in time.
	Gone          bool              `json:"gone,omitzero"`
	Kind          Kind              `json:"kind,omitzero"`
	Tenant        string            `json:"tenant,omitzero"`
	Session       string            `json:"session,omitzero"`
	UserID        string            `json:"userId,omitzero"`
	ActorKind     string            `json:"actorKind,omitzero"`
	ActorName     string            `json:"actorName,omitzero"`
	ActorUserID   string            `json:"actorUserId,omitzero"`
	Address       string            `json:"address,omitzero"`
	UserAgent     string            `json:"userAgent,omitzero"`
	RequestID     string            `json:"requestId,omitzero"`
	Reason        string            `json:"reason,omitzero"`
	Detail        map[string]string `json:"detail,omitempty"`
	CAEP          string            `json:"caep,omitzero"`
	Swept         time.Time         `json:"swept,omitzero"`
	Key           string            `json:"key,omitzero"`
	Signature     string            `json:"signature,omitzero"`
	Waiting       int64             `json:"waiting,omitzero"`
	InsertedCount int64             `json:"inserted,omitzero"`
}

// OfSealed is the record of an event in the chain.
func OfSealed(s *Sealed) Record {
	r := Record{Type: RecordEvent}
	if !s.Gone {
		r = ofEvent(RecordEvent, &s.Event)
	}
	r.N, r.Seq, r.Time, r.Passing, r.Gone = s.N, s.Seq, s.At.UTC(), s.Passing, s.Gone
	if !s.Gone && !s.Event.Time.Equal(s.At) {
		r.Time = time.Time{} // they cannot both be what was sealed, and neither is believed
	}
	r.Digest, r.Hash = hex.EncodeToString(s.Digest[:]), hex.EncodeToString(s.Hash[:])
	return r
}

// OfEvent is the record of an event by itself, without its place in the chain.
func OfEvent(e *Event) Record { return ofEvent(RecordEvent, e) }

// OfInserted is the record of an event that the chain does not know.
func OfInserted(e *Event) Record { return ofEvent(RecordInserted, e) }

func ofEvent(kind string, e *Event) Record {
	a := &e.Actor
	r := Record{
		Type: kind, Seq: e.Seq, Time: e.Time.UTC(), Kind: Kind(Text(string(e.Kind))), Tenant: Text(e.Tenant), Session: Text(e.Session),
		UserID: Text(e.UserID), ActorKind: Text(a.Kind), ActorName: Text(a.Name), ActorUserID: Text(a.UserID),
		Address: Text(a.Address), UserAgent: Text(a.UserAgent), RequestID: Text(a.RequestID), Reason: Text(e.Reason),
		CAEP: e.Kind.CAEP(),
	}
	for key, value := range e.Detail {
		if r.Detail == nil {
			r.Detail = make(map[string]string)
		}
		r.Detail[Text(key)] = Text(value)
	}
	return r
}

// event is the event that a record tells.
func (r *Record) event() Event {
	return Event{
		Seq: r.Seq, Time: r.Time, Kind: r.Kind, Tenant: r.Tenant, Session: r.Session, UserID: r.UserID,
		Actor: Actor{
			Kind: r.ActorKind, Name: r.ActorName, UserID: r.ActorUserID, Address: r.Address, UserAgent: r.UserAgent, RequestID: r.RequestID,
		},
		Reason: r.Reason, Detail: r.Detail,
	}
}

// OfCheckpoint is the record of a checkpoint.
func OfCheckpoint(c *Checkpoint) Record {
	return Record{
		Type: RecordCheckpoint, N: c.N, Seq: c.Seq, Hash: hex.EncodeToString(c.Hash[:]), Time: c.At.UTC(), Swept: c.Swept.UTC(),
		Key: c.Key, Signature: hex.EncodeToString(c.Signature),
	}
}

// Checkpoint is the checkpoint that a record tells.
func (r *Record) Checkpoint() (Checkpoint, error) {
	hash, err := parseHash(r.Hash)
	signature, wrong := hex.DecodeString(r.Signature)
	if err = errors.Join(err, wrong); err != nil || r.Type != RecordCheckpoint || r.N < 0 {
		return Checkpoint{}, errors.New("this is no checkpoint")
	}
	return Checkpoint{N: r.N, Seq: r.Seq, Hash: hash, At: r.Time, Swept: r.Swept, Key: r.Key, Signature: signature}, nil
}

func parseHash(text string) (h Hash, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(h) {
		return h, errors.New("a hash is 64 hexadecimal digits")
	}
	return Hash(b), nil
}

// AppendLine writes a record as one line. Whatever strangers put into an event
// stays inside its strings.
func (r *Record) AppendLine(b []byte) ([]byte, error) {
	line, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return b, fmt.Errorf("record of event %d: %w", r.Seq, err)
	}
	return append(append(b, line...), '\n'), nil
}

// ParseRecord reads a line strictly.
func ParseRecord(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(bytes.TrimSpace(line), &r, json.RejectUnknownMembers(true)); err != nil {
		return r, errors.New("this line is no record of an audit log")
	}
	return r, nil
}
