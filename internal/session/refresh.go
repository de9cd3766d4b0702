package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/token"
)

// RefreshRequest is one refresh token as presented.
type RefreshRequest struct {
	Token string
	// Tenant is the tenant that the caller named; empty is the session's own.
	Tenant string
	// Heals are the nonces of superseded answers that came along.
	Heals []string
	// Browser is whether the client keeps the token in a cookie jar that
	// several requests share.
	Browser bool
	// Device is the value of the device cookie, if there was one.
	Device string
	// Client is the client of OAuth that presents the token, after it proved who
	// it is; empty at FOLIO's own endpoints.
	Client string
	// Scope is what the access token is to have of the session's scope; empty is
	// all of it.
	Scope string
	// Confirm is the key that whoever presents the token has proved to hold.
	Confirm token.Confirmation
}

// Tokens is what a login or a refresh gives.
type Tokens struct {
	Session                  token.SessionID
	Tenant, UserID, Username string
	Access                   string
	AccessExpires            time.Time
	// Refresh is empty where the client must keep the one it has.
	Refresh        string
	RefreshExpires time.Time
	// Device is a new device cookie to set, empty for none.
	Device string
	// Scope is the access token's; empty where there is no client that has one.
	Scope string
	// Confirm is the key that the access token is bound to, empty for none.
	Confirm token.Confirmation
	// OpenID is whether the client asked who the user is, Nonce what it asked with,
	// and AuthTime when the user proved it, zero if nobody did.
	OpenID   bool
	Nonce    string
	AuthTime time.Time
	// Issued is the instant from which all lifetimes count.
	Issued time.Time
}

// Refused is a refresh that was refused. What it says beyond "refused" is for
// the client's next step; why stays in the audit log.
type Refused struct {
	Outcome Outcome
	// Final is whether the session is over. Only then may a client forget its
	// token: a late loser must not wipe the winner's cookie.
	Final bool
	// Heal is the nonce with which the owner of the newest token closes the
	// strike, and HealSlot its cookie's number.
	Heal     string
	HealSlot int
	// HealFor is how long the nonce is good for.
	HealFor time.Duration
	// HomeTenant and UserID are the session's, where the caller named another
	// tenant: whether its user belongs to both is not known here.
	HomeTenant, UserID string
}

// Superseded is whether the client may find a newer token in its jar.
func (r *Refused) Superseded() bool { return r.Outcome == Stale || r.Outcome == StaleAgain }

func (r *Refused) Error() string { return "refresh refused" }

// Refresh decides about a refresh token and gives tokens, or *Refused, or
// ErrUnavailable, in which case nothing has changed that a retry would not
// survive; ErrScope uses nothing up. A refresh with an authentic token is never rate-limited.
func (s *Service) Refresh(ctx context.Context, req RefreshRequest) (*Tokens, error) {
	opened, err := s.Tokens.OpenRefresh(req.Token)
	if err != nil && s.Old != nil {
		return s.swap(ctx, req)
	}
	if err != nil {
		s.Observe.Refreshed("forged")
		return nil, &Refused{}
	}
	d := decision{service: s, req: &req, opened: opened, actor: audit.ActorFrom(ctx)}
	err = s.retry(ctx, func() (err error) {
		if d.scope, err = s.narrowed(ctx, &req, opened.Session); err != nil {
			return err
		}
		return d.commit(ctx)
	})
	if err != nil && d.strike.last != 0 {
		s.strikes.work(d.withdraw)
	}
	switch {
	case errors.Is(err, errFeedBehind):
		s.Observe.Refreshed(Unready.String())
		return nil, ErrUnavailable
	case errors.Is(err, ErrNotFound):
		s.Observe.Refreshed("unknown")
		return nil, &Refused{Final: true}
	case errors.Is(err, ErrScope):
		s.Observe.Refreshed("scope")
		return nil, err
	case err != nil:
		s.Observe.Refreshed("unavailable")
		return nil, err
	}
	return d.answer()
}

// errFeedBehind is a late client whose successor may have been used on a node that
// has not told yet. It tells soon, so the request waits.
var errFeedBehind = fmt.Errorf("%w: not every node has told what it saw", ErrUnavailable)

// decision carries one presentation through the store's callback, which may
// run more than once.
type decision struct {
	service *Service
	req     *RefreshRequest
	opened  token.Refresh
	actor   *audit.Actor
	// scope is the access token's, empty for the session's.
	scope string

	row     Session
	policy  Policy
	verdict Verdict
	now     time.Time
	// arrived is when decide ran first.
	arrived time.Time
	// unknownUser is set when the directory must be asked before deciding, and
	// missingUser when it answered that there is no such user.
	unknownUser, missingUser bool
	// inactive is set when another system's user is remembered as inactive, which
	// is asked again once: it may be from before another node let the user in
	// anew.
	inactive bool
	// alarms were written as events by the last run of decide.
	alarms []audit.Kind
	// strike is what earlier runs of decide opened.
	strike ownStrike
	// rotatedAt is when an earlier run of decide rotated.
	rotatedAt time.Time
	// granted is what the last run of decide gives, if it was made already. It must
	// not leave before the commit.
	granted *Tokens
}

