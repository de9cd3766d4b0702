package pgtest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestEachTestHasADatabaseOfItsOwnThatIsDurable(t *testing.T) {
	one, two := Database(t), Database(t)
	Exec(t, one, `CREATE TABLE only_here (n integer)`)
	if Value[bool](t, two, `SELECT to_regclass('only_here') IS NOT NULL`) {
		t.Error("two tests share a database")
	}
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if value := Value[string](t, one, `SELECT current_setting($1)`, setting); value != "on" {
			t.Errorf("%s is %s", setting, value)
		}
	}
}

func TestTheStandbyHasWhatThePrimaryAcknowledged(t *testing.T) {
	p := NewPair(t)
	Exec(t, p.URL(), `CREATE TABLE here (n integer)`)
	Exec(t, p.URL(), `INSERT INTO here VALUES (1)`)
	before := p.Socket()
	p.Kill()
	if err := p.Promote(); err != nil {
		t.Fatal(err)
	}
	if n := Value[int](t, p.URL(), `SELECT count(*)::int FROM here`); n != 1 || p.Socket() == before {
		t.Errorf("%d rows, at the same socket: %v", n, p.Socket() == before)
	}
	Exec(t, p.URL(), `INSERT INTO here VALUES (2)`)
	if err := p.Promote(); err == nil {
		t.Error("a second standby was found")
	}
}
