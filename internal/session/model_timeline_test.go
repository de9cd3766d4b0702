package session

import (
	"fmt"
	"math/bits"
	"strings"
)

// timeline tells a story for people: what happened at which tick. It begins
// with RT(3), so that there are older tokens.
func (s *modelScope) timeline(story []modelStep) string {
	var out strings.Builder
	now, gen := 0, 3
	for _, done := range story {
		if done.move.kind == moveTick {
			now++
			continue
		}
		presented := fmt.Sprintf("RT(%d)%s", gen-int(done.ask.behind), nonceList(done.ask.nonces))
		if done.verdict.Outcome == Rotated {
			gen++
		}
		fmt.Fprintf(&out, "t=%-3d %s\n", now, done.words(presented, gen))
	}
	return out.String()
}

func (d modelStep) words(presented string, gen int) string {
	who := fmt.Sprintf("tab %d", d.move.tab+1)
	switch d.move.kind {
	case moveSend:
		return who + " asks"
	case moveCancel:
		return who + " gives up, and the server sees it"
	case moveDecide, moveSteal:
		if d.move.kind == moveSteal {
			who = "the thief"
		}
		verdict := fmt.Sprintf("row %d, %s", d.verdict.Row, d.verdict.Outcome)
		if d.verdict.Granted() {
			verdict += fmt.Sprintf(", RT(%d)", gen)
		}
		if d.verdict.Healed > 0 {
			verdict += fmt.Sprintf(", healed %d", d.verdict.Healed)
		}
		if d.verdict.Outcome == Stale {
			verdict += ", nonce" + nonceList(slotOf(d.verdict.Strike))
		}
		if d.move.lost {
			verdict += "; the answer is lost"
		}
		return fmt.Sprintf("%s presents %s: %s", who, presented, verdict)
	case moveDeliver:
		return who + " has its answer"
	case moveUse:
		return "the owner uses the newest access token"
	case moveFlush:
		return "every node reports what it saw"
	case moveTimer:
		return "the strike timer fires"
	case moveCopyJar:
		return "the thief copies the jar"
	case moveMisuse:
		return "the thief uses the newest access token"
	}
	return "time passes"
}

func nonceList(set slots) (list string) {
	for ; set != 0; set &= set - 1 {
		list += fmt.Sprintf(" +nonce/%d", bits.TrailingZeros8(uint8(set)))
	}
	return list
}
