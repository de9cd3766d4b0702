package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/counterfoil/counterfoil/client"
)

// curlCommand runs the curl of this machine with a session that is kept.
//
// It is the real curl and no HTTP client of ours, because people know its
// options and will use all of them. What that costs is two precautions.
//
// Everybody on the machine can read the arguments and, as the same user, the
// environment of a process. So the token goes to curl as a configuration file
// that is a pipe, /dev/fd/3; standard input stays what the user made it.
//
// curl sends a header to every URL on its command line, and most headers to
// wherever a redirect leads. So the command line is read with curl's own list
// of options, each URL must be at the gateway, and the token goes into
// Authorization, the one header that curl takes back when a redirect leads to
// another origin.
type curlCommand struct {
	URL          string   `name:"url" help:"Gateway, with its path if it has one; else COUNTERFOIL_URL, else that of the saved session." placeholder:"URL"`
	Tenant       string   `help:"Tenant; else COUNTERFOIL_TENANT, else that of the saved session." placeholder:"TENANT"`
	User         string   `help:"User name; else COUNTERFOIL_USER, else that of the saved session." placeholder:"NAME"`
	PasswordFile string   `help:"File whose first line is the password, - for standard input; it is asked for at the terminal otherwise." type:"path" placeholder:"FILE"`
	Device       string   `help:"Client of OAuth as which somebody lets this terminal in, in a browser elsewhere; in place of --user and a password." placeholder:"CLIENT"`
	FOLIO        bool     `name:"folio" help:"Log in as at a plain FOLIO, with cookies. Not needed once logged in."`
	Logout       bool     `help:"End the session and forget it."`
	Args         []string `arg:"" optional:"" name:"curl" help:"Options and URLs as for curl; a URL may be a path at the gateway. Without any, log in and stop."`
}

// separateCurl puts "--" before the first argument of `counterfoil curl` that
// is none of its own flags: the rest is curl's. The parser's own way to pass
// arguments through takes words such as -sS apart.
func separateCurl(model *kong.Application, args []string) []string {
	if len(args) == 0 || args[0] != "curl" {
		return args
	}
	value := map[string]bool{"-h": false}
	for _, leaf := range model.Leaves(true) {
		if leaf.Name == "curl" {
			for _, flags := range leaf.AllFlags(false) {
				for _, flag := range flags {
					value["--"+flag.Name] = !flag.IsBool()
				}
			}
		}
	}
	for i := 1; i < len(args); i++ {
		name, _, whole := strings.Cut(args[i], "=")
		next, own := value[name]
		if args[i] == "--" {
			return args
		}
		if !own {
			return slices.Insert(slices.Clone(args), i, "--")
		}
		if next && !whole {
			i++
		}
	}
	return args
}

// named is the account as flags and environment name it, which may be in part.
func (c *curlCommand) named(p *program) (account, error) {
	or := func(flag, variable string) string {
		if flag == "" {
			flag, _ = p.environ(variable)
		}
		return flag
	}
	if c.Device != "" && c.User != "" {
		return account{}, usageError("--device takes no --user: who lets it in is not known before")
	}
	a := account{or(c.URL, "COUNTERFOIL_URL"), or(c.Tenant, "COUNTERFOIL_TENANT"), or(c.User, "COUNTERFOIL_USER"), c.Device}
	if c.Device != "" {
		a.user = c.Device
	}
	if a.gateway == "" {
		return a, nil
	}
	gateway, err := gatewayURL(a.gateway)
	if err != nil {
		return a, err
	}
	a.gateway = gateway.String()
	return a, nil
}

