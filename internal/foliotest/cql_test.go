package foliotest

import "testing"

func TestQueriesFindWhatFOLIOsDo(t *testing.T) {
	record := map[string][]string{"username": {`Åsa "the* cat"`}, "id": {"7"}}
	field := func(index string) []string { return record[index] }
	for text, want := range map[string]bool{
		``:                                     true,
		`cql.allRecords=1`:                     true,
		`id==7`:                                true,
		`id=="7"`:                              true,
		`id==8`:                                false,
		`username=="åsa \"the\* cat\""`:        true,
		`username=="ASA \"THE\* CAT\""`:        true,
		`username=="asa*"`:                     true,
		`username=="asa ?the? cat?"`:           true,
		`username=="asa\*"`:                    false,
		`username=="*"`:                        true,
		`username=="" or id==7`:                true,
		`(username=="x" or id=="7") and id==7`: true,
		`(id==7 and id==8) or id==7`:           true,
		`id==8 or id==7 and username=="x"`:     false, // left to right
	} {
		q, err := parseCQL(text, "username", "id")
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := q(field); got != want {
			t.Errorf("%s found it: %v, want %v", text, got, want)
		}
	}
}

func TestQueriesThatNobodySendsAreRefused(t *testing.T) {
	for _, text := range []string{
		`username=x`, `username=*`, `username all "x"`, `username<>"x"`, `username=="x`, `username==`, `(id==7`, `id==7)`,
		`id==7 or`, `id==7 not id==8`, `password=="x"`, `id==7 sortby username`, `id==/x 7`, `"x"`, `id==7 id==8`,
	} {
		if _, err := parseCQL(text, "username", "id"); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
