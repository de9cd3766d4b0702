package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/internal/demo"
	"github.com/counterfoil/counterfoil/internal/server"
)

type demoCommand struct {
	Data           string        `help:"Directory of the database; made and kept. Default counterfoil-demo, for --tour one that is removed." type:"path" placeholder:"DIR"`
	Listen         string        `help:"Public listener; port 0 is any." default:"127.0.0.1:9130" placeholder:"ADDR"`
	InternalListen string        `help:"Listener for nested calls of modules." default:"127.0.0.1:9131" placeholder:"ADDR"`
	AdminListen    string        `help:"Listener for management, health and metrics." default:"127.0.0.1:9132" placeholder:"ADDR"`
	AccessTTL      time.Duration `name:"access-ttl" help:"Lifetime of access tokens; seconds are fine here." default:"10m"`
	Grace          time.Duration `help:"How long a replaced refresh token may come back." default:"10s"`
	CORSOrigins    []string      `name:"cors-origin" help:"Origin of a page on another host or port that may call, such as http://localhost:3000; may be repeated." placeholder:"ORIGIN"`
	PublicURL      string        `name:"public-url" help:"Where pages reach the public listener; proofs of a key (DPoP) name it." placeholder:"URL"`
	PlainCookies   bool          `help:"Cookies without Secure, for programs that do not send such cookies to http://localhost."`
	LogLevel       string        `help:"debug, info, warn or error." default:"warn" enum:"debug,info,warn,error"`
	Tour           bool          `help:"Play the whole story, check each step, and end. Uses ports and lifetimes of its own."`
}

func (c *demoCommand) Run(p *program) error {
	o := demo.Options{
		Data: c.Data, Listen: c.Listen, InternalListen: c.InternalListen, AdminListen: c.AdminListen,
		CORSOrigins: c.CORSOrigins, PublicURL: c.PublicURL, PlainCookies: c.PlainCookies,
		AccessTTL: c.AccessTTL, Grace: c.Grace, LogLevel: c.LogLevel, Tour: c.Tour, Out: p.out, LogTo: p.errors,
	}
	if c.Tour {
		o.Listen, o.InternalListen, o.AdminListen, o.LogLevel = "", "", "", ""
	}
	return demo.Run(p.ctx, o)
}

type serveCommand struct {
	Config string `help:"Configuration file; without one, everything has its default." type:"path" placeholder:"FILE"`
	Data   string `help:"Data directory, instead of the file's." type:"path" placeholder:"DIR"`
	Mode   string `help:"gateway, or okapi-module: the auth filter and login module of an existing Okapi. Instead of the file's." placeholder:"MODE"`
	Listen string `help:"Listener for requests, instead of the file's." placeholder:"ADDR"`
}

func (c *serveCommand) load(p *program) (*server.Config, error) {
	config, err := server.LoadConfig(c.Config, p.environ, func(config *server.Config) {
		if c.Mode != "" {
			config.Mode = c.Mode
		}
		if c.Listen != "" {
			config.Listen = c.Listen
		}
	})
	if err != nil {
		return nil, err
	}
	if c.Data != "" {
		config.SetData(c.Data)
	}
	config.LogTo = p.errors
	return config, nil
}

// reload reads the configuration again at each hangup, until done.
func (c *serveCommand) reload(p *program, s *server.Server, hangups <-chan os.Signal, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-hangups:
			c.readAgain(p, s)
		}
	}
}

func (c *serveCommand) readAgain(p *program, s *server.Server) {
	// At a start an empty file is all defaults. While a program runs, it is a
	// file that somebody is about to write.
	if info, err := os.Stat(c.Config); c.Config != "" && err == nil && info.Size() == 0 {
		s.RefuseReload(fmt.Errorf("%s is empty", c.Config))
		return
	}
	config, err := c.load(p)
	if err == nil {
		_, err = s.Reload(config)
	}
	if err != nil {
		s.RefuseReload(err)
	}
}

func (c *serveCommand) Run(p *program) (err error) {
	// From the first moment: the signal's default would end the program.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	config, err := c.load(p)
	if err != nil {
		return err
	}
	s, err := server.Open(p.ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(p.ctx))) }()
	if s.Bootstrap != "" {
		fmt.Fprintf(p.errors, "\nThere is no administrator yet. Within a day, on this machine:\n\n  counterfoil bootstrap --data %s --code %s --tenant supertenant --username admin\n\nThe supertenant administers modules and tenants. The code works once. It is shown once.\n\n", config.Data, s.Bootstrap)
	}
	done := make(chan struct{})
	defer close(done)
	go c.reload(p, s, hangups, done)
	return s.Serve(p.ctx)
}

type configCommand struct {
	Check     configCheckCommand     `cmd:"" help:"Report every fault of a configuration at once."`
	Reference configReferenceCommand `cmd:"" help:"Print all settings with their defaults, as Markdown."`
}

type configCheckCommand struct {
	Config string `help:"Configuration file." type:"path" placeholder:"FILE"`
	JSON   bool   `name:"json" help:"Print JSON."`
}

func (c *configCheckCommand) Run(p *program) error {
	_, err := server.LoadConfig(c.Config, p.environ)
	faults := flatten(err)
	if c.JSON {
		if err := p.printJSON(map[string]any{"ok": err == nil, "faults": faults}); err != nil {
			return err
		}
	} else {
		for _, fault := range faults {
			fmt.Fprintln(p.errors, fault)
		}
	}
	if err != nil {
		return errors.New(count(len(faults), "fault"))
	}
	if !c.JSON {
		_, err = fmt.Fprintln(p.out, "ok")
	}
	return err
}

// flatten lists the messages of joined errors.
func flatten(err error) []string {
	if err == nil {
		return []string{}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []string
		for _, one := range joined.Unwrap() {
			list = append(list, flatten(one)...)
		}
		return list
	}
	return []string{err.Error()}
}

type configReferenceCommand struct{}

func (configReferenceCommand) Run(p *program) error {
	_, err := fmt.Fprint(p.out, server.Reference())
	return err
}

type migrateCommand struct{ place }

func (c *migrateCommand) Run(p *program) error {
	config, err := p.config(c.place)
	if err != nil {
		return err
	}
	s, err := server.OpenOffline(p.ctx, config)
	if err != nil {
		return err
	}
	defer s.Close(context.WithoutCancel(p.ctx))
	version, err := s.Store().SchemaVersion(p.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return p.printJSON(map[string]any{"schema": version})
	}
	_, err = fmt.Fprintf(p.out, "the database has schema version %d, that of this program\n", version)
	return err
}

type versionCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *versionCommand) Run(p *program) error {
	if c.JSON {
		return p.printJSON(map[string]string{"version": server.Version(), "go": runtime.Version()})
	}
	_, err := fmt.Fprintln(p.out, "counterfoil", server.Version(), runtime.Version())
	return err
}
