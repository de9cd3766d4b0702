package console

import (
	"time"

	"github.com/counterfoil/counterfoil/internal/audit"
	"github.com/counterfoil/counterfoil/internal/session"
	"github.com/counterfoil/counterfoil/internal/token"
)

// overviewPage is the first page.
type overviewPage struct {
	Now    time.Time
	Nodes  []nodeRow
	Keys   []token.KeyInfo
	Events []audit.Event
	// Hour and Month are the plots.
	Hour, Month []plot
	// Trusted is whether this node has heard of all changes lately.
	Trusted bool
}

// nodeRow is a node and how far behind it is.
type nodeRow struct {
	session.Node
	Behind time.Duration
}

// shown is how many notable events the overview lists.
const shown = 10

func (h *Handler) overview(v *visit) error {
	p, err := h.present(v)
	if err != nil {
		return err
	}
	return h.render(v, "overview", p)
}

// live is what the overview asks again and again.
func (h *Handler) live(v *visit) error {
	p, err := h.present(v)
	if err != nil {
		return err
	}
	return h.part(v, "overview", "live", p)
}

func (h *Handler) present(v *visit) (p overviewPage, err error) {
	ctx := v.r.Context()
	p.Now = h.Now()
	p.Trusted = h.Sessions.Trusted(p.Now)
	nodes, err := h.Sessions.Cluster.Nodes(ctx)
	if err != nil {
		return p, err
	}
	for _, n := range nodes {
		p.Nodes = append(p.Nodes, nodeRow{n, max(0, p.Now.Sub(n.HeardAt)).Round(time.Millisecond)})
	}
	for _, k := range h.Tokens.Keys() {
		if k.State == "active" {
			p.Keys = append(p.Keys, k)
		}
	}
	if p.Events, err = h.Sessions.Events.Events(ctx, session.EventFilter{Notable: true, Limit: shown}); err != nil {
		return p, err
	}
	for into, series := range map[*[]plot]session.UsageSeries{&p.Hour: session.LastHour, &p.Month: session.LastMonth} {
		kept, err := h.Store.Usage(ctx, series)
		if err != nil {
			return p, err
		}
		*into = plots(series.Whole(kept, p.Now))
	}
	return p, nil
}
