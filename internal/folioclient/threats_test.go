package folioclient

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/directory"
	"github.com/counterfoil/counterfoil/internal/foliotest"
)

// What was typed as a name stays one quoted term of one query.
func TestT38ANameCannotBecomeAQuery(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		`*`, `?nna`, `a*`, `an?a`, `" or id=*`, `" or cql.allRecords=1 or username=="`, `a" or username=="anna`, `a" or username=="berta`,
		`anna" or id=="` + berta, `\`, `\"`, `anna\`, `^anna`, `anna" sortby id`, `anna&query=id=="` + berta + `"`, `anna") or (id=="` + berta + `"`,
		`anna%22 or username==%22*`, `anna#`, `anna+`, "ann\u0061\u0301",
	} {
		w.folio.Forget()
		u, err := w.UserByName(t.Context(), "diku", name)
		if !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%q found %+v, %v", name, u, err)
		}
		asked := w.folio.Requests(foliotest.Users)
		if len(asked) != 1 {
			t.Errorf("%q was asked %d times", name, len(asked))
			continue
		}
		values, err := url.ParseQuery(asked[0].RawQuery)
		query := values.Get("query")
		if err != nil || len(values["query"]) != 1 || len(values) != 2 || asked[0].Path != "/users" {
			t.Errorf("%q asks for %s?%s", name, asked[0].Path, asked[0].RawQuery)
		}
		term, ok := strings.CutPrefix(query, `username=="`)
		term, closed := strings.CutSuffix(term, `"`)
		if !ok || !closed || unquoted(term) != name {
			t.Errorf("%q became %s", name, query)
		}
	}
}

// unquoted undoes the backslashes, and finds what has none and should.
func unquoted(term string) string {
	var b strings.Builder
	escaped := false
	for _, r := range term {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case strings.ContainsRune(`"*?^`, r):
			return "unescaped: " + term
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestT38NamesThatNobodyCanSeeAreNotAskedFor(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", " anna", "anna\x00", "an\u200bna", "anna\n", strings.Repeat("a", 256), "\xff"} {
		if _, err := w.UserByName(t.Context(), "diku", name); !errors.Is(err, directory.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := w.HomeTenant(t.Context(), "diku", name, "", ""); !errors.Is(err, directory.ErrInvalid) {
			t.Errorf("home of %q: %v", name, err)
		}
	}
	if n := len(w.folio.Requests("")); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

// A module that finds too much, or somebody else, lets nobody in as another.
func TestT38AnotherUserIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	user := func(id, name string) foliotest.User {
		return foliotest.User{ID: id, Username: name, Active: foliotest.Active(true)}
	}
	for what, users := range map[string][]foliotest.User{
		"another":        {user(berta, "berta")},
		"a longer name":  {user(berta, "annabel")},
		"a shorter name": {user(berta, "ann")},
		"an accent":      {user(berta, "änna")},
		"a look-alike":   {user(berta, "аnna")}, // Cyrillic
		"two":            {user(anna, "anna"), user(berta, "ANNA")},
		"no name":        {user(berta, "")},
	} {
		w.folio.Misbehave(foliotest.Users, foliotest.AnswersWith(users...))
		if u, err := w.UserByName(t.Context(), "diku", "anna"); !errors.Is(err, directory.ErrNotFound) {
			t.Errorf("%s: %+v, %v", what, u, err)
		}
	}
	for what, users := range map[string][]foliotest.User{
		"another": {user(berta, "anna")},
		"two":     {user(anna, "anna"), user(berta, "berta")},
		"no id":   {{Username: "anna", Active: foliotest.Active(true)}},
		"a path":  {user("../"+anna, "anna")},
	} {
		w.folio.Misbehave(foliotest.Users, foliotest.AnswersWith(users...))
		if u, err := w.User(t.Context(), "diku", anna); err == nil || errors.Is(err, directory.ErrNotFound) {
			t.Errorf("by id, %s: %+v, %v", what, u, err)
		}
	}
	w.folio.Misbehave(foliotest.Users, foliotest.AnswersWith(user(strings.ToUpper(anna), "anna")))
	if u, err := w.User(t.Context(), "diku", anna); err != nil || u.ID != anna {
		t.Errorf("in upper case: %+v, %v", u, err)
	}
	w.folio.Misbehave(foliotest.Users, foliotest.AnswersWith(user("not a UUID", "anna")))
	if u, err := w.UserByName(t.Context(), "diku", "anna"); err == nil {
		t.Errorf("an id that is none: %+v", u)
	}
	w.folio.Misbehave(foliotest.Permissions, foliotest.Says("application/json",
		`{"permissionUsers":[{"id":"x","userId":"`+berta+`","permissions":["admin"]}],"totalRecords":1}`))
	if g, err := w.Grants(t.Context(), "diku", anna); err == nil {
		t.Errorf("the grants of another: %v", g)
	}
	w.folio.Misbehave(foliotest.Permissions, foliotest.Says("application/json",
		`{"permissions":[{"permissionName":"other","subPermissions":["admin"]}],"totalRecords":1}`))
	if names, err := w.Expand(t.Context(), "diku", []string{"orders.get"}); err != nil || len(names) != 1 {
		t.Errorf("the set of another name lends %v, %v", names, err)
	}
}

func TestT39AnIDCannotBecomeAPath(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{
		"../perms/users?x=", "..", "", "*", anna + "/../" + berta, anna + "?indexField=id", strings.ToUpper(anna), "{" + anna + "}",
		"urn:uuid:" + anna, strings.ReplaceAll(anna, "-", ""), anna + "%2f..", anna + " ", `" or id=="` + berta,
	} {
		for what, err := range map[string]error{
			"user": second(w.User(t.Context(), "diku", id)), "grants": second(w.Grants(t.Context(), "diku", id)),
			"expanded": second(w.Expanded(t.Context(), "diku", id)),
		} {
			if !errors.Is(err, directory.ErrInvalid) {
				t.Errorf("%s of %q: %v", what, id, err)
			}
		}
	}
	if asked := w.folio.Requests(""); len(asked) != 0 {
		t.Errorf("asked %+v", asked)
	}
}

func TestT40ARedirectionIsNotFollowed(t *testing.T) {
	w, canary := newWorld(t), foliotest.Start(t, "diku")
	canary.AddUser("diku", foliotest.User{ID: anna, Username: "Anna", Active: foliotest.Active(true)})
	w.folio.Misbehave(foliotest.Users, foliotest.Redirects(canary.URL+"/users"))
	if _, err := w.User(t.Context(), "diku", anna); err == nil {
		t.Error("believed")
	}
	if got := canary.Requests(""); len(got) != 0 {
		t.Errorf("our token went to %+v", got)
	}
}

func TestT40LinkLocalAddressesAreNotCalled(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"http://169.254.169.254", "http://[fe80::1]", "http://[::ffff:169.254.169.254]", "http://224.0.0.1"} {
		c := &Client{URL: address, Now: w.clock, Token: w.Token}
		if _, err := c.User(t.Context(), "diku", anna); err == nil || !strings.Contains(err.Error(), "link-local") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
