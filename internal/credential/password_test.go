package credential

import (
	"errors"
	"strings"
	"testing"
)

func TestAcceptedPasswords(t *testing.T) {
	for _, test := range []struct{ name, password, username string }{
		{"fifteen lower-case letters", "kvnwrtpzmqhxfjd", "reader"},
		{"a few words", "correct horse battery staple", "reader"},
		{"no kind of character is asked for", "blue ink on every third page", "reader"},
		{"fifteen random digits", "830617492058316", "reader"},
		{"two hundred characters", strings.Repeat("k7 vz", 40), "reader"},
		{"largest", strings.Repeat("k7 vzq9x", 128), "reader"},
		{"fifteen code points of several bytes", "книга и полка в", "reader"},
		{"words of the list among others", "monkey eats library cake", "reader"},
		{"short user names are not looked for", "algae along the algarve", "al"},
		{"no user name", "correct horse battery staple", ""},
	} {
		if err := (Rules{}).Check(test.password, test.username); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRefusedPasswordsAndTheReason(t *testing.T) {
	for _, test := range []struct{ name, password, username, want string }{
		{"empty", "", "reader", "empty"},
		{"fourteen letters", "kvnwrtpzmqhxfj", "reader", "at least 15"},
		{"fifteen once composed", strings.Repeat("e\u0301", 14), "reader", "at least 15"},
		{"fourteen code points of many bytes", "книга и полка ", "reader", "at least 15"},
		{"too long", strings.Repeat("k7 vzq9x", 128) + "x", "reader", "1,024 bytes"},
		{"not UTF-8", "correct horse \xff staple", "reader", "UTF-8"},
		{"tab", "correct\thorse battery", "reader", "control"},
		{"line break at the end", "correct horse battery\n", "reader", "control"},
		{"C1 control", "correct\u0085horse battery", "reader", "control"},

		{"user name itself", "wilhelmina.archer", "wilhelmina.archer", "user name"},
		{"user name inside", "my name is Mrs. ARCHER", "archer", "user name"},
		{"user name in another form", "josephine JOSE\u0301 smith", "jos\u00e9", "user name"},
		{"user name three letters", "kvnwrt ann pzmqhx", "ann", "user name"},

		{"word and digits", "password1234567", "reader", "tried first"},
		{"word and any digits", "Password!!83061749", "reader", "tried first"},
		{"word twice", "passwordpassword", "reader", "tried first"},
		{"words together", "letmein-admin-2024", "reader", "tried first"},
		{"word in capitals", "QWERTYUIOPASDFGHJKL", "reader", "tried first"},
		{"digits in order", "123456789012345", "reader", "tried first"},
		{"digits backwards", "987654321098765", "reader", "tried first"},
		{"letters in order", "abcdefghijklmnop", "reader", "tried first"},
		{"one character", "zzzzzzzzzzzzzzzz", "reader", "tried first"},
		{"one sign", "!!!!!!!!!!!!!!!!", "reader", "tried first"},
		{"one group", "k7vzk7vzk7vzk7vz", "reader", "tried first"},
		{"group cut off", "xyqxyqxyqxyqxyqx", "reader", "tried first"},
		{"sequences put together", "abc123abc123xyz789", "reader", "tried first"},
	} {
		err := Rules{}.Check(test.password, test.username)
		if !errors.Is(err, ErrPassword) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want ErrPassword that says %q", test.name, err, test.want)
			continue
		}
		if test.password != "" && strings.Contains(err.Error(), test.password) {
			t.Errorf("%s: the error holds the password: %v", test.name, err)
		}
	}
}

func TestTooLongPasswordIsToldApart(t *testing.T) {
	if err := (Rules{}).Check(strings.Repeat("k", maxPassword+1), ""); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v, want ErrTooLong", err)
	}
}

func TestMinLengthIsTheOperators(t *testing.T) {
	if err := (Rules{MinLength: 8}).Check("kvnwrtpz", "reader"); err != nil {
		t.Errorf("eight of eight: %v", err)
	}
	if err := (Rules{MinLength: 8}).Check("kvnwrtp", "reader"); !errors.Is(err, ErrPassword) {
		t.Errorf("seven of eight: %v", err)
	}
	if err := (Rules{MinLength: 8}).Check("letmein1", "reader"); !errors.Is(err, ErrPassword) {
		t.Errorf("list with a shorter length: %v", err)
	}
}

func TestAllowWeakIsForTheDemo(t *testing.T) {
	weak := Rules{AllowWeak: true}
	for _, user := range []struct{ name, password string }{{"diku_admin", "admin"}, {"reader", "reader"}} {
		if err := weak.Check(user.password, user.name); err != nil {
			t.Errorf("%s: %v", user.name, err)
		}
		if err := (Rules{}).Check(user.password, user.name); !errors.Is(err, ErrPassword) {
			t.Errorf("%s without AllowWeak: %v", user.name, err)
		}
	}
	for _, password := range []string{"", "a\x00b", "\xff", strings.Repeat("a", maxPassword+1)} {
		if err := weak.Check(password, "reader"); !errors.Is(err, ErrPassword) {
			t.Errorf("%q…: %v, want ErrPassword", password[:min(len(password), 3)], err)
		}
	}
}

func FuzzRulesCheck(f *testing.F) {
	f.Add("correct horse battery staple", "reader")
	f.Add("password1234567", "reader")
	f.Add("\u0345\u0301ΐ\xff", "\u1fb3")
	f.Fuzz(func(t *testing.T, password, username string) {
		err := Rules{}.Check(password, username)
		if err != nil && !errors.Is(err, ErrPassword) {
			t.Fatalf("%v is not ErrPassword", err)
		}
		if err == nil && len(password) < 15 {
			t.Fatal("fewer bytes than characters are asked for")
		}
	})
}
