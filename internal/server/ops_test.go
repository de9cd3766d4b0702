package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

// described is the metrics that /metrics may have, with their labels.
func described(t *testing.T, registry *prometheus.Registry) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc)
	go func() { registry.Describe(descs); close(descs) }()
	shape := regexp.MustCompile(`fqName: "([^"]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	names := make(map[string][]string)
	for desc := range descs {
		match := shape.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("not understood: %s", desc)
		}
		var labels []string
		for label := range strings.SplitSeq(match[2]+","+match[3], ",") {
			if name, _, _ := strings.Cut(label, "="); name != "" {
				labels = append(labels, name)
			}
		}
		names[match[1]] = append(names[match[1]], labels...)
	}
	if len(names) < 20 || !slices.Contains(names["counterfoil_refresh_total"], "outcome") {
		t.Fatalf("the program describes %d metrics", len(names))
	}
	return names
}

// given are labels that Prometheus itself adds, or that a histogram has.
var given = []string{"instance", "job", "le"}

var (
	metricName = regexp.MustCompile(`\b((?:counterfoil|go|process)_\w+)(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
)

// faults lists what an expression asks for that the program does not have.
// Values of labels must be words that the operators' page explains.
func faults(expr string, known map[string][]string, explained string) []string {
	var found []string
	var labels []string
	for _, use := range metricName.FindAllStringSubmatch(expr, -1) {
		name := use[1]
		if _, ok := known[name]; !ok {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		of, ok := known[name]
		if !ok {
			found = append(found, "unknown metric "+use[1])
			continue
		}
		labels = append(labels, of...)
		for _, match := range matcher.FindAllStringSubmatch(use[2], -1) {
			if !slices.Contains(of, match[1]) && !slices.Contains(given, match[1]) {
				found = append(found, name+" has no label "+match[1])
			}
			for value := range strings.SplitSeq(match[2], "|") {
				if !slices.Contains([]string{"instance", "listener", "class", "route"}, match[1]) && !strings.Contains(explained, "`"+value+"`") {
					found = append(found, "docs/running.md does not explain "+match[1]+" "+value)
				}
			}
		}
	}
	for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(group[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(labels, label) && !slices.Contains(given, label) {
				found = append(found, "grouped by "+label+", which nothing there has")
			}
		}
	}
	return found
}

type alert struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/ops/alerts.yaml"))
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func TestAlertsAndDashboardAskForWhatThereIs(t *testing.T) {
	c := testConfig(t)
	c.Tracing.Endpoint = "http://127.0.0.1:1/v1/traces"
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	known := described(t, s.metrics.registry)
	page, err := os.ReadFile(filepath.Join(root, "docs/running.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range known {
		if strings.HasPrefix(name, "counterfoil_") && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/running.md does not explain %s", name)
		}
	}
	asked := ""
	for _, rule := range alerts(t) {
		asked += rule.Expr
		for _, fault := range faults(rule.Expr, known, string(page)) {
			t.Errorf("alert %s: %s", rule.Alert, fault)
		}
		if rule.Alert == "" || rule.Annotations["summary"] == "" || !slices.Contains([]string{"warning", "critical"}, rule.Labels["severity"]) {
			t.Errorf("alert %q lacks a name, a summary or a severity", rule.Alert)
		}
		runbookExists(t, rule)
	}
	// Each tail of the rule that has a rate in order, and each that has none.
	for _, tail := range []string{
		`"refresh_reuse"`, "superseded_again", `"late_recovery"`, `"generation_ahead"`, `"tag_mismatch"`, "forged|unknown", `"feed_behind"`, `"unavailable"`,
		"counterfoil_feed_age_seconds", "counterfoil_ready", "counterfoil_key_age_seconds", "counterfoil_store_turned_back_total", "counterfoil_database_setting_safe",
	} {
		if !strings.Contains(asked, tail) {
			t.Errorf("no alert asks for %s", tail)
		}
	}

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/ops/dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &dashboard)
	}
	if err != nil {
		t.Fatal(err)
	}
	shown := ""
	for _, panel := range dashboard.Panels {
		if len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			shown += target.Expr
			for _, fault := range faults(target.Expr, known, string(page)) {
				t.Errorf("panel %q: %s", panel.Title, fault)
			}
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "counterfoil_") && !strings.Contains(shown, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// runbookExists looks for the page, and for the heading if one is named.
func runbookExists(t *testing.T, rule alert) {
	t.Helper()
	name, anchor, _ := strings.Cut(rule.Annotations["runbook"], "#")
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Errorf("alert %s: %v", rule.Alert, err)
		return
	}
	for line := range strings.Lines(string(text)) {
		heading, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		slug := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(heading)), " ", "-")
		if anchor == "" || ok && strings.HasPrefix(line, "#") && slug == anchor {
			return
		}
	}
	t.Errorf("alert %s: %s has no heading for #%s", rule.Alert, name, anchor)
}

func TestFaultsOfAnExpressionAreSeen(t *testing.T) {
	known := map[string][]string{"counterfoil_a_total": {"outcome"}, "counterfoil_b_seconds": {"route"}}
	for expr, want := range map[string]int{
		`sum(rate(counterfoil_a_total{outcome="good"}[5m]))`:                   0,
		`sum by (le, route) (rate(counterfoil_b_seconds_bucket[5m]))`:          0,
		`counterfoil_gone_total`:                                               1,
		`counterfoil_a_total{reason="good"}`:                                   1,
		`counterfoil_a_total{outcome=~"good|evil"}`:                            1,
		`sum by (tenant) (counterfoil_a_total)`:                                1,
		`counterfoil_a_total{outcome="good"} and go_nothing{instance=~"$all"}`: 1,
	} {
		if found := faults(expr, known, "`good`"); len(found) != want {
			t.Errorf("%s: %q", expr, found)
		}
	}
}