// commit decides under the row's lock. No network inside: where the directory
// has nothing in memory about the user, it is asked outside and the decision
// is taken again.
func (d *decision) commit(ctx context.Context) error {
	if !d.service.Trusted(d.service.Now()) {
		return fmt.Errorf("%w: this node has not heard of revocations for too long", ErrUnavailable)
	}
	for range 3 {
		err := d.service.Store.UpdateSession(ctx, d.opened.Session, d.decide)
		switch {
		case err != nil:
			return err
		case d.strike.unclear:
			err = d.recall(ctx)
		case d.unknownUser:
			err = d.askDirectory(ctx)
		case d.verdict.Outcome == Unready:
			d.service.seen.flush()
			return errFeedBehind
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ErrUnavailable // the directory forgets, or others strike, faster than we can ask
}

func (d *decision) askDirectory(ctx context.Context) error {
	if d.inactive {
		d.service.Directory.ForgetUser(d.row.Tenant, d.row.UserID)
	}
	_, err := d.service.Directory.Access(ctx, d.row.Tenant, d.row.UserID)
	d.missingUser = errors.Is(err, directory.ErrNotFound)
	if err != nil && !d.missingUser {
		return errors.Join(ErrUnavailable, err)
	}
	return nil
}

func (d *decision) decide(now time.Time, row *Session) Effects {
	s := d.service
	d.now, d.unknownUser, d.strike.unclear, d.granted = now, false, false, nil
	if d.arrived.IsZero() {
		d.arrived = now
	}
	d.policy = s.Policies.of(row)
	defer func() { d.row = *row }()
	access, known := s.Directory.Cached(row.Tenant, row.UserID)
	active := known && access.User.Active
	remembered := known && !active && s.UsersElsewhere && !d.inactive
	if !known && !d.missingUser || remembered {
		d.unknownUser, d.inactive = true, d.inactive || remembered
		return Effects{}
	}
	if row.RevokedAt.IsZero() && s.memory.overRow(row) {
		// An epoch ends sessions without touching their rows; the row learns
		// of it here.
		row.RevokedAt, row.RevokedWhy = now, TenantEnded
		if s.memory.restored(row.TenantEpoch) {
			row.RevokedWhy = StoreRestored
		}
		d.verdict = Verdict{Outcome: Ended, Row: 5, Changed: true}
		return Effects{Save: true, Events: d.events(row, true)}
	}
	if s.UsersElsewhere && known && !active && row.RevokedAt.IsZero() {
		row.RevokedAt, row.RevokedWhy = now, UserDeactivated
		d.verdict = Verdict{Outcome: Ended, Row: 5, Changed: true}
		e := audit.Event{
			Kind: audit.UserDeactivated, Tenant: row.Tenant, Session: row.ID.String(), UserID: row.UserID,
			Actor: *d.actor, Reason: "the user was found inactive",
		}
		return Effects{Save: true, EndUser: UserDeactivated, Events: []audit.Event{e}}
	}
	bound := d.bound(row) && d.confirmed(row)
	heals := d.heals(row)
	own := d.strike.in(row)
	if d.strike.unclear {
		return Effects{}
	}
	if own {
		heals = append(heals, d.strike.own)
	}
	seen, flushedAt := s.seen.known(row.ID, row.RotatedAt)
	if others := s.Cluster.FlushedAt(); others.Before(flushedAt) {
		flushedAt = others
	}
	adopt := s.adoptable(row, now)
	presented := Presented{
		Gen:       d.opened.Gen,
		Genuine:   s.Tokens.RefreshMatches(row.Binding(), d.opened),
		Allowed:   active && bound && !d.elsewhere(row) && presents(d.req.Client, row),
		Heals:     heals,
		Seen:      seen,
		FlushedAt: flushedAt,
		Arrived:   d.arrived,
		Expiry:    row.AbsoluteExpiry,
		Restored:  adopt > 0,
	}
	family, verdict := row.Present(presented, d.policy.Rule(), now)
	if verdict.Row == 11 && d.rotated(row) {
		// A strict rule knows no lost answers, but this one was lost inside.
		d.verdict = Verdict{Outcome: Rotated, Row: 9}
		return Effects{}
	}
	row.Family, d.verdict = family, verdict
	if own && d.verdict.Outcome == StaleAgain {
		d.verdict.Outcome, d.verdict.Strike = Stale, d.strike.own
		return Effects{}
	}
	if d.verdict.Outcome == Stale {
		d.strike.opened(d.verdict.Strike)
	}
	effects := Effects{Save: d.verdict.Changed, Events: d.events(row, bound)}
	switch d.verdict.Outcome {
	case Rotated, Kept:
		row.LastAddress, row.LastActivity = d.actor.Address, now
		if d.verdict.Outcome == Rotated {
			d.rotatedAt = now
			effects.Meanwhile = d.prepare
		}
	case Adopted:
		row.LastAddress, row.LastActivity = d.actor.Address, now
		row.TenantEpoch = adopt // once: it is not behind any more
	case Reused:
		row.RevokedBy = "refresh rule"
		if d.policy.EndUser {
			effects.EndUser = RefreshReuse
		}
	}
	return effects
}

// elsewhere is whether the caller named another tenant than the session's.
func (d *decision) elsewhere(row *Session) bool {
	return d.req.Tenant != "" && d.req.Tenant != row.Tenant
}

// rotated is whether the row is as an earlier run of decide left it: its commit
// was not answered, and it was made.
func (d *decision) rotated(row *Session) bool {
	return !d.rotatedAt.IsZero() && row.Gen == d.opened.Gen+1 && row.RotatedAt.Equal(d.rotatedAt)
}

// heals opens the nonces that came along. Foreign and stale ones are ignored:
// a browser sends what is left of an earlier session, too.
func (d *decision) heals(row *Session) []uint32 {
	if len(d.req.Heals) == 0 || !row.Struck() {
		return nil
	}
	numbers := make([]uint32, 0, MaxStrikes)
	for _, nonce := range d.req.Heals[:min(len(d.req.Heals), MaxStrikes)] {
		if n, ok := d.service.Tokens.OpenHeal(row.Binding(), nonce); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// answer turns the committed verdict into tokens or a refusal.
func (d *decision) answer() (*Tokens, error) {
	s, v := d.service, d.verdict
	s.Observe.Refreshed(v.Outcome.String())
	for _, kind := range d.alarms {
		s.alarmed.Add(alarmKey{d.row.ID, kind}, d.now)
	}
	switch {
	case v.Outcome == Stale:
		heal := d.policy.Rule().Heal
		s.strikes.arm(d.row.ID, d.row.StrikeAt.Add(heal).Sub(d.now))
		return nil, &Refused{
			Outcome: v.Outcome, HealFor: heal, HealSlot: int(v.Strike % MaxStrikes),
			Heal: s.Tokens.HealNonce(d.row.Binding(), v.Strike),
		}
	case !v.Granted():
		switch {
		case v.Outcome == Reused:
			s.Observe.SessionsEnded(RefreshReuse, 1)
		case v.Outcome == Ended && v.Changed && d.row.RevokedWhy == UserDeactivated:
			s.Observe.SessionsEnded(UserDeactivated, 1)
		}
		refused := &Refused{Outcome: v.Outcome, Final: v.Final()}
		if v.Outcome == NotAllowed && d.elsewhere(&d.row) {
			refused.HomeTenant, refused.UserID = d.row.Tenant, d.row.UserID
		}
		return nil, refused
	}
	if v.Outcome == Floored || v.Outcome == Retried {
		s.seen.note(d.row.ID, d.opened.Gen, d.now, 1)
	}
	if !d.row.Struck() {
		s.strikes.disarm(d.row.ID)
	}
	if d.granted != nil {
		return d.granted, nil
	}
	return d.grant()
}

// prepare makes the tokens while the rotation that they rest on is written: a
// signature takes a good part of the time that a disk does. What fails is tried
// again where it can be said.
func (d *decision) prepare() { d.granted, _ = d.grant() }

// grant makes the tokens of a verdict.
func (d *decision) grant() (*Tokens, error) {
	row := d.row
	if d.scope != "" {
		row.Scope = d.scope
	}
	if row.Confirm == "" {
		// The session stays unbound: a thief could bind it to a key of his own, and
		// lock its owner out.
		row.Confirm = d.req.Confirm
	}
	keepCookie := d.verdict.Outcome == Floored && d.req.Browser
	return d.service.issue(&row, d.policy, d.now, !keepCookie)
}

var outcomeNames = [...]string{
	0: "none", Rotated: "rotated", Floored: "floor", Retried: "retry", Recovered: "late_recovery",
	Altered: "tag_mismatch", Ended: "ended", NotAllowed: "not_allowed", Ahead: "generation_ahead",
	Reused: "reuse", Unready: "feed_behind", Stale: "superseded", StaleAgain: "superseded_again",
	strikesOver: "strikes_over", Adopted: "adopted", Kept: "kept",
}

// String is the outcome's name in metrics.
func (o Outcome) String() string { return outcomeNames[o] }
