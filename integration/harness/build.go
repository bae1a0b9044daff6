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
// to be examined in place of freshly built ones; EXAM_RACE builds with the race
// detector, whose findings then stand in the logs.
func Build(dir, source string) (string, error) {
	name := path.Base(source)
	if binary := os.Getenv("EXAM_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))); binary != "" {
		return binary, nil
	}
	binary := filepath.Join(dir, name)
	args, env := []string{"build", "-o", binary}, os.Environ()
	if os.Getenv("EXAM_RACE") != "" {
		args = append(args, "-race") // which needs cgo
		env = append(env, "CGO_ENABLED=1")
	}
	build := exec.Command("go", append(args, "github.com/tandem-sbc/tandem/"+source)...)
	build.Env = env
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", source, err, out)
	}
	return binary, nil
}
