package folio_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/counterfoil/counterfoil/internal/session"
)

var update = flag.Bool("update", false, "write what was answered into testdata")

// TestTranscripts plays the conversations in testdata and compares status,
// headers, cookies and body. A line "> " is sent, a line "< " is expected, a
// line "wait 25s" lets time pass and a line "world exact" or the like, at the
// top, sets the world up. Tokens, nonces and session ids are named in the
// order of their appearance, as {access 1}, {refresh 2}; a later request can
// use the name.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, strings.Split(strings.TrimSuffix(string(want), "\n"), "\n"))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// play returns the transcript as it went this time.
func play(t *testing.T, lines []string) string {
	p := &player{t: t, values: map[string]string{}}
	var request []string
	flush := func() {
		if request != nil {
			p.send(request)
			request = nil
		}
	}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, ">"); ok {
			p.out.WriteString(line + "\n")
			request = append(request, strings.TrimPrefix(rest, " "))
			continue
		}
		flush()
		if strings.HasPrefix(line, "<") {
			continue // was written by flush, as it went
		}
		p.out.WriteString(line + "\n")
		p.direct(line)
	}
	flush()
	return p.out.String()
}

type player struct {
	t     *testing.T
	setup setup
	world *world
	out   bytes.Buffer
	// values are the secrets by their names.
	values map[string]string
}

func (p *player) direct(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			p.t.Fatal(err)
		}
		p.start().clock.add(d)
	case "world":
		switch what, value, _ := strings.Cut(rest, " "); what {
		case "exact":
			p.setup.Policy = func(policy *session.Policy) { *policy = policy.FOLIOExact() }
		case "device":
			p.setup.Policy = func(policy *session.Policy) { policy.Binding = session.BindingDevice }
		case "prefix":
			p.setup.Prefix = value
		case "origin":
			p.setup.Origins = []string{value}
		}
	case "lend": // lend NAME PERMISSION: a module's token
		name, permission, _ := strings.Cut(rest, " ")
		p.values[name] = p.start().moduleToken("diku", adminID, permission)
	}
}

func (p *player) start() *world {
	if p.world == nil {
		p.world = newWorld(p.t, p.setup)
	}
	return p.world
}

var placeholder = regexp.MustCompile(`\{[a-z]+ ?\d*\}`)

func (p *player) send(lines []string) {
	w := p.start()
	for i, line := range lines {
		lines[i] = placeholder.ReplaceAllStringFunc(line, func(name string) string {
			value, known := p.values[name[1:len(name)-1]]
			if !known {
				p.t.Fatalf("%s did not occur in an answer", name)
			}
			return value
		})
	}
	var c call
	first := strings.Fields(lines[0])
	c.method, c.path, c.internal = first[0], first[1], len(first) > 2
	end := slices.Index(lines, "")
	if end < 0 {
		end = len(lines)
	} else {
		c.body = strings.Join(lines[end+1:], "\n")
	}
	c.header = lines[1:end]
	a := w.do(c)
	p.receive(a)
}

// shown are the headers that belong to a conversation.
var shown = []string{"Content-Type", "Set-Cookie", "X-Okapi-Token", "Retry-After", "Allow"}

func (p *player) receive(a answer) {
	fmt.Fprintf(&p.out, "< %d\n", a.status)
	for _, name := range shown {
		for _, value := range a.header.Values(name) {
			fmt.Fprintf(&p.out, "< %s: %s\n", name, p.hide(value))
		}
	}
	if a.body != "" {
		fmt.Fprintf(&p.out, "<\n< %s\n", p.hide(a.body))
	}
}

// secrets are what differs each time. A run of base64url is taken whole: it
// may begin and end with a hyphen, which is no word's boundary.
var secrets = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+|cursor=[^"]+|\d{6}/[\w;/-]+|[\w-]{27,}`)

// kindOf names a secret, and is empty for what only looks like one.
func kindOf(value string) string {
	switch {
	case value == adminID, value == readerID:
		return ""
	case strings.HasPrefix(value, "eyJ"):
		return "access"
	case strings.HasPrefix(value, "cfrt_"):
		return "refresh"
	case strings.HasPrefix(value, "cursor="):
		return "page"
	case strings.Contains(value, "/"):
		return "request"
	}
	// A session's UUID, a healing nonce of 20 bytes, a device's secret of 32.
	return map[int]string{36: "session", 27: "heal", 43: "device"}[len(value)]
}

func (p *player) hide(text string) string {
	return secrets.ReplaceAllStringFunc(text, func(value string) string {
		kind := kindOf(value)
		if kind == "" {
			return value
		}
		for n := 1; ; n++ {
			name := fmt.Sprintf("%s %d", kind, n)
			old, used := p.values[name]
			if !used {
				p.values[name] = value
			}
			if !used || old == value {
				return "{" + name + "}"
			}
		}
	})
}
