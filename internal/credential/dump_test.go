package credential

import (
	"fmt"
	"strings"
	"testing"
)

func TestDumpOfCopyIsRead(t *testing.T) {
	dump := "-- PostgreSQL database dump\nSET x = 0;\n" +
		"COPY diku_mod_login.auth_attempts (id, jsonb) FROM stdin;\n1\t{}\n\\.\n\n" +
		"COPY diku_mod_login.auth_credentials (id, jsonb, creation_date, created_by) FROM stdin;\n" +
		"a\t{\"userId\": \"x\\\\\"y\"}\t\\N\tz\\tz\n" +
		"short\n" +
		"b\t" + strings.Repeat("x", maxDumpLine) + "\t\\N\t\\N\n" +
		"c\t\\x41\\102\\q\t\\N\tend\\\n" +
		"d\t\\x41\\102\\q\t\\N\t\\N\n" +
		"\\.\n" +
		"COPY \"cph_mod_login\".auth_credentials (id, jsonb) FROM stdin;\ne\t{}\n\\.\n"
	var got []string
	err := ReadDump(strings.NewReader(dump), "auth_credentials", func(r DumpRow) error {
		got = append(got, fmt.Sprint(r.Line, " ", r.Schema, " ", r.Columns, " ", r.Fault))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`8 diku_mod_login map[created_by:z	z id:a jsonb:{"userId": "x\"y"}] `,
		`9 diku_mod_login map[] the row does not have the columns of its table`,
		`10 diku_mod_login map[] the line is too long`,
		`11 diku_mod_login map[] an escape cannot be read`,
		`12 diku_mod_login map[id:d jsonb:ABq] `,
		`15 cph_mod_login map[id:e jsonb:{}] `,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDumpOfJSONLinesIsRead(t *testing.T) {
	var got []string
	err := ReadDump(strings.NewReader("\n{\"a\":1}\n\nnot JSON\n{\"b\":2}"), "auth_credentials", func(r DumpRow) error {
		got = append(got, fmt.Sprintf("%d %s", r.Line, r.JSON))
		return nil
	})
	if want := "2 {\"a\":1}|4 not JSON|5 {\"b\":2}"; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v", got, err)
	}
}
