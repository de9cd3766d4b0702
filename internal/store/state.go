package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/session"
)

// The state column holds what changes while a session lives. Every value has
// the same length, so that an update overwrites the row in its place: numbers
// in columns of their own would take more bytes as they grow, and full pages
// would split under busy sessions. It is also one value to bind instead of
// fifteen.
//
// Integers are big-endian, times microseconds since 1970, 0 for never.
const (
	stateVersion = 1

	offGen          = 1
	offRotatedAt    = 9
	offWindowAt     = 17
	offSeenGen      = 25
	offLateN        = 33
	offLateSince    = 37
	offStrikeNo     = 45
	offStrikeOpen   = 49
	offStrikeAt     = offStrikeOpen + 4*session.MaxStrikes
	offRevokedAt    = offStrikeAt + 8
	offLastActivity = offRevokedAt + 8
	offRetries      = offLastActivity + 8
	offLastAddress  = offRetries + 8

	// maxAddress is the longest text form of an IPv6 address. What is longer,
	// with a zone perhaps, is cut.
	maxAddress = 45
	stateSize  = offLastAddress + 1 + maxAddress
)

type state [stateSize]byte

func (b *state) put(at int, n uint64)        { binary.BigEndian.PutUint64(b[at:], n) }
func (b *state) put32(at int, n uint32)      { binary.BigEndian.PutUint32(b[at:], n) }
func (b *state) putTime(at int, t time.Time) { b.put(at, uint64(micro(t))) }

func (b *state) get(at int) uint64        { return binary.BigEndian.Uint64(b[at:]) }
func (b *state) get32(at int) uint32      { return binary.BigEndian.Uint32(b[at:]) }
func (b *state) getTime(at int) time.Time { return fromMicro(int64(b.get(at))) }

func encodeState(s *session.Session) (b state) {
	b[0] = stateVersion
	b.put(offGen, s.Gen)
	b.putTime(offRotatedAt, s.RotatedAt)
	b.putTime(offWindowAt, s.WindowAt)
	b.put(offSeenGen, s.SeenGen)
	b.put32(offLateN, uint32(s.LateN))
	b.putTime(offLateSince, s.LateSince)
	b.put32(offStrikeNo, s.StrikeNo)
	for i, n := range s.StrikeOpen {
		b.put32(offStrikeOpen+4*i, n)
	}
	b.putTime(offStrikeAt, s.StrikeAt)
	b.putTime(offRevokedAt, s.RevokedAt)
	b.putTime(offLastActivity, s.LastActivity)
	b.put(offRetries, s.Retries)
	b[offLastAddress] = byte(copy(b[offLastAddress+1:], s.LastAddress))
	return b
}

// decodeState fills in what encodeState wrote, given as many bytes as there
// were.
func decodeState(b *state, length int, s *session.Session) error {
	if length != stateSize || b[0] != stateVersion || b[offLastAddress] > maxAddress {
		return fmt.Errorf("the state of a session cannot be read: %d bytes of version %d", length, b[0])
	}
	s.Gen = b.get(offGen)
	s.RotatedAt = b.getTime(offRotatedAt)
	s.WindowAt = b.getTime(offWindowAt)
	s.SeenGen = b.get(offSeenGen)
	s.LateN = int(b.get32(offLateN))
	s.LateSince = b.getTime(offLateSince)
	s.StrikeNo = b.get32(offStrikeNo)
	for i := range s.StrikeOpen {
		s.StrikeOpen[i] = b.get32(offStrikeOpen + 4*i)
	}
	s.StrikeAt = b.getTime(offStrikeAt)
	s.RevokedAt = b.getTime(offRevokedAt)
	s.LastActivity = b.getTime(offLastActivity)
	s.Retries = b.get(offRetries)
	if n := int(b[offLastAddress]); n > 0 && string(b[offLastAddress+1:][:n]) != s.LoginAddress {
		s.LastAddress = string(b[offLastAddress+1:][:n])
	} else if n > 0 {
		s.LastAddress = s.LoginAddress // mostly the same: share its memory
	}
	return nil
}
