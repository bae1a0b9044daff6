//go:build integration

// Package dropin is the exam of the promise "stop rtpengine, start mediad, change
// nothing else": both daemons are started with the same command line in network
// namespaces with the same addresses, the same conversations are held with each,
// and what comes back (replies, SDP line by line, packets) has to be the same.
package dropin

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// programs is where the built mediad is.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "dropin"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programs)
		os.Exit(code)
	}))
}

// Addresses of each namespace: those of the daemon and those of the parties.
const (
	ours4, second4 = "203.0.113.1", "203.0.113.2"
	ours6, second6 = "2001:db8:4321::1", "2001:db8:4321::2"
	party4, other4 = "198.51.100.1", "198.51.100.3"
	party6, other6 = "2001:db8:1234::1", "2001:db8:1234::3"
	ngAddress      = ours4 + ":2223"
)

// A daemon is one program in a namespace of its own.
type daemon struct {
	name    string
	space   *harness.Namespace
	process *harness.Process
}

// A start is a way to start a daemon.
type start struct {
	options []string
	file    string // text of a configuration file, "" for none
}

// mediad is built once.
var mediad = sync.OnceValues(func() (string, error) { return harness.Build(programs, "mediad") })

var started struct {
	sync.Mutex
	count int
}

func startOne(t *testing.T, name, program string, s start) *daemon {
	t.Helper()
	started.Lock()
	started.count++
	space := fmt.Sprintf("drop%d-%d", os.Getpid()%100000, started.count)
	started.Unlock()
	n, err := harness.NewNamespace(space, ours4, second4, ours6, second6, party4, other4, party6, other6)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{name: name, space: n}
	dir := t.TempDir()
	options := append([]string(nil), s.options...)
	if s.file != "" {
		file := filepath.Join(dir, "rtpengine.conf")
		if err := os.WriteFile(file, []byte(s.file), 0o600); err != nil {
			t.Fatal(err)
		}
		options = append(options, "--config-file="+file)
	}
	d.process, err = n.Start(harness.Spec{Name: name, Path: program, Dir: dir, Args: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if keep := os.Getenv("EXAM_KEEP"); t.Failed() && keep != "" {
			if text, err := os.ReadFile(d.process.Log); err == nil {
				_ = os.WriteFile(filepath.Join(keep, space+"-"+name+".log"), text, 0o600)
			}
		}
		if err := d.process.Stop(); err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := d.process.Ready(d.ping); err != nil {
		t.Fatal(err)
	}
	return d
}

// dial opens a UDP socket of a client of the daemon's namespace.
func (d *daemon) dial(address string) (conn net.Conn, err error) {
	err = d.space.Do(func() error {
		conn, err = net.Dial("udp", address)
		return err
	})
	return conn, err
}

func (d *daemon) ping() error {
	conn, err := d.dial(ngAddress)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := conn.Write([]byte("p" + fmt.Sprint(time.Now().UnixNano()) + " d7:command4:pinge")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 100))
	return err
}
