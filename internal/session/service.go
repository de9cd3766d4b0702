package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/credential"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// Service is the use cases. Fill in the fields, call Start, and Close at the
// end. Its methods are safe for concurrent use.
type Service struct {
	Store    Store
	Feed     Feed
	Cluster  Cluster
	Accounts AccountStore
	// Credentials keeps what is about passwords beside the valid ones.
	Credentials PasswordStore
	Events      EventStore
	// Moving keeps what was taken over from FOLIO's modules.
	Moving MovingStore
	// Old are the tokens of mod-authtoken that count; nil is none.
	Old       *OldTokens
	Tokens    *token.Ring
	Users     directory.Source
	Directory *directory.Cache
	// UsersElsewhere is whether users are kept by another system, which tells no
	// changes. Whoever is found inactive there loses all sessions then, and at a
	// login it is asked anew what the user may do.
	UsersElsewhere bool
	Passwords      *credential.Hasher
	// Keys are the API keys; nil is none.
	Keys *APIKeys
	// Clients are the clients of OAuth in the configuration, by their ids.
	// Registered has those that operators registered beside them; nil is none.
	Clients    map[string]*Client
	Registered ClientStore
	// Devices are those that wait to be let in.
	Devices DeviceStore
	// Spent knows which proofs and the like were used.
	Spent SpentStore
	// Rules are what a new password must keep.
	Rules    credential.Rules
	Limits   *credential.Regulator
	Policies *Policies
	Now      func() time.Time
	Log      *slog.Logger
	// Observe counts what happened; nil counts nothing.
	Observe Observer
	// Trust is how long after it last heard of all changes a node serves from
	// memory; 0 is DefaultTrust.
	Trust time.Duration
	// FlushEvery is how often the seen generations are stored; 0 is 2 s.
	FlushEvery time.Duration
	// KeepEnded is how long ended sessions and their events are kept to answer
	// "why was I logged out?"; 0 is 30 days.
	KeepEnded time.Duration
	// VerifiedTokens bounds the cache of verified access tokens; 0 is 20,000.
	// A negative number switches the cache off.
	VerifiedTokens int

	memory   memory
	seen     seen
	verified *lru.Cache[tokenHash, *verified]
	alarmed  *lru.Cache[alarmKey, time.Time]
	scopes   *lru.Cache[scopedKey, leftAccess]
	codes    credential.Regulator
	// registered are the clients of Registered, as last read.
	registered atomic.Pointer[map[string]*Client]
	strikes    strikes
	proofs     proofs
	adoption   atomic.Pointer[Adoption]

	stop    context.CancelFunc
	running sync.WaitGroup
}

// Observer counts outcomes. Its arguments come from small fixed sets.
type Observer interface {
	Refreshed(outcome string)
	LoggedIn(result string)
	SessionsEnded(reason Reason, n int)
	TokenCache(hit bool)
	FeedFlushed(at time.Time, sessions int, err error)
	// OldToken counts what became of a token of mod-authtoken: of access,
	// refresh or legacy.
	OldToken(kind, outcome string)
}

type silent struct{}

func (silent) Refreshed(string)                  {}
func (silent) LoggedIn(string)                   {}
func (silent) SessionsEnded(Reason, int)         {}
func (silent) OldToken(string, string)           {}
func (silent) TokenCache(bool)                   {}
func (silent) FeedFlushed(time.Time, int, error) {}

const (
	defaultFlushEvery = 2 * time.Second
	defaultKeepEnded  = 30 * 24 * time.Hour
	defaultVerified   = 20_000
	sweepEvery        = time.Minute
	sweepBatch        = 500
)

