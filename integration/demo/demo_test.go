//go:build integration

// Package demo exams what `make run` starts.
package demo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output is what the demo prints, readable meanwhile.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// programs builds what the demo starts.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	for _, source := range []string{"proxy", "mediad", "deploy/demo-phone", "deploy/demo"} {
		out, err := exec.Command("go", "build", "-o", bin+"/", "github.com/tandem-sbc/tandem/"+source).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", source, err, out)
		}
	}
	return bin
}

// start runs the demo until it greets; it returns the page's port.
func start(t *testing.T, bin, dir string) (cmd *exec.Cmd, out *output, page string) {
	t.Helper()
	out = &output{}
	cmd = exec.Command(filepath.Join(bin, "demo"), "-bin", bin, "-var", dir)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	})
	address := regexp.MustCompile(`Open +https://localhost:(\d+)/`)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if m := address.FindStringSubmatch(out.String()); m != nil && strings.Contains(out.String(), "Ctrl-C") {
			return cmd, out, m[1]
		}
		if time.Now().After(deadline) || cmd.Process.Signal(syscall.Signal(0)) != nil {
			logs, _ := filepath.Glob(filepath.Join(dir, "log", "*.log"))
			for _, l := range logs {
				text, _ := os.ReadFile(l)
				t.Logf("%s:\n%s", l, text)
			}
			t.Fatalf("the demo does not come up:\n%s", out)
		}
	}
}

// The demo starts on a machine where its port is taken, says where the page is
// and what to dial, keeps its CA over a restart, and leaves nothing at Ctrl-C.
func TestDemo(t *testing.T) {
	bin, dir := programs(t), filepath.Join(t.TempDir(), "var")
	if taken, err := net.Listen("tcp4", "0.0.0.0:8443"); err == nil { // else somebody else has it, which will do
		defer taken.Close()
	}
	var ca []byte
	for range 2 {
		cmd, out, page := start(t, bin, dir)
		for _, want := range []string{"port 8443 is taken", "600", "601", "602"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		pem, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if ca != nil && !bytes.Equal(ca, pem) {
			t.Error("the second start made another CA")
		}
		ca = pem
		config := fetch(t, ca, "https://localhost:"+page+"/config.json")
		if len(config.Users) != 2 || len(config.Dial) != 3 {
			t.Errorf("the page is told %+v", config)
		}
		children := childrenOf(t, cmd.Process.Pid)
		if len(children) != 3 {
			t.Errorf("%d programs run, not 3", len(children))
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("Ctrl-C: %v\n%s", err, out)
		}
		for _, pid := range children {
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d outlives the demo", pid)
			}
		}
	}
}

// When one part dies the demo says which, and ends the others.
func TestDemoEndsWithItsParts(t *testing.T) {
	bin, dir := programs(t), filepath.Join(t.TempDir(), "var")
	cmd, out, _ := start(t, bin, dir)
	children := childrenOf(t, cmd.Process.Pid)
	if err := syscall.Kill(children[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the demo ends as if all were well")
	}
	if !strings.Contains(out.String(), "mediad ended") {
		t.Errorf("it does not say what happened:\n%s", out)
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d outlives the demo", pid)
		}
	}
}

type pageConfig struct {
	Users []struct{ User, Password string }
	Dial  []struct{ Number string }
}

func fetch(t *testing.T, ca []byte, url string) pageConfig {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var c pageConfig
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil {
		t.Fatalf("%s: %s: %v", url, res.Status, err)
	}
	return c
}

// childrenOf lists child processes, oldest first.
func childrenOf(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err == nil {
				pids = append(pids, child)
			}
		}
	}
	slices.Sort(pids) // started one after the other
	return pids
}
