package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/integration/traffic"
)

// Addresses in the namespace of a measurement.
const (
	proxyHost  = "127.0.0.1"
	callerHost = "127.0.0.2"
	calleeHost = "127.0.0.3"
	sipPort    = "5060"
	password   = "bench"
)

// base is who is compared with.
const base = "kamailio"

// A candidate is a proxy with the configuration that makes it do the job.
type candidate struct {
	name, program string
	prepare       func(dir string) (args []string, err error)
}

func candidates(folder, proxy string, users int) []candidate {
	return []candidate{
		{base, "kamailio", func(dir string) ([]string, error) {
			return []string{"-f", filepath.Join(folder, "kamailio.cfg"), "-l", "udp:" + proxyHost + ":" + sipPort, "-DD", "-E", "-m", "512", "-M", "16", "-Y", dir}, nil
		}},
		{"proxy", proxy, func(dir string) ([]string, error) {
			config, err := os.ReadFile(filepath.Join(folder, "proxy.yaml"))
			if err != nil {
				return nil, err
			}
			var b strings.Builder
			b.Write(config)
			b.WriteString("users:\n  - {name: callee, password: " + password + "}\n")
			for i := range users {
				fmt.Fprintf(&b, "  - {name: user%d, password: %s}\n", i, password)
			}
			file := filepath.Join(dir, "proxy.yaml")
			return []string{"-config", file}, os.WriteFile(file, []byte(b.String()), 0o600)
		}},
	}
}

// start runs a candidate in a namespace and waits until it answers.
func (c candidate) start(n *harness.Namespace, dir string) (*harness.Process, error) {
	args, err := c.prepare(dir)
	if err != nil {
		return nil, err
	}
	p, err := n.Start(harness.Spec{Name: c.name, Path: c.program, Args: args, Dir: dir})
	if err != nil {
		return nil, err
	}
	listening := func() error {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/udp", p.PID()))
		if err == nil && !strings.Contains(string(text), "0100007F:13C4") {
			err = fmt.Errorf("nothing listens at %s:%s", proxyHost, sipPort)
		}
		return err
	}
	if err := p.Ready(listening); err != nil {
		return nil, err
	}
	time.Sleep(time.Second) // Kamailio's workers start one by one
	return p, nil
}

// cpu is the processor time of a process and of all that it has started.
func cpu(pid int) (time.Duration, error) {
	sum, err := traffic.CPU(pid)
	if err != nil {
		return 0, err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue // the thread has ended meanwhile
		}
		for _, field := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return 0, err
			}
			more, err := cpu(child)
			if err != nil {
				return 0, err
			}
			sum += more
		}
	}
	return sum, nil
}
