//go:build integration

package instructions

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// work is a benchmark and the most instructions that one round of it may take. The system calls are not counted.
type work struct {
	folder, benchmark string
	rounds            int // of the longer run
	most              float64
}

// bounds are about a tenth above what was counted when they were written. Who makes something faster lowers them; who must raise one says why.
func bounds() []work {
	return []work{
		{"mediad/internal/flow", "BenchmarkHandle/RTP_to_RTP", 20000, 800},
		{"mediad/internal/flow", "BenchmarkHandle/RTP_to_SRTP_CM", 5000, 15000},
		{"mediad/internal/flow", "BenchmarkHandle/SRTP_CM_to_RTP", 5000, 29200}, // the benchmark encrypts, too
		{"mediad/internal/app", "BenchmarkCall/numbers/plain/handler", 300, 305000},
	}
}

func TestPacketsAndCallsTakeNoMoreInstructions(t *testing.T) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, built := t.TempDir(), make(map[string]string)
	for _, w := range bounds() {
		if built[w.folder] == "" {
			built[w.folder] = build(t, dir, w.folder)
		}
		few, many := w.rounds/10, w.rounds
		each := (count(t, built[w.folder], w.benchmark, many) - count(t, built[w.folder], w.benchmark, few)) / float64(many-few)
		t.Logf("%s: %.0f instructions a round, at most %.0f", w.benchmark, each, w.most)
		if each > w.most || each < w.most/10 {
			t.Errorf("%s takes %.0f instructions a round, the bound is %.0f", w.benchmark, each, w.most)
		}
	}
}

func build(t *testing.T, dir, folder string) string {
	t.Helper()
	binary := filepath.Join(dir, filepath.Base(folder)+".test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, "github.com/tandem-sbc/tandem/"+folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// count runs a benchmark for a number of rounds, and returns the instructions of the whole process.
func count(t *testing.T, binary, benchmark string, rounds int) float64 {
	t.Helper()
	pattern := regexp.MustCompile("[^/]+").ReplaceAllStringFunc(benchmark, func(s string) string { return "^" + s + "$" })
	cmd := exec.Command("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary,
		"-test.run=^$", "-test.bench="+pattern, fmt.Sprintf("-test.benchtime=%dx", rounds))
	cmd.Env = append(os.Environ(), "GOGC=off", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", benchmark, err, out)
	}
	found := regexp.MustCompile(`Collected : (\d+)`).FindSubmatch(out)
	if found == nil || !regexp.MustCompile(fmt.Sprintf(`(?m)^Benchmark\S+\s+%d\s`, rounds)).Match(out) {
		t.Fatalf("%s: nothing was counted:\n%s", benchmark, out)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