// Start brings the ended sessions and epochs into memory, arms the timers of
// open strikes and starts the background work. Listeners on the feed must be
// registered before: Start registers its own first.
func (s *Service) Start(ctx context.Context) error {
	if s.Observe == nil {
		s.Observe = silent{}
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	size := s.VerifiedTokens
	if size == 0 {
		size = defaultVerified
	}
	if size > 0 {
		s.verified, _ = lru.New[tokenHash, *verified](size)
	}
	s.alarmed, _ = lru.New[alarmKey, time.Time](10_000)
	s.scopes, _ = lru.New[scopedKey, leftAccess](10_000)
	// Whoever waits must not be kept out by those who guess elsewhere.
	s.codes.User, s.codes.Tenant = credential.Limit{Burst: 10_000, Period: time.Hour}, credential.Limit{Burst: 10_000, Period: time.Hour}
	if s.Trust == 0 {
		s.Trust = DefaultTrust
	}
	s.memory.init()
	s.seen.init()
	s.Feed.OnChange(s.apply)
	if s.Old != nil {
		if err := s.Old.init(ctx, s.Feed); err != nil {
			return fmt.Errorf("load epochs: %w", err)
		}
	}
	if s.Keys != nil {
		s.Keys.Sessions = s
		if err := s.Keys.Load(ctx); err != nil {
			return err
		}
	}
	now := s.Now()
	since := now.Add(-s.Policies.MaxAccessTTL())
	ended, err := s.Feed.EndedSince(ctx, since)
	if err != nil {
		return fmt.Errorf("load ended sessions: %w", err)
	}
	epochs, err := s.Feed.Epochs(ctx, since)
	if err != nil {
		return fmt.Errorf("load epochs: %w", err)
	}
	struck, err := s.Feed.Struck(ctx)
	if err != nil {
		return fmt.Errorf("load open strikes: %w", err)
	}
	for _, e := range ended {
		s.memory.end(e.Session, e.At)
	}
	for _, c := range epochs {
		s.memory.raise(c.Tenant, c.UserID, c.Epoch)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.strikes.init(background, s.strikeDue)
	for _, st := range struck {
		s.armStrike(background, st.Session, st.StrikeAt)
	}
	s.running.Go(func() { s.flushLoop(background) })
	s.running.Go(func() { s.sweepLoop(background) })
	return nil
}

// Close stops the background work and stores what was seen last.
func (s *Service) Close(ctx context.Context) error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	s.strikes.close()
	s.running.Wait()
	s.stop = nil
	if s.Old != nil {
		s.tellUses(ctx, s.Old.untold(s.Now(), true))
	}
	return s.flushSeen(ctx)
}

// apply brings committed changes into memory, before they are acknowledged.
func (s *Service) apply(changes []Change) {
	keys := false
	for _, c := range changes {
		switch c.Kind {
		case SessionEnded:
			s.memory.end(c.Session, c.At)
			s.strikes.disarm(c.Session)
		case EpochMoved:
			s.memory.raise(c.Tenant, c.UserID, c.Epoch)
			if s.Old != nil {
				s.Old.raise(c)
			}
		case UserChanged:
			s.Directory.ForgetUser(c.Tenant, c.UserID)
		case PermissionsChanged:
			s.Directory.ForgetPermissions(c.Tenant)
		case APIKeysChanged:
			keys = true
		case Missed:
			s.Directory.ForgetAll()
			keys = true
		}
	}
	if keys && s.Keys != nil {
		if err := s.Keys.Load(context.Background()); err != nil {
			s.Log.Error("API keys not read again, none is accepted until they are", "error", err)
		}
	}
}

// sweepLoop forgets ended sessions: in memory when no access token of theirs
// can live, in the store when nobody will ask why they ended.
func (s *Service) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	remember := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.Now()
		// A lifetime that was shortened may be lengthened again while tokens of
		// the first time live.
		remember = max(remember, s.Policies.MaxAccessTTL())
		s.memory.forget(now.Add(-remember))
		if s.Old != nil {
			s.tellUses(ctx, s.Old.untold(now, false))
		}
		if err := s.Sweep(ctx, now); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "sweep of ended sessions failed, it will be tried again", "error", err)
		}
	}
}

// Sweep deletes sessions that ended KeepEnded ago, in small batches so that no
// refresh waits behind it.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	keep := s.KeepEnded
	if keep == 0 {
		keep = defaultKeepEnded
	}
	for ctx.Err() == nil {
		n, err := s.Store.SweepSessions(ctx, now.Add(-keep), sweepBatch)
		if err != nil || n < sweepBatch {
			return err
		}
	}
	return ctx.Err()
}

// event fills in what every event of a session has in common.
func event(ctx context.Context, kind audit.Kind, s *Session, reason string) audit.Event {
	e := audit.Event{Kind: kind, Actor: *audit.ActorFrom(ctx), Reason: reason}
	if s != nil {
		e.Tenant, e.Session, e.UserID = s.Tenant, s.ID.String(), s.UserID
	}
	return e
}

// patience is how long a request waits inside for a store that is away. One
// answer that is not a success ends a Stripes session, so waiting is cheaper.
const patience = 5 * time.Second

// retry runs do again while the store is unavailable, for up to patience.
func (s *Service) retry(ctx context.Context, do func() error) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := do()
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-deadline.C:
			wait.Stop()
			return err
		case <-ctx.Done():
			wait.Stop()
			return err
		}
	}
}
