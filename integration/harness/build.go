package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Build compiles a program of this module, named by its folder, into dir and
// returns the path of the binary. EXAM_MEDIAD, EXAM_PROXY and so on name binaries
// to be examined in place of freshly built ones.
func Build(dir, source string) (string, error) {
	name := path.Base(source)
	if binary := os.Getenv("EXAM_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))); binary != "" {
		return binary, nil
	}
	binary := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/tandem-sbc/tandem/"+source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", source, err, out)
	}
	return binary, nil
}
