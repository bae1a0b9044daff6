package harness

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestProcessLifetime(t *testing.T) {
	p, err := Start(Spec{Name: "talker", Path: "sh", Dir: t.TempDir(), Args: []string{"-c", "echo ready; exec sleep 60"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Ready(func() error {
		if !strings.Contains(p.Tail(100), "ready") {
			return errors.New("it has not said so")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if p.Running() {
		t.Error("running after Stop")
	}
}

func TestProcessThatDies(t *testing.T) {
	p, err := Start(Spec{Name: "quitter", Path: "sh", Dir: t.TempDir(), Args: []string{"-c", "echo no reason; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ready(func() error { return errors.New("never") })
	if err == nil || !strings.Contains(err.Error(), "no reason") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a process that died at its start: %v", err)
	}
	if err := p.Stop(); err == nil {
		t.Error("Stop did not tell that the process had died")
	}
}

func TestMissingBinary(t *testing.T) {
	_, err := Start(Spec{Name: "nothing", Path: "no-such-program-here", Dir: t.TempDir()})
	if !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want ErrMissing", err)
	}
}

func TestUDPPorts(t *testing.T) {
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := socket.LocalAddr().(*net.UDPAddr).Port
	ports, err := UDPPorts(os.Getpid(), port, port)
	if err != nil || len(ports) != 1 || ports[0] != port {
		t.Errorf("ports %v, %v; want [%d]", ports, err, port)
	}
	if err := socket.Close(); err != nil {
		t.Fatal(err)
	}
	if ports, err = UDPPorts(os.Getpid(), port, port); err != nil || len(ports) != 0 {
		t.Errorf("after close: ports %v, %v", ports, err)
	}
}

func TestEventually(t *testing.T) {
	tries := 0
	err := Eventually(time.Second, func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	if err := Eventually(50*time.Millisecond, func() error { return errors.New("never") }); err == nil {
		t.Error("no error after the limit")
	}
}
