package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/counterfoil/counterfoil/client"
)

// account is whose session it is.
type account struct {
	gateway, tenant, user string
	// device is the client of OAuth that was let in, which is the user's name
	// then; empty where a password is asked for.
	device string
}

func (a account) String() string { return a.user + " (" + a.tenant + " at " + a.gateway + ")" }

// gatewayURL reads the address of a gateway and gives it one form, by which
// sessions are found again.
func gatewayURL(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
		return nil, usageError("--url must read like https://folio.example.org/okapi")
	}
	scheme, host, _ := strings.Cut(origin(u.Scheme, u.Host), "://")
	return &url.URL{Scheme: scheme, Host: host, Path: u.Path}, nil
}

// sessionFiles is the directory of saved sessions, one file for each account,
// with mode 0600 and a lock beside it.
type sessionFiles string

// sessionFiles follows the XDG base directories.
func (p *program) sessionFiles() (sessionFiles, error) {
	state, _ := p.environ("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // "must be absolute", or it is to be ignored
		home, _ := p.environ("HOME")
		if !filepath.IsAbs(home) {
			return "", errors.New("there is no place for the session: set HOME or XDG_STATE_HOME")
		}
		state = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(state, "counterfoil", "curl")
	return sessionFiles(dir), os.MkdirAll(dir, 0o700)
}

func (dir sessionFiles) of(a account) client.FileStore {
	name := sha256.Sum256([]byte(a.gateway + "\n" + a.tenant + "\n" + a.user))
	return client.FileStore{Path: filepath.Join(string(dir), hex.EncodeToString(name[:16])+".json")}
}

// find lists the accounts with a saved session that a fits, whose empty fields
// fit all.
func (dir sessionFiles) find(ctx context.Context, a account) ([]account, error) {
	files, err := filepath.Glob(filepath.Join(string(dir), "*.json"))
	if err != nil {
		return nil, err
	}
	var list []account
	for _, file := range files {
		kept, err := client.FileStore{Path: file}.Load(ctx)
		if err != nil {
			return nil, err
		}
		if kept == nil { // logged out meanwhile
			continue
		}
		has := account{kept.Gateway, kept.Tenant, kept.Account, kept.Client}
		fits := func(asked, has string) bool { return asked == "" || asked == has }
		if fits(a.gateway, has.gateway) && fits(a.tenant, has.tenant) && fits(a.user, has.user) {
			list = append(list, has)
		}
	}
	return list, nil
}

const howToLogIn = `name gateway, tenant and user once, as in
  counterfoil curl --url https://folio.example.org/okapi --tenant diku --user reader`

// choose returns the account that is meant: the one that is named whole, or
// else the only one with a saved session that what is named fits.
func (dir sessionFiles) choose(ctx context.Context, a account) (account, error) {
	if a.gateway != "" && a.tenant != "" && a.user != "" {
		return a, nil
	}
	list, err := dir.find(ctx, a)
	switch {
	case err != nil:
		return a, err
	case len(list) == 0:
		return a, errors.New("not logged in: " + howToLogIn)
	case len(list) > 1:
		var names strings.Builder
		for _, one := range list {
			names.WriteString("\n  " + one.String())
		}
		return a, usageError("there is more than one session, say with --user, --tenant or --url whose:" + names.String())
	}
	return list[0], nil
}

// longEnough is how long a token is to be good for when curl sets out with it.
const longEnough = 5 * time.Minute

// token goes on with the saved session or, where that is over or there is
// none, logs in.
func (c *curlCommand) token(p *program, a account, store client.FileStore) (*client.Session, string, error) {
	slow := time.AfterFunc(2*time.Second, func() { fmt.Fprintln(p.errors, "counterfoil: waiting for", a.gateway) })
	defer slow.Stop()
	session := &client.Session{BaseURL: a.gateway, Tenant: a.tenant, Store: store}
	token, err := session.TokenFor(p.ctx, longEnough)
	var ended *client.SessionEnded
	if !errors.As(err, &ended) {
		return session, token, err
	}
	slow.Stop()
	over := "not logged in as " + a.String()
	if ended.Reason != client.ReasonNoLogin {
		if err := remember(p.ctx, store, a, ended); err != nil {
			return nil, "", err
		}
		over = fmt.Sprintf("the session of %s is over (%s)", a, ended.Reason)
		fmt.Fprintln(p.errors, "counterfoil:", over)
	}
	if a.device != "" {
		return c.letIn(p, a, store)
	}
	password, err := c.password(p, a)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", over, err)
	}
	login := client.Password{Username: a.user, Password: password}
	session = &client.Session{BaseURL: a.gateway, Tenant: a.tenant, Store: store, Login: login}
	if c.FOLIO {
		session.Login = client.FOLIOPassword(login)
	}
	token, err = session.TokenFor(p.ctx, longEnough)
	switch {
	case errors.Is(err, client.ErrEndlessToken):
		return nil, "", errors.New("this gateway is a plain FOLIO, and gave a token that never ends: log in with --folio")
	case errors.As(err, &ended):
		return nil, "", fmt.Errorf("%s: %w", ended.Reason, ended.Err)
	case err == nil:
		fmt.Fprintln(p.errors, "counterfoil: logged in as", a)
	}
	return session, token, err
}

