package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// table prints rows in columns.
func (p *program) table(header string, rows [][]string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(p.out, "none")
		return err
	}
	w := tabwriter.NewWriter(p.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// json prints an answer of the API as it is, indented.
func (p *program) json(text json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.out, strings.TrimSpace(b.String()))
	return err
}

// printJSON prints a value of our own.
func (p *program) printJSON(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return p.json(text)
}

// done says what happened, in words or as JSON.
func (p *program) done(where place, text json.RawMessage, format string, args ...any) error {
	if where.JSON {
		if len(bytes.TrimSpace(text)) == 0 {
			text = json.RawMessage("{}")
		}
		return p.json(text)
	}
	_, err := fmt.Fprintf(p.out, format+"\n", args...)
	return err
}

// sure asks before something that cannot be undone.
func (p *program) sure(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	if !p.interactive() {
		return usageError("this cannot be undone: repeat it with --yes")
	}
	fmt.Fprintf(p.errors, format+" Type yes: ", args...)
	line, _ := bufio.NewReader(p.in).ReadString('\n')
	if strings.TrimSpace(line) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

func (p *program) interactive() bool {
	file, ok := p.in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// typed asks twice, because nobody sees what was typed.
func (p *program) typed(prompt string) (string, error) {
	var typed [2]string
	for i, ask := range []string{prompt, "Once more: "} {
		fmt.Fprint(p.errors, ask)
		text, err := term.ReadPassword(int(p.in.(*os.File).Fd()))
		fmt.Fprintln(p.errors)
		if err != nil {
			return "", err
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two were not the same, nothing was changed")
	}
	return typed[0], nil
}

// password reads a password from the terminal without showing it, or a line
// from a pipe. It is never an argument: those are for everybody to see.
func (p *program) password(prompt string) (string, error) {
	if p.interactive() {
		return p.typed(prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(p.in, 4096)).ReadString('\n')
	if err != nil && line == "" {
		return "", usageError("no password on standard input")
	}
	return strings.TrimRight(line, "\r\n"), nil
}
