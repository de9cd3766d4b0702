// Command counterfoil keeps FOLIO sessions alive: login, rotating refresh
// tokens, gateway, and the commands to operate them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules of timers name zones, and small images have no files of them

	"github.com/alecthomas/kong"
)

// commands is the whole command line.
type commands struct {
	Demo       demoCommand       `cmd:"" help:"Show the main job: embedded database, seed data, sample modules, commands to copy and paste."`
	Serve      serveCommand      `cmd:"" help:"Serve for real."`
	Config     configCommand     `cmd:"" help:"Check a configuration, or print all settings."`
	Descriptor descriptorCommand `cmd:"" help:"Print what an existing Okapi has to know to use this program as a module."`
	Bootstrap  bootstrapCommand  `cmd:"" help:"Create the first administrator with the code that the first start printed."`
	Tenant     tenantCommand     `cmd:"" help:"List, create, delete tenants; end all sessions of one."`
	User       userCommand       `cmd:"" help:"List, create, change, delete users."`
	Session    sessionCommand    `cmd:"" help:"See sessions, why they ended, and end them."`
	Key        keyCommand        `cmd:"" help:"See and rotate keys."`
	APIKey     apiKeyCommand     `cmd:"" name:"api-key" help:"Keys of partners: make, import from edge modules, rotate, revoke."`
	Client     clientCommand     `cmd:"" help:"Programs that get tokens by OAuth: register, change, give another secret, remove."`
	Policy     policyCommand     `cmd:"" help:"See and set lifetimes and the refresh rule, for a tenant, a client or a user."`
	Usage      usageCommand      `cmd:"" help:"What happened: sessions, refreshes, logins of the last hour and the last thirty days."`
	Explain    explainCommand    `cmd:"" help:"Who may call this? How the gateway decides about a request, step by step."`
	Audit      auditCommand      `cmd:"" help:"Search the audit log, export it, verify that nobody has altered it."`
	Drill      drillCommand      `cmd:"" help:"Play a theft, a lost answer, a revocation and a lost key against the running program, in a tenant of its own."`
	Curl       curlCommand       `cmd:"" help:"Run curl with a session that is kept: logs in once, renews by itself."`
	Import     importCommand     `cmd:"" help:"Take over from FOLIO's modules: passwords of mod-login, refresh tokens of mod-authtoken."`
	Store      storeCommand      `cmd:"" help:"Move a whole installation between SQLite and PostgreSQL; tell the program that its database was restored."`
	Migrate    migrateCommand    `cmd:"" help:"Bring the database to this version's schema, and stop."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// program is what a command works with.
type program struct {
	ctx         context.Context
	in          io.Reader
	out, errors io.Writer
	environ     func(string) (string, bool)
	// command is what was called and by whom, for the audit log.
	command        string
	askForPassword func(prompt string) (string, error)
}

func main() {
	tune(os.LookupEnv, os.DirFS("/"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}

const description = `Refresh tokens for FOLIO.

  counterfoil demo                      the main job, in one minute
  counterfoil demo --tour               the same, played and checked by itself
  counterfoil serve --config FILE       the real thing

Commands on tenants, users, sessions, keys and policies talk to the program
that runs on the data directory, or work on the database while none does.
They exit with 0 if all went well, 1 if not, 2 if the command line is wrong.
"counterfoil curl" talks to any gateway and exits as curl does.`

// run is the program as a value: tests call it with their own streams.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer, environ func(string) (string, bool)) (status int) {
	p := &program{ctx: ctx, in: in, out: out, errors: errs, environ: environ}
	p.askForPassword = p.password
	var cli commands
	exited := -1
	parser, err := kong.New(&cli, kong.Name("counterfoil"), kong.Description(description), kong.Writers(out, errs),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Bind(p),
		kong.Exit(func(code int) { exited = code; panic(helped{}) }))
	if err != nil {
		fmt.Fprintln(errs, "counterfoil:", err)
		return 1
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(helped); !ok {
				panic(r)
			}
			status = exited
		}
	}()
	parsed, err := parser.Parse(separateCurl(parser.Model, args))
	if err != nil {
		fmt.Fprintln(errs, "counterfoil:", err)
		fmt.Fprintln(errs, helpFor(args), "tells more")
		return 2
	}
	p.command = actor(parsed.Command())
	if err := parsed.Run(p); err != nil {
		var told exitStatus
		if errors.As(err, &told) {
			return int(told)
		}
		var usage usageError
		fmt.Fprintln(errs, "counterfoil:", err)
		if errors.As(err, &usage) {
			return 2
		}
		return 1
	}
	return 0
}

// helpFor is the command line that explains what was got wrong.
func helpFor(args []string) string {
	words := []string{"counterfoil"}
	for _, arg := range args[:min(len(args), 2)] {
		if strings.HasPrefix(arg, "-") {
			break
		}
		words = append(words, arg)
	}
	return strings.Join(append(words, "--help"), " ")
}

// actor names a command and the account that it runs under.
func actor(command string) string {
	words := slices.DeleteFunc(strings.Fields(command), func(word string) bool { return strings.HasPrefix(word, "<") })
	name := "counterfoil " + strings.Join(words, " ")
	if account, err := user.Current(); err == nil {
		name = account.Username + " (" + name + ")"
	}
	return name
}

// helped is how kong's exit after --help leaves run.
type helped struct{}

// exitStatus is that of a program that was run and has said itself what is wrong.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that cannot be meant.
type usageError string

func (e usageError) Error() string { return string(e) }
