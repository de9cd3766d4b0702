package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil/internal/server"
)

// place is where a command works.
type place struct {
	Config string `help:"Configuration file of the program, which names the data directory." type:"path" placeholder:"FILE"`
	Data   string `help:"Data directory of the program, instead of the file's; default data." type:"path" placeholder:"DIR"`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// api is the admin API: of the program that runs on the data directory, or,
// while none does, of the same code in this process.
type api struct {
	send  func(*http.Request) (*http.Response, error)
	base  string
	token string
	// command is told to the program, for its audit log.
	command string
	close   func() error
}

// noListener is the base of an API in this process.
const noListener = "http://offline"

func (p *program) config(where place) (*server.Config, error) {
	config, err := server.LoadConfig(where.Config, p.environ)
	if err != nil {
		return nil, err
	}
	if where.Data != "" {
		config.SetData(where.Data)
	}
	config.LogTo = p.errors
	config.Log.Level = "error"
	return config, nil
}

// open finds the running program or opens the store itself. Whether a program
// runs is for the lock of the store to say: what a dead one left behind may
// name a port that somebody else has by now.
func (p *program) open(where place) (*api, error) {
	config, err := p.config(where)
	if err != nil {
		return nil, err
	}
	running, found, err := server.FindRunning(config.Data)
	if err == nil && found {
		a := &api{send: caller().Do, base: running.Admin, token: running.Token, command: p.command, close: func() error { return nil }}
		if err = a.call(p.ctx, http.MethodGet, "/counterfoil/keys", nil, nil); err == nil {
			return a, nil
		}
	}
	if !server.HasStore(config) {
		return nil, fmt.Errorf("there is no database at %s: name the data directory with --data or --config, or start `counterfoil serve` first", config.Store)
	}
	s, offline := server.OpenOffline(p.ctx, config)
	if errors.Is(offline, server.ErrInUse) {
		return nil, errors.Join(fmt.Errorf("a program uses %s but cannot be asked", config.Data), offline, err)
	}
	if offline != nil {
		return nil, offline
	}
	handler, token := s.AdminAPI()
	return &api{
		send: func(r *http.Request) (*http.Response, error) {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			return answer.Result(), nil
		},
		base: noListener, token: token, command: p.command,
		close: func() error { return s.Close(context.WithoutCancel(p.ctx)) },
	}, nil
}

// caller follows no redirect and asks no proxy: the token is for the program
// of this machine alone.
func caller() *http.Client {
	return &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// with runs do with the API and closes it.
func (p *program) with(where place, do func(*api) error) error {
	a, err := p.open(where)
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.close())
}

// refusal is what the API answered instead of doing it.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return r.Message }

// call sends in as JSON and decodes the answer into out; both may be nil.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	r.Header.Set("X-Counterfoil-Command", a.command)
	answer, err := a.send(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		refused := &refusal{Message: fmt.Sprintf("the program answered %d", answer.StatusCode)}
		_ = json.Unmarshal(text, refused)
		return refused
	}
	switch into := out.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*into = text
		return nil
	}
	return json.Unmarshal(text, out)
}

// escape makes one segment of a path.
func escape(s string) string { return url.PathEscape(s) }
