package console

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/internal/session"
)

// plot is one number over time, drawn on the server.
type plot struct {
	Name string
	// Said is the number in words: of all the time, or the newest.
	Said string
	Bars template.HTML
}

// measures are what is plotted: a sum of the while's, or a level.
var measures = []struct {
	name  string
	of    func(*session.Usage) int64
	level bool
}{
	{"Live sessions", func(u *session.Usage) int64 { return u.Live }, true},
	{"Refreshes", func(u *session.Usage) int64 { return u.Refreshes }, false},
	{"Answers given again", func(u *session.Usage) int64 { return u.Retries }, false},
	{"Late recoveries", func(u *session.Usage) int64 { return u.LateRecoveries }, false},
	{"Superseded", func(u *session.Usage) int64 { return u.Superseded }, false},
	{"Ended: token used twice", func(u *session.Usage) int64 { return u.Reuse }, false},
	{"Log-ins", func(u *session.Usage) int64 { return u.Logins }, false},
	{"Log-ins that failed", func(u *session.Usage) int64 { return u.LoginsFailed }, false},
	{"Sessions ended", func(u *session.Usage) int64 { return u.Ended }, false},
	{"Revocations: slowest node, ms", func(u *session.Usage) int64 { return u.Behind.Milliseconds() }, true},
}

func plots(all []session.Usage) []plot {
	list := make([]plot, len(measures))
	for i, m := range measures {
		values := make([]int64, len(all))
		var total int64
		for n := range all {
			values[n] = m.of(&all[n])
			total += values[n]
		}
		said := total
		if m.level {
			said = newestOf(values)
		}
		list[i] = plot{m.name, grouped(said), bars(values, all)}
	}
	return list
}

// newestOf is the last level that was told: the present while has not ended.
func newestOf(values []int64) int64 {
	for i := len(values) - 1; i >= max(0, len(values)-3); i-- {
		if values[i] > 0 {
			return values[i]
		}
	}
	return 0
}

// bars draws one bar for each while. A title tells its number where a pointer
// rests on it; the number of the figure is what is read out.
func bars(values []int64, all []session.Usage) template.HTML {
	most := int64(1)
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d 40" preserveAspectRatio="none" aria-hidden="true">`, len(values)*4)
	for i, v := range values {
		if v == 0 {
			continue
		}
		height := max(1, float64(v)*40/float64(most))
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="3" height="%.1f"><title>%d, %s UTC</title></rect>`, i*4, 40-height, height, v, all[i].Begins.Format("02 Jan 15:04"))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // numbers and times alone
}

// grouped writes a number with a thin space between thousands.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}
