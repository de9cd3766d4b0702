package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/server"
)

// sharedLog is a log that several goroutines write.
type sharedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *sharedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func TestAFaultyConfigurationIsNotTakenOver(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("data: "+filepath.Join(dir, "data")+"\nlisten: 127.0.0.1:0\ninternal_listen: 127.0.0.1:0\nadmin_listen: 127.0.0.1:0\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	out := new(sharedLog)
	p := &program{ctx: t.Context(), errors: out, environ: func(string) (string, bool) { return "", false }}
	c := &serveCommand{Config: file}
	config, err := c.load(p)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	for _, text := range []string{"drian: 5s\n", "drain: -5s\n", "", "drain: 5s\n"} {
		write(text)
		if text == "" {
			if err := os.Truncate(file, 0); err != nil {
				t.Fatal(err)
			}
		}
		c.readAgain(p, s)
	}
	got := out.text.String()
	if n := strings.Count(got, "configuration has faults, nothing was changed"); n != 3 {
		t.Errorf("%d faulty configurations were refused, want 3:\n%s", n, got)
	}
	if n := strings.Count(got, "configuration read again"); n != 1 || !strings.Contains(got, `"after":"5s"`) {
		t.Errorf("%d were taken over, want the last:\n%s", n, got)
	}
}
