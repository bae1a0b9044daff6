package harness

import (
	"fmt"
	"net"
	"strconv"
)

// Media is a running media daemon, rtpengine or mediad: they take the same
// options, which is the point.
type Media struct {
	*Process
	NG
	Host     string // address of its media ports
	Low, Top int    // range of its media ports

	atStart []int // ports in that range that are not for media
}

// mediaPorts is how many media ports one daemon of an exam gets.
const mediaPorts = 400

// StartMedia runs program (a name in PATH or a path) on host.
func StartMedia(program, name, host, dir string) (*Media, error) {
	port, err := FreePort(host)
	if err != nil {
		return nil, err
	}
	m := &Media{NG: NG{Address: net.JoinHostPort(host, strconv.Itoa(port))}, Host: host, Low: 30000}
	m.Top = m.Low + mediaPorts - 1
	m.Process, err = Start(Spec{Name: name, Path: program, Dir: dir, Args: []string{
		"--config-file=none", "--table=-1", "--foreground", "--log-stderr", "--log-level=6",
		"--interface=" + host, "--listen-ng=" + m.Address,
		fmt.Sprintf("--port-min=%d", m.Low), fmt.Sprintf("--port-max=%d", m.Top),
		"--delete-delay=0",
	}})
	if err != nil {
		return nil, err
	}
	if err := m.Ready(m.Ping); err != nil {
		return nil, m.fail(err)
	}
	if m.atStart, err = UDPPorts(m.PID(), m.Low, m.Top); err != nil {
		return nil, m.fail(err)
	}
	return m, nil
}

// fail ends the process and returns err, for a start that did not work.
func (p *Process) fail(err error) error {
	if p.Running() {
		_ = p.Stop()
	}
	return err
}

// Busy returns an error unless the daemon has a call and sockets for it. Without
// it a daemon that never took part would pass Idle.
func (m *Media) Busy() error {
	calls, err := m.Calls()
	if err != nil {
		return err
	}
	ports, err := m.ports()
	if err != nil {
		return err
	}
	if len(calls) == 0 || ports == 0 {
		return fmt.Errorf("%s has %d calls and %d media ports in the middle of a call", m.Name, len(calls), ports)
	}
	return nil
}

// ports is how many media ports the daemon holds: sockets in its range or, where
// an engine of mediad does without, what its statistics say.
func (m *Media) ports() (int, error) {
	sockets, err := MediaSockets(m.PID(), m.Low, m.Top, m.atStart)
	if err != nil || len(sockets) > 0 || m.Name == "rtpengine" {
		return len(sockets), err
	}
	return m.PortsInUse()
}

// Idle returns an error that names what the daemon still holds: calls, or UDP
// sockets in its media range.
func (m *Media) Idle() error {
	calls, err := m.Calls()
	if err != nil {
		return err
	}
	if len(calls) > 0 {
		return fmt.Errorf("%s still has calls %v", m.Name, calls)
	}
	ports, err := m.ports()
	if err != nil {
		return err
	}
	if ports > 0 {
		return fmt.Errorf("%s still holds %d media ports", m.Name, ports)
	}
	return nil
}
