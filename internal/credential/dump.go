package credential

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// DumpRow is a row of a table in a dump.
type DumpRow struct {
	// Line counts from 1.
	Line int
	// Schema is what the dump names before the table; empty in JSON lines.
	Schema string
	// Columns are those of COPY, by name. A null is not among them.
	Columns map[string]string
	// JSON is the line, in JSON lines.
	JSON []byte
	// Fault is why the row cannot be read. It repeats nothing of it.
	Fault string
}

// maxDumpLine bounds a row that counts. Other tables may have longer ones.
const maxDumpLine = 64 << 10

var copyLine = regexp.MustCompile(`^COPY ("?)([^". ]+)("?)\.("?)([^". ]+)("?) \((.*)\) FROM stdin;$`)

// ReadDump tells each row of a table in what pg_dump writes as plain text, or in
// lines of JSON, which begin with a brace. A row that cannot be read is told, too,
// with a fault, and the next one follows.
func ReadDump(r io.Reader, table string, each func(DumpRow) error) error {
	lines := bufio.NewReaderSize(r, maxDumpLine)
	var schema string
	var columns []string
	inJSON, begun := false, false
	for n := 1; ; n++ {
		line, tooLong, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !begun && strings.TrimSpace(line) != "" {
			begun, inJSON = true, strings.HasPrefix(line, "{")
		}
		row := DumpRow{Line: n, Schema: schema}
		switch {
		case inJSON && tooLong, columns != nil && tooLong:
			row.Fault = "the line is too long"
		case inJSON && strings.TrimSpace(line) == "":
			continue
		case inJSON:
			row.JSON = []byte(line)
		case columns == nil:
			if found := copyLine.FindStringSubmatch(line); found != nil && found[5] == table {
				schema, columns = found[2], strings.Split(found[7], ", ")
			}
			continue
		case line == `\.`:
			columns = nil
			continue
		default:
			row.Columns, row.Fault = copyColumns(line, columns)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// readLine reads a line of any length and keeps what counts of it.
func readLine(r *bufio.Reader) (line string, tooLong bool, err error) {
	part, prefix, err := r.ReadLine()
	line = string(part)
	for prefix && err == nil {
		tooLong = true
		_, prefix, err = r.ReadLine()
	}
	return line, tooLong, err
}

func copyColumns(line string, names []string) (map[string]string, string) {
	values := strings.Split(line, "\t")
	if len(values) != len(names) {
		return nil, "the row does not have the columns of its table"
	}
	columns := make(map[string]string, len(names))
	for i, name := range names {
		if values[i] == `\N` {
			continue
		}
		value, ok := unescapeCopy(values[i])
		if !ok {
			return nil, "an escape cannot be read"
		}
		columns[strings.Trim(name, `"`)] = value
	}
	return columns, ""
}

var copyEscapes = map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t', 'v': '\v'}

// unescapeCopy reads PostgreSQL's text format of COPY.
func unescapeCopy(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", false
		}
		if control, ok := copyEscapes[s[i]]; ok {
			b.WriteByte(control)
			continue
		}
		base, digits := 8, s[i:min(len(s), i+3)]
		if s[i] == 'x' {
			base, digits = 16, s[i+1:min(len(s), i+3)]
		}
		n := 0
		for n < len(digits) && isDigit(digits[n], base) {
			n++
		}
		if n == 0 {
			b.WriteByte(s[i]) // any other character stands for itself
			continue
		}
		code, err := strconv.ParseUint(digits[:n], base, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(code))
		if i += n - 1; base == 16 {
			i++
		}
	}
	return b.String(), true
}

func isDigit(c byte, base int) bool {
	return c >= '0' && c <= '7' || base == 16 && (c == '8' || c == '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F')
}
