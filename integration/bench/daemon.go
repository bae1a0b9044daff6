package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/integration/traffic"
)

// A candidate is a media daemon with the options that make it what it is.
type candidate struct {
	Name    string
	Program string
	Args    []string
	Kernel  bool // forwards in the kernel where it can
	Sockets bool // has a socket for each port: descriptors bound its calls
	Variant bool // of the one before: has a part in the first figure only
}

// base is who all are compared with.
const base = "rtpengine"

// candidates lists them; mediad is the path of our binary, before that of another one to compare with, if any.
func candidates(mediad, before string) []candidate {
	list := []candidate{
		{Name: base, Program: "rtpengine", Args: []string{"--table=-1", "--num-threads=2"}, Sockets: true},
		{Name: "sockets", Program: mediad, Args: []string{"--table=-1", "--engine=sockets"}, Sockets: true},
		{Name: "sockets, epoll", Program: mediad, Args: []string{"--table=-1", "--engine=sockets", "--io-uring=false"}, Sockets: true, Variant: true},
		{Name: "steer", Program: mediad, Args: []string{"--table=-1", "--engine=steer"}},
		{Name: "kernel", Program: mediad, Args: []string{"--engine=kernel"}, Kernel: true},
	}
	if before == "" {
		return list
	}
	for _, c := range list[1:] {
		c.Name, c.Program = c.Name+", before", before
		list = append(list, c)
	}
	return list
}

// args is the command line at a site, without the program.
func (c *candidate) args(s *site) []string {
	return append([]string{
		"--config-file=none", "-f", "-E", "-L", "3", "--interface=a/" + s.local[0], "--interface=b/" + s.local[1],
		"--listen-ng=" + ngAddress, "--port-min=10000", "--port-max=59999", "--delete-delay=0", "--timeout=7200", "--silent-timeout=7200",
	}, c.Args...)
}

// line is the command line as a reader would type it.
func (c *candidate) line(s *site) string {
	return filepath.Base(c.Program) + " " + strings.Join(c.args(s), " ")
}

// ngAddress is the same in each namespace.
const ngAddress = "127.0.0.1:2223"

// running is a daemon at its site.
type running struct {
	*harness.Process
	site *site
}

// start runs a candidate and waits until it answers. files bounds its file descriptors; 0 leaves them as they are.
func (c *candidate) start(s *site, dir string, files int) (*running, error) {
	path, err := exec.LookPath(c.Program)
	if err != nil {
		return nil, err
	}
	spec := harness.Spec{Name: c.Name, Path: path, Args: c.args(s), Dir: dir}
	if files > 0 {
		spec.Path, spec.Args = "sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(files), path}, spec.Args...)
	}
	p, err := s.daemon.Start(spec)
	if err != nil {
		return nil, err
	}
	r := &running{p, s}
	if err := p.Ready(func() error { return s.daemon.Do(pong) }); err != nil {
		_ = r.stop()
		return nil, err
	}
	return r, nil
}

// pong asks for a sign of life.
func pong() error {
	c, err := traffic.Dial(ngAddress)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Calls(1)
	return err
}

func (r *running) stop() error {
	if !r.Running() {
		return fmt.Errorf("%s has ended: %s", r.Name, r.Tail(2000))
	}
	err := r.Stop()
	time.Sleep(100 * time.Millisecond)
	return err
}