func (c *curlCommand) Run(p *program) error {
	asked, err := c.named(p)
	if err != nil {
		return err
	}
	files, err := p.sessionFiles()
	if err != nil {
		return err
	}
	whose, err := files.choose(p.ctx, asked)
	if err != nil {
		return err
	}
	store := files.of(whose)
	if c.Logout {
		return c.logout(p, whose, store)
	}
	if len(c.Args) == 0 {
		session, _, err := c.token(p, whose, store)
		if err == nil {
			settle(p.ctx, session)
		}
		return err
	}
	curl, operations, err := c.read(p, whose)
	if err != nil {
		return err
	}
	session, token, err := c.token(p, whose, store)
	if err != nil {
		return err
	}
	defer settle(p.ctx, session)
	refused, err := p.runCurl(curl, operations, token, whose.tenant)
	if refused {
		p.renewRefused(whose, session, store, token)
	}
	return err
}

// settle waits for a renewal that went on while curl ran: the tokens that it
// brings are the only ones that the gateway takes next time.
func settle(ctx context.Context, session *client.Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = session.Settle(ctx) // who waited this long may end
}

// read finds curl and reads the command line as that curl will.
func (c *curlCommand) read(p *program, whose account) (curl string, operations []operation, err error) {
	if curl, err = exec.LookPath("curl"); err != nil {
		return "", nil, fmt.Errorf("this runs curl, which is not there: %w", err)
	}
	help, err := exec.CommandContext(p.ctx, curl, "--help", "all").Output()
	if err != nil {
		return "", nil, fmt.Errorf("%s --help all: %w", curl, err)
	}
	options, err := readCurlOptions(string(help))
	if err != nil {
		return "", nil, err
	}
	gateway, err := url.Parse(whose.gateway)
	if err != nil {
		return "", nil, err
	}
	operations, err = readCurlLine(options, gateway, c.Args)
	return curl, operations, err
}

func (c *curlCommand) logout(p *program, whose account, store client.FileStore) error {
	if len(c.Args) > 0 {
		return usageError("--logout takes no URL")
	}
	kept, err := store.Load(p.ctx)
	if err != nil {
		return err
	}
	if kept == nil {
		return fmt.Errorf("not logged in as %s", whose)
	}
	session := &client.Session{BaseURL: whose.gateway, Tenant: whose.tenant, Store: store}
	if err := session.Logout(p.ctx); err != nil {
		return fmt.Errorf("%w; the session may go on, and is kept in %s", err, store.Path)
	}
	_, err = fmt.Fprintln(p.errors, "counterfoil: logged out", whose)
	return err
}

// runCurl runs curl on the program's own streams. Refused is whether the
// gateway took the token for one that is over.
func (p *program) runCurl(curl string, operations []operation, token, tenant string) (refused bool, err error) {
	// An interrupt of the terminal goes to curl as well; one of a script goes on
	// to it, and then it has some seconds to end.
	command := exec.CommandContext(p.ctx, curl)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	command.Stdin, command.Stdout, command.Stderr = p.in, p.out, p.errors
	pipes := &inherited{command: command}
	defer pipes.close()
	heard, err := pipes.fromChild()
	if err != nil {
		return false, err
	}
	for i, op := range operations {
		config := configLine("header", "Authorization: Bearer "+token)
		if !op.tenant {
			config += configLine("header", "X-Okapi-Tenant: "+tenant)
		}
		if !op.dumped {
			config += configLine("dump-header", heard.path)
		}
		path, err := pipes.toChild(config)
		if err != nil {
			return false, err
		}
		if i > 0 {
			command.Args = append(command.Args, "--next")
		}
		// Not at the end, where it could come after "--", and not before -q,
		// which has effect as the very first alone.
		if first := op.args[0]; i == 0 && (first == "-q" || first == "--disable") {
			command.Args, op.args = append(command.Args, first), op.args[1:]
		}
		command.Args = append(append(command.Args, "--config", path), op.args...)
	}
	if err := command.Start(); err != nil {
		return false, err
	}
	pipes.closeChilds()
	answer := make(chan bool, 1)
	go func() { answer <- tokenRefused(heard.file) }()
	err = command.Wait()
	return <-answer, exitOf(err)
}

// exitOf makes curl's exit status ours.
func exitOf(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code > 0 {
			return exitStatus(code)
		}
		return exitStatus(1) // it was killed
	}
	return err
}

