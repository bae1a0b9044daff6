// Package harness starts the parts of an integration exam as processes: the
// signalling and media peers, plain phones and a headless browser. Each part
// keeps to loopback addresses of its own, logs to a file, tells when it is
// ready and is ended by its process id.
package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that a binary of an exam is not installed or not built.
var ErrMissing = errors.New("binary is missing (integration/install.sh installs the peers)")

// ErrSlow says that a process did not end when it was asked to, and was killed.
var ErrSlow = errors.New("did not end in time")

const (
	startLimit = 20 * time.Second
	stopLimit  = 10 * time.Second
	pollEvery  = 20 * time.Millisecond
)

// Spec says how to run one process.
type Spec struct {
	Name string   // for messages and the log file's name
	Path string   // absolute, or looked up in PATH and the sbin folders
	Args []string // without the program itself
	Dir  string   // working directory and place of the log
}

// Process is a running child and its log file.
type Process struct {
	Name string
	Log  string // path of what it printed, both outputs
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
	err  error         // valid after done
}

// Start runs spec in a process group of its own. The kernel kills it if this
// process dies, so that no exam leaves a peer behind.
func Start(spec Spec) (*Process, error) {
	path, err := find(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	if err := os.MkdirAll(spec.Dir, 0o755); err != nil {
		return nil, err
	}
	log := filepath.Join(spec.Dir, spec.Name+".log")
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(path, spec.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	p := &Process{Name: spec.Name, Log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id, also after the end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ready waits until check passes, and fails when the process ends before or
// startLimit is over; the error carries the end of the log.
func (p *Process) Ready(check func() error) error {
	deadline := time.Now().Add(startLimit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at start: %v\n%s", p.Name, p.err, p.Tail(2000))
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v: %w\n%s", p.Name, startLimit, err, p.Tail(2000))
		}
	}
}

// Running tells whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for a process that ends on its own, and returns its exit error.
func (p *Process) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s still runs after %v", p.Name, limit)
	}
}

// Stop asks the process to end (SIGTERM), kills its group if it does not, and
// waits. It reports a process that had ended on its own or had to be killed.
func (p *Process) Stop() error {
	if !p.Running() {
		return fmt.Errorf("%s had ended before: %v\n%s", p.Name, p.err, p.Tail(3000))
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopLimit):
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s, %v from SIGTERM: %w", p.Name, stopLimit, ErrSlow)
}

// Kill ends the process at once, without asking (SIGKILL), and waits.
func (p *Process) Kill() error {
	err := p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

// Tail is the last n bytes of the log.
func (p *Process) Tail(n int) string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	if len(text) > n {
		text = text[len(text)-n:]
	}
	return strings.TrimSpace(string(text))
}

// find looks a program up in PATH and in the sbin folders, which a plain user's
// PATH lacks.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}

// FreePort finds a port on host that is free for UDP and for TCP just now.
func FreePort(host string) (int, error) {
	for range 50 {
		tcp, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, err
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port is free for both UDP and TCP on %s", host)
}

// Eventually polls check until it passes or limit is over, and returns its last
// error.
func Eventually(limit time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(pollEvery) {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", limit, err)
		}
	}
}
