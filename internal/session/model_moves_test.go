package session

// move is something that may happen next.
type move struct {
	kind moveKind
	tab  uint8
	// behind is the token that the thief presents, nonces whether he sends the
	// nonces that he has.
	behind uint8
	nonces bool
	// lost is whether the answer never arrives, noticed whether the node that
	// decides knows of a use that no feed has told yet, watched whether the
	// checker follows this refusal.
	lost, noticed, watched bool
}

type moveKind uint8

const (
	moveTick    moveKind = iota // time goes on
	moveSend                    // a tab asks with what is in the jar
	moveCancel                  // a tab gives up, and the server sees that in time
	moveDecide                  // the server decides about a tab's request
	moveDeliver                 // an answer reaches the jar
	moveUse                     // the owner uses the newest access token
	moveFlush                   // every node reports what it saw
	moveTimer                   // a node looks for strikes that are due
	moveCopyJar                 // the thief copies the jar
	moveMisuse                  // the thief uses the newest access token
	moveSteal                   // the thief presents a refresh token
)

// moves lists what may happen in w. An answer that is due is in the jar before
// anything else happens: that is what a longest delay means.
func (s *modelScope) moves(w *modelWorld, list []move) []move {
	if w.ended {
		return list
	}
	late := false
	for i, t := range w.tabs[:s.tabs] {
		if t.state == tabAnswered && t.age >= s.answer {
			list = append(list, move{kind: moveDeliver, tab: uint8(i)})
		}
		late = late || t.state == tabSuperseded || t.state == tabAsking && t.age >= s.request
	}
	if len(list) > 0 {
		return list
	}
	for i := range s.tabs {
		list = s.tabMoves(w, uint8(i), list)
	}
	late = late || s.feed == feedInPatience && !w.flushed && w.rotated == s.ticks(feedPatience)
	if !late {
		list = append(list, move{kind: moveTick})
	}
	if s.feed != feedNever {
		if !w.used && w.jar.behind == 0 {
			list = append(list, move{kind: moveUse})
		}
		if !w.flushed || w.used && !w.seen {
			list = append(list, move{kind: moveFlush})
		}
	}
	if w.open != 0 {
		list = append(list, move{kind: moveTimer})
	}
	if s.thief {
		list = s.thiefMoves(w, list)
	}
	return list
}

func (s *modelScope) tabMoves(w *modelWorld, i uint8, list []move) []move {
	switch t := w.tabs[i]; t.state {
	case tabIdle, tabSuperseded:
		list = append(list, move{kind: moveSend, tab: i})
	case tabAsking:
		// Giving up is as good as never having asked, but for a request that
		// heals: the promises need that one to arrive.
		if t.nonces == 0 || s.promise == promiseNothing {
			list = append(list, move{kind: moveCancel, tab: i})
		}
		list = s.decisions(w, move{kind: moveDecide, tab: i, behind: t.behind}, list)
	case tabAnswered:
		list = append(list, move{kind: moveDeliver, tab: i})
	}
	return list
}

// thiefMoves lists what the thief may do. He is as quick as he likes, so his
// requests and answers take no time.
func (s *modelScope) thiefMoves(w *modelWorld, list []move) []move {
	if !w.thief.copied {
		list = append(list, move{kind: moveCopyJar})
	}
	if w.thief.current && !w.used && s.feed != feedNever {
		list = append(list, move{kind: moveMisuse})
	}
	for behind := range uint8(3) {
		if behind == 0 && !w.thief.current {
			continue
		}
		list = s.decisions(w, move{kind: moveSteal, behind: behind}, list)
		if w.thief.nonces != 0 {
			list = s.decisions(w, move{kind: moveSteal, behind: behind, nonces: true}, list)
		}
	}
	return list
}

// decisions lists the ways in which one presentation may go.
func (s *modelScope) decisions(w *modelWorld, m move, list []move) []move {
	list = append(list, m)
	if m.behind == 1 && w.used && !w.seen {
		noticed := m
		noticed.noticed = true
		list = append(list, noticed)
	}
	if m.kind == moveDecide && s.losses != noLosses {
		lost := m
		lost.lost = true
		list = append(list, lost)
	}
	if m.kind == moveDecide && m.behind > 0 && s.thief && w.watched == 0 {
		watched := m
		watched.watched = true
		list = append(list, watched)
	}
	return list
}

// apply makes a move.
func (s *modelScope) apply(w modelWorld, m move) modelStep {
	done := modelStep{move: m}
	switch m.kind {
	case moveTick:
		done.broken = s.pass(&w)
	case moveSend:
		w.ask(m.tab)
	case moveCancel:
		w.tabs[m.tab] = modelTab{}
	case moveDecide:
		done.ask = ask{m.behind, w.tabs[m.tab].nonces, m.noticed, true, m.watched}
		done.verdict, done.broken = s.serve(&w, done.ask)
		w.tabs[m.tab] = s.reply(done.verdict, m.lost)
	case moveDeliver:
		s.arrive(&w, m.tab)
	case moveUse, moveMisuse:
		w.used = true
	case moveFlush:
		w.flushed, w.seen = true, w.seen || w.used
	case moveTimer:
		done.broken = s.settle(&w)
	case moveCopyJar:
		w.thief = thief{true, w.thief.current || w.jar.behind == 0, w.thief.nonces | w.jar.nonces}
	case moveSteal:
		done.ask = ask{behind: m.behind, noticed: m.noticed}
		if m.nonces {
			done.ask.nonces = w.thief.nonces
		}
		done.verdict, done.broken = s.serve(&w, done.ask)
		if done.verdict.Granted() {
			w.thief.current = true
		}
		if done.verdict.Outcome == Stale {
			w.thief.nonces |= slotOf(done.verdict.Strike)
		}
	}
	if w.ended {
		w = modelWorld{ended: true}
	}
	done.after = w
	return done
}

// reply is the tab whose request was decided. Answers that make no difference
// to a browser are all alike.
func (s *modelScope) reply(v Verdict, lost bool) modelTab {
	if lost && (s.losses == allLosses || v.Granted()) {
		return modelTab{}
	}
	t := modelTab{state: tabAnswered}
	switch v.Outcome {
	case Rotated, Retried, Recovered, StaleAgain:
		t.answer = v.Outcome
	case Stale:
		t.answer, t.nonces = Stale, slotOf(v.Strike)
	case Floored: // a browser keeps the cookie that it has
		if s.cookieAtFloor {
			t.answer = Floored
		}
	}
	return t
}

// arrive puts an answer into the jar. A tab that was superseded asks again at
// once, with what is in the jar by then; but other answers may come between.
func (s *modelScope) arrive(w *modelWorld, i uint8) {
	t := w.tabs[i]
	w.tabs[i] = modelTab{}
	switch t.answer {
	case Rotated, Floored, Retried, Recovered:
		w.jar.behind = t.behind
	case Stale, StaleAgain:
		if s.oneHealCookie && t.answer == Stale {
			w.jar.nonces = 0
		}
		w.jar.nonces |= t.nonces
		w.tabs[i].state = tabSuperseded
	}
}
