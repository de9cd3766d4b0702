package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// namedTest is how the documents name a test: `package.TestName`, without the
// package where it is plain, with the subtest behind a slash if there is one.
var namedTest = regexp.MustCompile("`(?:([a-z]+)\\.)?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)(?:/([^`]*))?`")

// checklistLine names a subtest of package folio by the number of its line.
var checklistLine = regexp.MustCompile(`(?:^|[ |,])(7\.[45]-[0-9]{2})`)

// tested is the test functions of a package, and all of its tests' text.
type tested struct {
	functions map[string]bool
	text      strings.Builder
}

func testsByPackage(t *testing.T) map[string]*tested {
	t.Helper()
	packages := map[string]*tested{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == "tools" || strings.HasPrefix(entry.Name(), ".") && name != root) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := filepath.Base(filepath.Dir(name))
		if packages[pkg] == nil {
			packages[pkg] = &tested{functions: map[string]bool{}}
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				packages[pkg].functions[f.Name.Name] = true
			}
		}
		packages[pkg].text.Write(text)
		return nil
	})
	if err != nil || len(packages) < 10 {
		t.Fatalf("%d packages with tests, %v", len(packages), err)
	}
	return packages
}

// A document that names a test which is not there promises what nobody checks.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	packages := testsByPackage(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, page := range append(pages, filepath.Join(root, "ARCHITECTURE.md"), filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range namedTest.FindAllStringSubmatch(string(text), -1) {
			names++
			found := false
			for pkg, tests := range packages {
				if (match[1] == "" || match[1] == pkg) && tests.functions[match[2]] && tests.has(match[3]) {
					found = true
				}
			}
			if !found {
				t.Errorf("%s names %s, which does not exist", filepath.Base(page), match[0])
			}
		}
		for line := range strings.Lines(string(text)) {
			columns := strings.Split(line, " | ")
			for _, match := range checklistLine.FindAllStringSubmatch(columns[len(columns)-1], -1) {
				names++
				if !strings.Contains(packages["folio"].text.String(), `"`+match[1]+" ") {
					t.Errorf("%s names %s, and no test has that number: %s", filepath.Base(page), match[1], line)
				}
			}
		}
	}
	if names < 200 {
		t.Errorf("%d names only: the search is broken", names)
	}
}

// has looks for the subtest's names, of which go test makes underlines of blanks.
func (p *tested) has(subtest string) bool {
	for part := range strings.SplitSeq(subtest, "/") {
		if !strings.Contains(p.text.String(), strings.ReplaceAll(part, "_", " ")) {
			return false
		}
	}
	return true
}

// Every line of a checklist has a status of the four and, if it is met, a test.
func TestDocumentsChecklistsAreWhole(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "folio-compat.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	id := regexp.MustCompile(`^\| ((7\.[1-5]|9|O)(?:-[0-9]{2})?) \|`)
	for line := range strings.Lines(string(text)) {
		match := id.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		lines[match[2]]++
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(columns) != 4 {
			t.Errorf("%s has %d columns", match[1], len(columns))
			continue
		}
		status, test := columns[2], strings.TrimSpace(columns[3])
		switch {
		case strings.HasPrefix(status, "met"):
			if test == "–" || test == "" {
				t.Errorf("%s is met, and no test shows it", match[1])
			}
		case strings.HasPrefix(status, "deliberately different"), strings.HasPrefix(status, "not built"), strings.HasPrefix(status, "does not apply"):
		default:
			t.Errorf("%s: status %q", match[1], status)
		}
	}
	for list, want := range map[string]int{"7.1": 34, "7.2": 4, "7.3": 11, "7.4": 22, "7.5": 15, "9": 10, "O": 46} {
		if lines[list] < want {
			t.Errorf("%s has %d lines, want %d", list, lines[list], want)
		}
	}
}