// configLine is a line of curl's configuration file.
func configLine(name, value string) string {
	return name + ` = "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(value) + "\"\n"
}

// tokenRefused reads the headers of all answers and looks for the one with
// which the gateway says that the access token is over (RFC 6750, section 3).
func tokenRefused(headers io.Reader) (refused bool) {
	lines := bufio.NewReader(headers)
	unauthorized := false
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return refused
		}
		name, value, _ := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "HTTP/"):
			unauthorized = strings.Contains(line, " 401")
		case strings.EqualFold(name, "WWW-Authenticate"):
			refused = refused || unauthorized && strings.Contains(value, `error="invalid_token"`)
		}
	}
}

// renewRefused says what to do about a token that ended on the way, or before
// its time. The request is not repeated: what curl had to say has been said.
func (p *program) renewRefused(a account, session *client.Session, store client.FileStore, token string) {
	session.Refused(token)
	_, err := session.Token(p.ctx)
	var ended *client.SessionEnded
	switch {
	case errors.As(err, &ended):
		fmt.Fprintf(p.errors, "counterfoil: the gateway refused the session's token, and the session is over (%s): log in anew\n", ended.Reason)
		if err = age(p.ctx, store, token); err == nil {
			err = remember(p.ctx, store, a, ended)
		}
	case err == nil:
		fmt.Fprintln(p.errors, "counterfoil: the session's token had ended, and there is a new one: run the command again")
	}
	if err != nil {
		fmt.Fprintln(p.errors, "counterfoil: the gateway refused the session's token, and there is no new one yet:", err)
	}
}

// age lets a refused token look as old as it is, so that the next run does not
// set out with it. The file stays, and with it whose session it was.
func age(ctx context.Context, store client.FileStore, token string) error {
	unlock, err := store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	kept, err := store.Load(ctx)
	if err != nil || kept == nil || kept.Access != token {
		return err // another process has logged in or out
	}
	kept.Received, kept.Lifetime = time.Time{}, 1
	return store.Save(ctx, kept)
}

// remember keeps whose the session was that the server ended, though not its
// tokens, so that nobody need name the account to log in anew.
func remember(ctx context.Context, store client.FileStore, a account, why *client.SessionEnded) error {
	if why.Reason == client.ReasonLoggedOut {
		return nil
	}
	unlock, err := store.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	kept, err := store.Load(ctx)
	if err != nil || kept != nil {
		return err
	}
	return store.Save(ctx, &client.Tokens{Gateway: a.gateway, Tenant: a.tenant, Account: a.user, Client: a.device, Access: "ended", Lifetime: 1})
}

// inherited are the pipes that a child process gets as /dev/fd/3 and so on.
type inherited struct {
	command *exec.Cmd
	ours    []*os.File
}

// end is our end of a pipe, and the child's name for its own.
type end struct {
	file *os.File
	path string
}

func (in *inherited) give(childs, own *os.File) end {
	in.command.ExtraFiles = append(in.command.ExtraFiles, childs)
	in.ours = append(in.ours, own)
	return end{own, fmt.Sprintf("/dev/fd/%d", 2+len(in.command.ExtraFiles))}
}

// toChild returns the name of a pipe out of which the child reads text.
func (in *inherited) toChild(text string) (path string, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	pipe := in.give(read, write)
	go func() { // a token may be larger than what a pipe holds
		_, _ = io.WriteString(write, text)
		write.Close()
	}()
	return pipe.path, nil
}

// fromChild returns a pipe into which the child writes.
func (in *inherited) fromChild() (end, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return end{}, err
	}
	return in.give(write, read), nil
}

// closeChilds closes the ends that the child has now.
func (in *inherited) closeChilds() {
	for _, file := range in.command.ExtraFiles {
		file.Close()
	}
}

func (in *inherited) close() {
	in.closeChilds()
	for _, file := range in.ours {
		file.Close()
	}
}
