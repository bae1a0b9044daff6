package conformance

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrSilent means that a daemon that was started does not answer.
var ErrSilent = errors.New("conformance: the daemon does not answer")

const (
	startTime = 10 * time.Second // until a daemon answers its first ping
	stopTime  = 5 * time.Second  // from SIGTERM to SIGKILL
	mediaSpan = 2000             // media ports of a daemon
)

// Daemon is a media daemon that was started to be examined.
type Daemon struct {
	Target  string            // of its UDP listener
	Targets map[string]string // by transport: udp, tcp, http, http-plain, ws
	command *exec.Cmd
	ended   chan error // its exit; closed afterwards
}

// Start runs a program that takes rtpengine's options with those that the
// scenarios expect (README.md) on free ports, and waits until it answers. Its
// output goes to log.
func Start(program string, log io.Writer) (*Daemon, error) {
	udp, err := freePort("udp")
	if err != nil {
		return nil, err
	}
	tcp, err := freePort("tcp")
	if err != nil {
		return nil, err
	}
	http, err := freePort("tcp")
	if err != nil {
		return nil, err
	}
	low := 30000 + rand.IntN(14)*mediaSpan
	d := &Daemon{
		Target: "udp:" + udp,
		Targets: map[string]string{
			"udp": "udp:" + udp, "tcp": "tcp:" + tcp, "http": "http://" + http + "/ng",
			"http-plain": "http://" + http + "/ng-plain", "ws": "ws://" + http + "/",
		},
		command: exec.Command(program, "--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=5",
			"--interface=pub/127.0.0.1", "--interface=pub/::1", "--interface=priv/127.0.0.2",
			"--listen-ng="+udp, "--listen-tcp-ng="+tcp, "--listen-http="+http, "--delete-delay=0",
			"--port-min="+strconv.Itoa(low), "--port-max="+strconv.Itoa(low+mediaSpan-1)),
		ended: make(chan error, 1),
	}
	d.command.Stdout, d.command.Stderr = log, log
	d.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // it does not outlive an examiner who is killed
	if err := d.command.Start(); err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	// A daemon that crashes would leave its core in the working directory.
	_ = unix.Prlimit(d.command.Process.Pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	go func() {
		d.ended <- d.command.Wait()
		close(d.ended)
	}()
	if err := d.await(); err != nil {
		d.Stop()
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return d, nil
}

// await pings until the daemon answers.
func (d *Daemon) await() error {
	ping := Scenario{Steps: []Step{{Kind: Ask, Command: "ping", Want: &Want{Result: "pong"}}}}
	for until := time.Now().Add(startTime); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-d.ended:
			return fmt.Errorf("%w: it has ended: %w", ErrSilent, err)
		default:
		}
		if Check(Runner{Target: d.Target}, ping, nil).Passed() {
			return nil
		}
	}
	return ErrSilent
}

// Stop ends the daemon and waits for it.
func (d *Daemon) Stop() {
	_ = d.command.Process.Signal(syscall.SIGTERM) // fails if it has ended already
	select {
	case <-d.ended:
	case <-time.After(stopTime):
		_ = d.command.Process.Kill()
		<-d.ended
	}
}

// freePort asks the kernel for a port of 127.0.0.1 that nobody uses now.
func freePort(network string) (string, error) {
	if strings.HasPrefix(network, "udp") {
		conn, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		return conn.LocalAddr().String(), conn.Close()
	}
	listener, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
