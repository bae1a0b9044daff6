package check

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGoroutinesHaveLeakCheck fails for a package of the module that starts
// goroutines and whose tests do not end with goleak.
func TestGoroutinesHaveLeakCheck(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	starting := 0
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir                    string
			GoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		// The exams are tests themselves: their programs end with the exam.
		if strings.HasPrefix(p.ImportPath, module+"integration") || p.ImportPath == module+"mediad/internal/engine/exam" || !starts(t, p.Dir, p.GoFiles) {
			continue
		}
		starting++
		if !checked(t, p.Dir, append(p.TestGoFiles, p.XTestGoFiles...)) {
			t.Errorf("%s starts goroutines, and no test of it calls goleak.VerifyTestMain", strings.TrimPrefix(p.ImportPath, module))
		}
	}
	if starting < 10 {
		t.Fatalf("only %d packages start goroutines: this test looks at the wrong files", starting)
	}
}

// starts reports a go statement, a timer's callback or an errgroup in the files.
func starts(t *testing.T, dir string, files []string) bool {
	t.Helper()
	found := false
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				found = true
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "AfterFunc" {
					found = true
				}
			}
			return !found
		})
	}
	return found
}

func checked(t *testing.T, dir string, files []string) bool {
	t.Helper()
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "goleak" && (s.Sel.Name == "VerifyTestMain" || s.Sel.Name == "Find") {
					found = true
				}
			}
			return !found
		})
		if found {
			return true
		}
	}
	return false
}