// letIn waits until somebody has let this terminal in from elsewhere.
func (c *curlCommand) letIn(p *program, a account, store client.FileStore) (*client.Session, string, error) {
	session := &client.Session{BaseURL: a.gateway, Tenant: a.tenant, Store: store, Login: letInOnce(a.device)}
	err := session.LogInDevice(p.ctx, client.Device{ClientID: a.device, Show: func(code client.DeviceCode) {
		fmt.Fprintf(p.errors, "counterfoil: open %s and type %s; waiting for %s\n", code.Page, code.UserCode, code.For)
	}})
	var ended *client.SessionEnded
	if errors.As(err, &ended) {
		return nil, "", fmt.Errorf("%s: %w", ended.Reason, ended.Err)
	}
	if err != nil {
		return nil, "", err
	}
	fmt.Fprintln(p.errors, "counterfoil: let in as", a)
	token, err := session.TokenFor(p.ctx, longEnough)
	return session, token, err
}

// letInOnce names the account of a session that somebody let in. It cannot begin
// another one.
type letInOnce string

func (l letInOnce) Account() string { return string(l) }

func (l letInOnce) LogIn(context.Context, *client.Gateway) (*client.Tokens, error) {
	return nil, &client.SessionEnded{Reason: client.ReasonNoLogin, Err: errors.New("the session is over")}
}

// password reads the first line of --password-file, or asks at the terminal.
// What is on standard input otherwise is for curl.
func (c *curlCommand) password(p *program, a account) (string, error) {
	if c.PasswordFile == "" {
		return p.askTerminal("Password of " + a.String() + ": ")
	}
	from := p.in
	if c.PasswordFile != "-" {
		file, err := os.Open(c.PasswordFile)
		if err != nil {
			return "", err
		}
		defer file.Close()
		from = file
	}
	password, err := readLine(from)
	if err == nil && password == "" {
		err = usageError("there is no password in " + c.PasswordFile)
	}
	return password, err
}

// readLine reads to the end of a line and not a byte further: the rest of
// standard input is for curl.
func readLine(from io.Reader) (string, error) {
	const longest = 4096
	var line []byte
	for one := make([]byte, 1); len(line) < longest; {
		n, err := from.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		line = append(line, one[:n]...)
	}
	return strings.TrimSuffix(string(line), "\r"), nil
}

// askTerminal asks the person at the terminal, whatever standard input is.
func (p *program) askTerminal(prompt string) (string, error) {
	errs, ok := p.errors.(*os.File)
	if !p.interactive() && !(ok && term.IsTerminal(int(errs.Fd()))) {
		return "", errors.New("log in at a terminal, or with --password-file FILE (- is standard input)")
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("there is no terminal to ask for the password: %w", err)
	}
	defer tty.Close()
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		return "", err
	}
	type typed struct {
		text []byte
		err  error
	}
	answer := make(chan typed, 1)
	fmt.Fprint(tty, prompt)
	go func() {
		text, err := term.ReadPassword(int(tty.Fd()))
		answer <- typed{text, err}
	}()
	select {
	case got := <-answer:
		fmt.Fprintln(tty)
		if got.err == nil && len(got.text) == 0 {
			got.err = errors.New("no password was typed")
		}
		return string(got.text), got.err
	case <-p.ctx.Done(): // the terminal is to show again what is typed
		_ = term.Restore(int(tty.Fd()), before)
		fmt.Fprintln(tty)
		return "", p.ctx.Err()
	}
}
