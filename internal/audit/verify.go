package audit

import (
	"fmt"
	"slices"
	"time"
)

// Fault is the first record of an audit log that cannot be believed.
type Fault struct {
	// N and Seq name the record; 0 where it has none.
	N, Seq int64
	// What is "deleted", "altered", "inserted", "truncated" or "unsigned".
	What, Why string
}

func (f *Fault) Error() string {
	if f.N == 0 {
		return fmt.Sprintf("event %d was %s: %s", f.Seq, f.What, f.Why)
	}
	return fmt.Sprintf("record %d (event %d) was %s: %s", f.N, f.Seq, f.What, f.Why)
}

// Verifier reads the records of an audit log in order and finds the first that
// cannot be believed. Check and Swept come from outside of the log.
type Verifier struct {
	// Check verifies the signature of a checkpoint; counts is false for a key
	// that others may have, whose word is worth nothing.
	Check func(c *Checkpoint) (counts bool, err error)
	// Anchors are checkpoints that were kept elsewhere: what they vouch for must
	// be there.
	Anchors []Checkpoint

	started     bool
	last        Link
	gone        []Link     // younger than swept
	signed      Checkpoint // newest that counts
	swept       time.Time
	held, count int64
	absent      int64
	waiting     int64
	ended       bool
	hashes      map[int64]Hash // at the anchors
}

// Report is what an audit log without fault holds.
type Report struct {
	// First and Last are the numbers of the records, Events how many are there,
	// and Gone how many were deleted in time.
	First, Last, Events, Gone int64
	// Signed is up to which record a checkpoint vouches, and SignedAt its time.
	Signed   int64
	SignedAt time.Time
	// Waiting events were not in the chain yet.
	Waiting int64
}

// Add takes the next record. Its error is a *Fault, and final.
func (v *Verifier) Add(r *Record) error {
	switch r.Type {
	case RecordEvent:
		return v.event(r)
	case RecordCheckpoint:
		return v.checkpoint(r)
	case RecordInserted:
		return &Fault{Seq: r.Seq, What: "inserted", Why: "it stands among the sealed events, and the chain does not know it"}
	case RecordEnd:
		v.ended, v.waiting = true, r.Waiting
		return nil
	}
	return &Fault{N: r.N, Seq: r.Seq, What: "altered", Why: "there is no such type of record"}
}

func (v *Verifier) event(r *Record) error {
	bad := func(what, why string) error { return &Fault{r.N, r.Seq, what, why} }
	digest, err := parseHash(r.Digest)
	hash, wrong := parseHash(r.Hash)
	if err != nil || wrong != nil {
		return bad("altered", "it has no hash")
	}
	l := Link{N: r.N, Seq: r.Seq, At: r.Time, Passing: r.Passing, Digest: digest, Hash: hash}
	switch {
	case !v.started && l.N != 1:
		return &Fault{1, 0, "deleted", fmt.Sprintf("the log begins with record %d, and no checkpoint stands before it", l.N)}
	case l.N > v.last.N+1:
		return &Fault{v.last.N + 1, 0, "deleted", fmt.Sprintf("record %d follows on record %d", l.N, v.last.N)}
	case l.N <= v.last.N || l.Seq <= v.last.Seq:
		return bad("inserted", fmt.Sprintf("it stands behind record %d (event %d)", v.last.N, v.last.Seq))
	case l.after(v.last.Hash) != l.Hash:
		return bad("altered", "its link does not follow from the record before")
	case r.Gone && !l.Passing:
		return bad("deleted", "its link is there, and such events are not deleted before the rest")
	}
	if r.Gone {
		v.absent++
		if !l.At.Before(v.swept) {
			v.gone = append(v.gone, l)
		}
	} else {
		e := r.event()
		if e.Digest() != l.Digest || e.Passing() != l.Passing {
			return bad("altered", "it is not what was sealed")
		}
		v.held++
	}
	v.reach(l)
	v.count++
	return nil
}

func (v *Verifier) reach(l Link) {
	if !v.started {
		v.hashes = make(map[int64]Hash)
	}
	v.started, v.last = true, l
	if slices.ContainsFunc(v.Anchors, func(c Checkpoint) bool { return c.N == l.N }) {
		v.hashes[l.N] = l.Hash
	}
}

func (v *Verifier) checkpoint(r *Record) error {
	c, err := r.Checkpoint()
	if err != nil {
		return &Fault{r.N, r.Seq, "altered", "the checkpoint cannot be read"}
	}
	counts, err := v.Check(&c)
	switch {
	case err != nil:
		return &Fault{c.N, c.Seq, "unsigned", "its checkpoint: " + err.Error()}
	case !v.started: // what was before was pruned
		v.reach(Link{N: c.N, Seq: c.Seq, Hash: c.Hash})
	case c.N > v.last.N:
		return v.truncated(&c)
	case c.N < v.last.N || c.Hash != v.last.Hash || c.Seq != v.last.Seq:
		return &Fault{c.N, c.Seq, "altered", "the checkpoint says otherwise"}
	}
	if counts {
		v.signed = c
		if c.Swept.After(v.swept) {
			v.swept = c.Swept
			v.gone = slices.DeleteFunc(v.gone, func(l Link) bool { return l.At.Before(v.swept) })
		}
	}
	return nil
}

func (v *Verifier) truncated(c *Checkpoint) error {
	return &Fault{v.last.N + 1, 0, "truncated", fmt.Sprintf("the log ends with record %d, and a checkpoint of %s vouches for %d records",
		v.last.N, c.At.UTC().Format(time.RFC3339), c.N)}
}

// End is called after the last record. Its error is a *Fault.
func (v *Verifier) End() (Report, error) {
	if !v.ended {
		return Report{}, &Fault{v.last.N + 1, 0, "truncated", "the export was cut off"}
	}
	for _, c := range v.Anchors {
		counts, err := v.Check(&c)
		switch hash, there := v.hashes[c.N]; {
		case err != nil:
			return Report{}, &Fault{c.N, c.Seq, "unsigned", "the checkpoint that was kept elsewhere: " + err.Error()}
		case !counts:
		case c.N > v.last.N:
			return Report{}, v.truncated(&c)
		case there && hash != c.Hash:
			return Report{}, &Fault{c.N, c.Seq, "altered", "the checkpoint that was kept elsewhere says otherwise"}
		}
	}
	if len(v.gone) > 0 {
		l := v.gone[0]
		return Report{}, &Fault{l.N, l.Seq, "deleted", "its link is there, and it is younger than what the program deletes"}
	}
	if v.last.N > 0 && v.signed.Signature == nil {
		return Report{}, &Fault{v.last.N, v.last.Seq, "unsigned", "no checkpoint vouches for the log"}
	}
	return Report{
		First: v.last.N - v.count + 1, Last: v.last.N, Events: v.held, Gone: v.absent,
		Signed: v.signed.N, SignedAt: v.signed.At, Waiting: v.waiting,
	}, nil
}
