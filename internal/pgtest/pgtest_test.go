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
