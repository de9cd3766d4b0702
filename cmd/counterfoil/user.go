package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

type userCommand struct {
	List       userListCommand       `cmd:"" help:"List users of a tenant."`
	Create     userCreateCommand     `cmd:"" help:"Create a user; the password is asked for, or read from standard input."`
	Show       userShowCommand       `cmd:"" help:"Show a user and what was granted."`
	Password   userPasswordCommand   `cmd:"" help:"Set a password; ends all sessions of the user."`
	Activate   userActivateCommand   `cmd:"" help:"Let a user log in again."`
	Deactivate userDeactivateCommand `cmd:"" help:"Keep a user out; sessions and access tokens end at once."`
	Grant      userGrantCommand      `cmd:"" help:"Grant permissions."`
	Ungrant    userUngrantCommand    `cmd:"" help:"Take permissions back; effective on the next request."`
	Delete     userDeleteCommand     `cmd:"" help:"Delete a user."`
	Forget     userForgetCommand     `cmd:"" help:"Have all nodes read a user anew, where users are FOLIO's."`
}

// who names a user.
type who struct {
	place
	Tenant string `required:"" help:"Tenant."`
	User   string `arg:"" help:"User name or id."`
}

func (w who) path() string {
	return "/counterfoil/tenants/" + escape(w.Tenant) + "/users/" + escape(w.User)
}

