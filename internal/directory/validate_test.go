package directory

import (
	"errors"
	"strings"
	"testing"
)

func TestTenantIDIsRefusedInOkapisWords(t *testing.T) {
	for _, c := range []struct{ id, want string }{
		{"a", ""},
		{"diku", ""},
		{"t1", ""},
		{strings.Repeat("a", 31), ""},
		{SuperTenant, ""},
		{strings.Repeat("a", 32), "Tenant id must not exceed 31 characters: " + strings.Repeat("a", 32)},
		{"1", "Tenant id must not start with a digit: 1"},
		{"1abc", "Tenant id must not start with a digit: 1abc"},
		{"foo_bar", "Tenant id must not contain underscore: foo_bar"},
		{"a-z", "Tenant id must not contain minus: a-z"},
		{"a_-", "Tenant id must not contain underscore: a_-"},
		{"universität", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is universität"},
		{"", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is "},
		{"Diku", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is Diku"},
		{"diku\n", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is diku\ufffd"},
		{"di\xffku", "Invalid tenant id, may only contain a-z and 0-9 and must match [a-z][a-z0-9]{0,30} but it is di\ufffdku"},
		{strings.Repeat("a", 1<<20), "Tenant id must not exceed 31 characters: " + strings.Repeat("a", 64) + "…"},
	} {
		err := ValidTenantID(c.id)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("ValidTenantID(%q) = %v", c.id, err)
		case c.want != "" && (err == nil || err.Error() != c.want || !errors.Is(err, ErrInvalid)):
			t.Errorf("ValidTenantID(%.40q) = %v, want %q", c.id, err, c.want)
		}
	}
}

func TestUserRecordIsChecked(t *testing.T) {
	good := User{
		ID: "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a9d10", Tenant: "diku", Username: "diku_admin",
		FirstName: "علی\u200cرضا", LastName: "D'Árcy-Müller", Email: "a@example.org",
	}
	if err := ValidUser(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*User){
		"no id":                func(u *User) { u.ID = "" },
		"id in upper case":     func(u *User) { u.ID = strings.ToUpper(u.ID) },
		"id in braces":         func(u *User) { u.ID = "{" + u.ID + "}" },
		"id as URN":            func(u *User) { u.ID = "urn:uuid:" + u.ID },
		"id without hyphens":   func(u *User) { u.ID = strings.ReplaceAll(u.ID, "-", "") },
		"id is no UUID":        func(u *User) { u.ID = "diku_admin" },
		"no user name":         func(u *User) { u.Username = "" },
		"hidden character":     func(u *User) { u.Username = "diku_admin\u200b" },
		"long first name":      func(u *User) { u.FirstName = strings.Repeat("x", 256) },
		"line feed":            func(u *User) { u.LastName = "x\ny" },
		"line separator":       func(u *User) { u.LastName = "x\u2028y" },
		"override":             func(u *User) { u.LastName = "\u202ex" },
		"email is not UTF-8":   func(u *User) { u.Email = "a\xff@example.org" },
		"escape sequence":      func(u *User) { u.Email = "\x1b[2J" },
		"C1 control character": func(u *User) { u.FirstName = "x\u009b" },
	} {
		u := good
		spoil(&u)
		if err := ValidUser(u); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestPermissionNameIsChecked(t *testing.T) {
	for _, name := range []string{
		"orders.item.post", "SYS#mod-login-7.13.0#/authn/refresh#[POST]", "4c4f1d7e-0b3a-4a55-8a9c-0d1b8f2f7f10",
		"all orders", strings.Repeat("x", 255),
	} {
		if err := ValidPermission(name); err != nil {
			t.Errorf("ValidPermission(%q) = %v", name, err)
		}
	}
	for _, name := range []string{
		"", "*", "orders.*", "a,b", "a\nb", "a\x00", " a", "a ", "\u00a0a", "a\u200b", "a\xff", strings.Repeat("x", 256),
	} {
		if err := ValidPermission(name); !errors.Is(err, ErrInvalid) {
			t.Errorf("ValidPermission(%q) = %v, want ErrInvalid", name, err)
		}
	}
}
