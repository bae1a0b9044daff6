package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
	"github.com/tandem-sbc/tandem/integration/traffic"
)

// work is what a generator process can do with a daemon.
type work string

const (
	media  work = "media"  // calls with packets at some rates
	setUp  work = "set-up" // offer, answer, delete
	memory work = "memory" // resident memory at some numbers of calls
	crowd  work = "crowd"  // cost by number of calls
	churn  work = "churn"  // what many calls leave behind
)

// A job is one run of the generator with one daemon.
type job struct {
	Work work
	PID  int // of the daemon

	Kind                traffic.Kind
	Address, Interfaces [2]string
	Namespaces          [2]string // of the two legs; empty = that of the process
	Calls               int
	Steps               []int         // rates, commands in flight or numbers of calls
	Search              bool          // for the highest rate
	Ramp, Span, Learn   time.Duration // of each rate; Learn goes before the first
	Quiet               float64       // other load above which a step is noisy, in cores
	Repeats             int           // of noisy steps
}

// A sample is one measured step.
type sample struct {
	Figure, Daemon string
	Round          int
	X              float64            // step
	Values         map[string]float64 // by unit-bearing name, see report.go
	Other          float64            // load of the machine by others, in cores
	Noisy          bool               // although it was repeated
	Note           string             // why there is no value
}

// generator is the name of the generator's process.
const generator = "generate"

// run lets a generator process of its own do a job, so that its processor time can be told apart.
func (j *job) run(r *running, progress io.Writer) ([]sample, error) {
	s := r.site
	j.PID, j.Address, j.Interfaces = r.PID(), s.remote, [2]string{"a", "b"}
	for leg, peer := range s.peers {
		if peer != nil {
			j.Namespaces[leg] = peer.Name()
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	order, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("ip", "netns", "exec", s.daemon.Name(), self, generator, string(order))
	cmd.Env = append(os.Environ(), "GOGC=400")
	cmd.Stderr = progress
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w\n%s", r.Name, j.Work, err, r.Tail(1000))
	}
	var samples []sample
	if err := json.Unmarshal(out, &samples); err != nil {
		return nil, fmt.Errorf("%s: %s: %w: %q", r.Name, j.Work, err, out)
	}
	return samples, nil
}

// generate is the generator's process: it prints samples as JSON.
func generate(order string, out io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(order), &j); err != nil {
		return err
	}
	samples, err := j.do()
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(samples)
}

func (j *job) do() ([]sample, error) {
	switch j.Work {
	case media:
		return j.media()
	case setUp:
		return j.setUp()
	case memory:
		return j.memory()
	case crowd:
		return j.crowd()
	case churn:
		return j.churn()
	default:
		return nil, fmt.Errorf("no work called %q", j.Work)
	}
}

// parties is how the job's calls look.
func (j *job) parties() (traffic.Parties, error) {
	p := traffic.Parties{Kind: j.Kind, Interfaces: j.Interfaces}
	for leg, text := range j.Address {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return p, err
		}
		p.Address[leg] = addr
	}
	return p, nil
}

const (
	callsPerSocket = 8
	maxPairs       = 500 // of sockets
)

// open sets n calls up.
func (j *job) open(n int) (*traffic.Load, error) {
	p, err := j.parties()
	if err != nil {
		return nil, err
	}
	cfg := traffic.Config{Parties: p, Dial: traffic.To(ngAddress), Calls: n, Share: max(callsPerSocket, (n+maxPairs-1)/maxPairs)}
	if j.Kind == traffic.DTLS {
		cfg.Share = 1
	}
	var places [2]*harness.Namespace
	for leg, name := range j.Namespaces {
		if name == "" {
			continue
		}
		if places[leg], err = harness.OpenNamespace(name); err != nil {
			return nil, err
		}
		cfg.Place = func(leg int, f func() error) error { return places[leg].Do(f) }
	}
	return traffic.Open(cfg)
}

// binary builds our daemon with go build into dir.
func binary(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path, err := harness.Build(dir, "mediad")
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
