package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

var fences = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// example is `example PAGE HEADING`: it writes the fenced blocks of a section in
// docs to 1.sh, 2.go and so on. Programs are built, and called in the blocks
// that follow in place of `go run`; the demo's address becomes $PUBLIC.
func example(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: example PAGE HEADING")
	}
	page, err := os.ReadFile(filepath.Join("../../docs", args[0]))
	ts.Check(err)
	_, section, found := strings.Cut(string(page), "\n## "+args[1]+"\n")
	if !found {
		ts.Fatalf("docs/%s has no section %s", args[0], args[1])
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var program string
	for i, block := range fences.FindAllStringSubmatch(section, -1) {
		name := strconv.Itoa(i+1) + "." + block[1]
		text := strings.ReplaceAll(block[2], "http://127.0.0.1:9130", ts.Getenv("PUBLIC"))
		if program != "" {
			text = regexp.MustCompile(`go run \w+\.go`).ReplaceAllLiteralString(text, program)
		}
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
		if block[1] == "go" {
			program = ts.MkAbs(strconv.Itoa(i+1) + ".program")
			build := exec.Command("go", "build", "-o", program, ts.MkAbs(name))
			if out, err := build.CombinedOutput(); err != nil {
				ts.Fatalf("%s: %v: %s", name, err, out)
			}
		}
	}
}
