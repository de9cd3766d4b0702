package server_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/counterfoil/counterfoil/"
)

// rows is the architecture, from the top: a package imports rows below its own
// and nothing of its own row. ARCHITECTURE.md shows it as a picture.
var rows = [][]string{
	{"cmd/counterfoil", "bench", "client/clienttest", "client/ssm"},
	{"client"},
	{"internal/demo"},
	{"internal/server"},
	{"internal/folio", "internal/oauth", "internal/console", "internal/admin", "internal/gateway", "internal/folioclient", "internal/store", "internal/trail"},
	{"internal/session"},
	{"internal/token", "internal/credential", "internal/directory", "internal/apikey", "internal/audit"},
	{"internal/pgtest", "internal/foliotest", "bench/peers"}, // for tests and measurements alone
}

// only says which packages may import a thing, and why.
var only = []struct {
	what    *regexp.Regexp
	allowed []string
	why     string
}{
	{regexp.MustCompile(`^` + module + `internal/store$`), []string{"internal/server", "bench"}, "engines change, and nobody else may notice"},
	{regexp.MustCompile(`^(zombiezen\.com/go/sqlite|modernc\.org/|database/sql|github\.com/jackc/)`), []string{"internal/store", "internal/pgtest", "bench"}, "SQL is written in one place"},
	{regexp.MustCompile(`^` + module + `internal/pgtest$`), []string{"bench"}, "the program starts no database"},
	{regexp.MustCompile(`^` + module + `internal/foliotest$`), []string{"bench"}, "the program has no FOLIO of its own"},
	{regexp.MustCompile(`^go\.opentelemetry\.io/`), []string{"internal/server", "internal/gateway", "internal/trail"}, "spans are made where HTTP comes and goes"},
	{regexp.MustCompile(`^github\.com/prometheus/`), []string{"internal/server", "internal/gateway"}, "the heart counts through an interface of its own"},
	{regexp.MustCompile(`^github\.com/go-jose/`), []string{"internal/token"}, "it reads what mod-authtoken wrote; our own few lines are tested against it"},
	{regexp.MustCompile(`^github\.com/golang-jwt/`), nil, "they are what our own few lines are tested against"},
	{regexp.MustCompile(`^crypto/ed25519$`), []string{"internal/token", "client"}, "nothing else may touch a signing key; the client has its own"},
	{regexp.MustCompile(`^github\.com/alecthomas/kong$`), []string{"cmd/counterfoil"}, "flags end at the command line"},
	{regexp.MustCompile(`^github\.com/aws/`), []string{"client/ssm"}, "a module of its own has it, so that nobody else gets it"},
	{regexp.MustCompile(`^go\.yaml\.in/`), []string{"internal/server"}, "configuration is read in one place"},
	{regexp.MustCompile(`^(unsafe|net/http/pprof|expvar)$`), []string{}, "not needed, and each opens a door"},
}

// httpAllowed are the files of the lower rows that may know HTTP.
var httpAllowed = []string{"internal/session/cookie.go"}

type source struct {
	path    string // from the root, with slashes
	imports []string
	file    *ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		rel = filepath.ToSlash(rel)
		if entry.IsDir() && (rel == "tools" || strings.HasPrefix(entry.Name(), ".") && rel != "." || entry.Name() == "testdata" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{path: rel, file: file}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			s.imports = append(s.imports, imported)
		}
		list = append(list, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 30 {
		t.Fatalf("found %d files only, the walk is broken", len(list))
	}
	return list
}

func row(pkg string) int {
	return slices.IndexFunc(rows, func(r []string) bool { return slices.Contains(r, pkg) })
}

func TestImportsPointDownward(t *testing.T) {
	for _, s := range sources(t) {
		pkg := path.Dir(s.path)
		from := row(pkg)
		if from < 0 {
			t.Errorf("%s: package %s has no row in the architecture", s.path, pkg)
			continue
		}
		for _, imported := range s.imports {
			ours, ok := strings.CutPrefix(imported, module)
			if ok && row(ours) <= from {
				t.Errorf("%s imports %s: arrows point downward only", s.path, ours)
			}
			for _, rule := range only {
				if rule.what.MatchString(imported) && !slices.Contains(rule.allowed, pkg) {
					t.Errorf("%s imports %s: %s", s.path, imported, rule.why)
				}
			}
			if imported == "net/http" && from >= row("internal/session") && from < row("internal/pgtest") && !slices.Contains(httpAllowed, s.path) {
				t.Errorf("%s imports net/http: the heart does not know HTTP", s.path)
			}
		}
	}
}

// Programs of others import the client, and nothing else may come with it.
func TestImportsOfTheClientAreFew(t *testing.T) {
	for _, s := range sources(t) {
		if row(path.Dir(s.path)) != row("client") {
			continue
		}
		for _, imported := range s.imports {
			if strings.Contains(imported, ".") && imported != "golang.org/x/sync/singleflight" {
				t.Errorf("%s imports %s: whoever imports the client gets that too", s.path, imported)
			}
		}
	}
}

// The clock is injected, or the tests of expiry would sleep.
func TestClockIsInjected(t *testing.T) {
	clocks := []string{"Now", "Since", "Until"}
	for _, s := range sources(t) {
		if row(path.Dir(s.path)) < row("internal/folio") || path.Dir(s.path) == "internal/pgtest" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clocks, selector.Sel.Name) {
				t.Errorf("%s calls time.%s: take the time from a Now field", s.path, selector.Sel.Name)
			}
			return true
		})
	}
}

func TestImportsEveryPackageSaysWhatItOwns(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		pkg := path.Dir(s.path)
		documented[pkg] = documented[pkg] || s.file.Doc != nil
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// Links in the documents lead somewhere.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		others := entry.Name() == "node_modules" || entry.Name() == "build" // documents of packages, and generated ones
		if entry.IsDir() && (others || strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".." && name != root) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			target := match[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, target)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