type userView struct {
	ID          string   `json:"id"`
	Username    string   `json:"username"`
	Active      bool     `json:"active"`
	FirstName   string   `json:"firstName,omitempty"`
	LastName    string   `json:"lastName,omitempty"`
	Email       string   `json:"email,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
	Elevated    []string `json:"elevated,omitempty"`
}

type userListCommand struct {
	place
	Tenant string `required:"" help:"Tenant."`
	After  string `help:"Continue after this name."`
	Limit  int    `help:"How many." default:"100"`
}

func (c *userListCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		query := url.Values{"after": {c.After}, "limit": {strconv.Itoa(c.Limit)}}
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, "/counterfoil/tenants/"+escape(c.Tenant)+"/users?"+query.Encode(), nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var got struct {
			Users []userView
			Next  string
		}
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		var rows [][]string
		for _, u := range got.Users {
			rows = append(rows, []string{u.Username, u.ID, activity(u.Active)})
		}
		if err := p.table("USER\tID\tSTATE", rows); err != nil || got.Next == "" {
			return err
		}
		_, err := fmt.Fprintf(p.out, "more: --after %s\n", got.Next)
		return err
	})
}

func activity(active bool) string {
	if active {
		return "active"
	}
	return "inactive"
}

type userCreateCommand struct {
	who
	Grant      []string `help:"Permission to grant; may be repeated."`
	FirstName  string   `help:"First name."`
	LastName   string   `help:"Last name."`
	Email      string   `help:"Email."`
	NoPassword bool     `help:"Set no password: the user cannot log in yet."`
}

func (c *userCreateCommand) Run(p *program) (err error) {
	in := map[string]any{
		"username": c.User, "permissions": c.Grant, "elevated": []string{},
		"firstName": c.FirstName, "lastName": c.LastName, "email": c.Email,
	}
	if !c.NoPassword {
		if in["password"], err = p.askForPassword("Password for " + c.User + ": "); err != nil {
			return err
		}
	}
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPost, "/counterfoil/tenants/"+escape(c.Tenant)+"/users", in, &text); err != nil {
			return err
		}
		return p.done(c.place, text, "user %s of tenant %s created", c.User, c.Tenant)
	})
}

type userShowCommand struct{ who }

func (c *userShowCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodGet, c.path(), nil, &text); err != nil || c.JSON {
			return orJSON(p, text, err)
		}
		var u userView
		if err := json.Unmarshal(text, &u); err != nil {
			return err
		}
		_, err := fmt.Fprintf(p.out, "user         %s\nid           %s\nstate        %s\nname         %s %s\nemail        %s\npermissions  %s\nelevated     %s\n",
			u.Username, u.ID, activity(u.Active), u.FirstName, u.LastName, u.Email, names(u.Permissions), names(u.Elevated))
		return err
	})
}

type userPasswordCommand struct{ who }

func (c *userPasswordCommand) Run(p *program) error {
	password, err := p.askForPassword("New password for " + c.User + ": ")
	if err != nil {
		return err
	}
	return p.ending(c.who, http.MethodPut, "/password", map[string]string{"password": password}, "password of %s set")
}

// ending runs a call that ends sessions and says how many.
func (p *program) ending(w who, method, path string, in any, format string) error {
	return p.with(w.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, method, w.path()+path, in, &text); err != nil {
			return err
		}
		var got struct{ Ended int }
		if err := json.Unmarshal(text, &got); err != nil {
			return err
		}
		return p.done(w.place, text, format+", %s ended", w.User, count(got.Ended, "session"))
	})
}

type userActivateCommand struct{ who }

func (c *userActivateCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		var text json.RawMessage
		if err := a.call(p.ctx, http.MethodPut, c.path(), map[string]bool{"active": true}, &text); err != nil {
			return err
		}
		return p.done(c.place, text, "%s can log in", c.User)
	})
}

type userForgetCommand struct{ who }

func (c *userForgetCommand) Run(p *program) error {
	return p.with(c.place, func(a *api) error {
		if err := a.call(p.ctx, http.MethodDelete, c.path()+"/memory", nil, nil); err != nil {
			return err
		}
		return p.done(c.place, nil, "%s is read anew", c.User)
	})
}

type userDeactivateCommand struct{ who }

func (c *userDeactivateCommand) Run(p *program) error {
	return p.ending(c.who, http.MethodPut, "", map[string]bool{"active": false}, "%s is kept out")
}

type userDeleteCommand struct {
	who
	Yes bool `help:"Do not ask."`
}

func (c *userDeleteCommand) Run(p *program) error {
	if err := p.sure(c.Yes, "User %s of tenant %s will be gone.", c.User, c.Tenant); err != nil {
		return err
	}
	return p.ending(c.who, http.MethodDelete, "", nil, "user %s deleted")
}

type userGrantCommand struct {
	who
	Permissions []string `arg:"" help:"Permissions."`
	Elevated    bool     `help:"With effect only after the password was given again."`
}

func (c *userGrantCommand) Run(p *program) error {
	return p.regrant(c.who, func(u *userView) {
		list := &u.Permissions
		if c.Elevated {
			list = &u.Elevated
		}
		*list = append(*list, c.Permissions...)
	})
}

type userUngrantCommand struct {
	who
	Permissions []string `arg:"" help:"Permissions."`
}

func (c *userUngrantCommand) Run(p *program) error {
	return p.regrant(c.who, func(u *userView) {
		taken := func(name string) bool { return slices.Contains(c.Permissions, name) }
		u.Permissions = slices.DeleteFunc(u.Permissions, taken)
		u.Elevated = slices.DeleteFunc(u.Elevated, taken)
	})
}

func (p *program) regrant(w who, change func(*userView)) error {
	return p.with(w.place, func(a *api) error {
		var u userView
		if err := a.call(p.ctx, http.MethodGet, w.path(), nil, &u); err != nil {
			return err
		}
		change(&u)
		for _, list := range []*[]string{&u.Permissions, &u.Elevated} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
			if *list == nil {
				*list = []string{}
			}
		}
		var text json.RawMessage
		in := map[string][]string{"permissions": u.Permissions, "elevated": u.Elevated}
		if err := a.call(p.ctx, http.MethodPut, w.path()+"/permissions", in, &text); err != nil {
			return err
		}
		return p.done(w.place, text, "%s has %s; after the password was given again also %s", w.User, names(u.Permissions), names(u.Elevated))
	})
}

// names lists permissions for people.
func names(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
