package session

import "time"

// ask is one presentation, by the owner or the thief.
type ask struct {
	behind                  uint8
	nonces                  slots
	noticed, owner, watched bool
}

const (
	// instant is the present of every world, and newestGen its generation: all
	// else is told as age and distance.
	newestGen = 100
	// newestStrike is any number with room below for all that are open.
	newestStrike = 2 * MaxStrikes
)

var instant = time.Unix(1704067200, 0)

// start is a session that nobody has used for long.
func (s *modelScope) start() modelWorld {
	most := s.oldest()
	return modelWorld{window: most.window, rotated: most.rotated}
}

// oldest holds the largest ages that the rule tells apart.
func (s *modelScope) oldest() modelWorld {
	w := modelWorld{window: max(s.floor, s.grace), strike: s.heal + 1, watchedAge: s.heal + 1}
	for _, far := range []time.Duration{feedPatience, lateWindow} {
		if far/s.tick <= 12 {
			w.rotated = max(w.rotated, s.ticks(far)+1)
		}
	}
	w.late = s.ticks(lateWindow)
	return w
}

// family is the row of w.
func (s *modelScope) family(w *modelWorld) Family {
	ago := func(age uint8) time.Time { return instant.Add(-time.Duration(age) * s.tick) }
	f := Family{
		Gen: newestGen, SeenGen: newestGen - 1,
		RotatedAt: ago(w.rotated), WindowAt: ago(w.window),
		LateN: int(w.lateN), StrikeNo: newestStrike,
	}
	if w.seen {
		f.SeenGen = newestGen
	}
	if w.lateN > 0 {
		f.LateSince = ago(w.late)
	}
	if w.open != 0 {
		f.StrikeAt = ago(w.strike)
	}
	for number := f.StrikeNo; number > f.StrikeNo-MaxStrikes; number-- {
		if w.open&slotOf(number) != 0 {
			f.StrikeOpen[number%MaxStrikes] = number
		}
	}
	return f
}

// presented is what the rule is told about a.
func (s *modelScope) presented(w *modelWorld, f Family, a ask) Presented {
	p := Presented{
		Gen: newestGen - uint64(a.behind), Genuine: true, Allowed: true,
		Expiry: instant.Add(1000 * lateWindow),
	}
	for _, number := range f.StrikeOpen {
		if number != 0 && a.nonces&slotOf(number) != 0 {
			p.Heals = append(p.Heals, number)
		}
	}
	if a.noticed {
		p.Seen = newestGen
	}
	if w.flushed {
		p.FlushedAt = f.RotatedAt.Add(1)
	}
	return p
}

// serve lets the rule decide and judges what it did.
func (s *modelScope) serve(w *modelWorld, a ask) (Verdict, string) {
	before := s.family(w)
	after, v := s.present(before, s.presented(w, before, a), s.limits(), instant)
	broken := s.judge(w, a, before, after, v)
	w.follow(a, v)
	s.record(w, before, after)
	w.used = w.used || v.Outcome == Floored
	if broken == "" && w.ended {
		broken = s.judgeEnd(w, after)
	}
	return v, broken
}

// record makes after the row of w.
func (s *modelScope) record(w *modelWorld, before, after Family) {
	most := s.oldest()
	age := func(t time.Time, most uint8) uint8 {
		return uint8(min(instant.Sub(t)/s.tick, time.Duration(most)))
	}
	var closed slots
	w.open = 0
	for i, number := range after.StrikeOpen {
		if number != 0 {
			w.open |= slotOf(number)
		}
		if old := before.StrikeOpen[i]; old != 0 && old != number {
			closed |= slotOf(old)
		}
	}
	w.forget(closed)
	w.window, w.rotated = age(after.WindowAt, most.window), age(after.RotatedAt, most.rotated)
	w.strike = 0
	if w.open != 0 {
		w.strike = age(after.StrikeAt, most.strike)
	}
	w.lateN, w.late = uint8(after.LateN), 0
	if after.LateN > 0 {
		w.late = age(after.LateSince, most.late)
	}
	if after.Gen > before.Gen {
		w.rotate()
	}
	w.ended = !after.RevokedAt.IsZero()
}

// settle is row T.
func (s *modelScope) settle(w *modelWorld) string {
	before := s.family(w)
	after, _ := before.StrikesDue(s.limits(), instant)
	s.record(w, before, after)
	if w.ended {
		return s.judgeEnd(w, after)
	}
	return ""
}

// pass makes everything a tick older.
func (s *modelScope) pass(w *modelWorld) string {
	most := s.oldest()
	older := func(age *uint8, most uint8) { *age = min(*age+1, most) }
	older(&w.window, most.window)
	older(&w.rotated, most.rotated)
	if w.open != 0 {
		older(&w.strike, most.strike)
	}
	if w.lateN > 0 {
		older(&w.late, most.late)
	}
	for i := range w.tabs {
		if w.tabs[i].state != tabIdle {
			w.tabs[i].age++
		}
	}
	if w.watched != 0 {
		older(&w.watchedAge, most.watchedAge)
	}
	day := s.ticks(lateWindow)
	for i, age := range w.recovered {
		switch {
		case age == 0 || day == 0:
		case age == day: // a day ago now, hence out of every rolling day
			w.recovered[i] = 0
		default:
			w.recovered[i]++
		}
	}
	return s.judgeTimer(w)
}
