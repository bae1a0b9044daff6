package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Browser is a headless Chromium behind the driver in integration/browser.
type Browser struct {
	Version string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	log     *os.File
	done    chan struct{} // closed when the driver's output has ended

	mu      sync.Mutex // guards what follows and writes to stdin
	next    int
	waiting map[int]chan answer
}

type answer struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

var errBrowserGone = errors.New("the browser driver has ended")

// commandLimit is how long one command to a page may take.
const commandLimit = 20 * time.Second

// StartBrowser starts the driver found in folder; its log goes to dir.
func StartBrowser(folder, dir string) (*Browser, error) { return startBrowser(folder, dir) }

// StartBrowser starts the driver inside the namespace.
func (n *Namespace) StartBrowser(folder, dir string) (*Browser, error) {
	return startBrowser(folder, dir, "ip", "netns", "exec", n.name)
}

func startBrowser(folder, dir string, prefix ...string) (*Browser, error) {
	node, err := find("node")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "playwright-core")); err != nil {
		return nil, fmt.Errorf("integration/browser/node_modules: %w", ErrMissing)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	b := &Browser{waiting: map[int]chan answer{0: make(chan answer, 1)}, done: make(chan struct{})}
	if b.log, err = os.Create(filepath.Join(dir, "browser.log")); err != nil {
		return nil, err
	}
	args := append(prefix, node, "run.mjs")
	b.cmd = exec.Command(args[0], args[1:]...)
	b.cmd.Dir, b.cmd.Stderr = folder, b.log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	started := b.waiting[0]
	go b.receive(stdout)
	version, err := b.await(started, 0, "start")
	if err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	return b, json.Unmarshal(version, &b.Version)
}

func (b *Browser) receive(stdout io.Reader) {
	defer close(b.done)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 16<<20) // the messages of a whole call come in one line
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			fmt.Fprintf(b.log, "driver printed %q\n", lines.Text())
			continue
		}
		b.mu.Lock()
		if waiter := b.waiting[a.ID]; waiter != nil {
			waiter <- a
			delete(b.waiting, a.ID)
		}
		b.mu.Unlock()
	}
}

// Do runs one command on a page and decodes its value into result (unless nil).
func (b *Browser) Do(page, do string, with, result any) error {
	b.mu.Lock()
	b.next++
	id := b.next
	waiter := make(chan answer, 1)
	b.waiting[id] = waiter
	line, err := json.Marshal(map[string]any{"id": id, "page": page, "do": do, "with": with})
	if err == nil {
		_, err = b.stdin.Write(append(line, '\n'))
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	value, err := b.await(waiter, id, do)
	if err != nil {
		return fmt.Errorf("page %s: %w", page, err)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(value, result)
}

func (b *Browser) await(waiter chan answer, id int, do string) (json.RawMessage, error) {
	select {
	case a := <-waiter:
		if a.Error != "" {
			return nil, fmt.Errorf("%s: %s", do, a.Error)
		}
		return a.Value, nil
	case <-b.done:
		return nil, fmt.Errorf("%s: %w", do, errBrowserGone)
	case <-time.After(commandLimit):
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
		return nil, fmt.Errorf("%s: no answer within %v", do, commandLimit)
	}
}

// Stop closes Chromium and waits for the driver to end.
func (b *Browser) Stop() error {
	defer b.log.Close()
	_ = b.stdin.Close()
	select {
	case <-b.done:
	case <-time.After(stopLimit):
		_ = b.cmd.Process.Kill()
		<-b.done
	}
	return b.cmd.Wait()
}
