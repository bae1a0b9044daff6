package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// readyVariable names, in the environment of a daemon in the background, the
// file descriptor by which it tells that it has started.
const readyVariable = "MEDIAD_READY_FD"

// firstExtraFile is the descriptor of the first of exec.Cmd.ExtraFiles.
const firstExtraFile = 3

// readyWord is what a daemon tells.
const readyWord = "ready\n"

// InBackground reports whether this process was started by Background.
func InBackground() bool { return os.Getenv(readyVariable) != "" }

// Background starts this program again with the arguments args, detached from
// the terminal, and waits until it has started. It returns the exit code for
// this process: 0, or that of the daemon if it has ended before. (A process of
// Go cannot fork; it can only be started again.)
func Background(args []string) (int, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("going to the background: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("going to the background: %w", err)
	}
	defer r.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), readyVariable+"="+strconv.Itoa(firstExtraFile))
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 0, fmt.Errorf("going to the background: %w", err)
	}
	word, err := io.ReadAll(io.LimitReader(r, int64(len(readyWord))))
	if err == nil && string(word) == readyWord {
		return 0, cmd.Process.Release()
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil // it has told why
	}
	return 0, fmt.Errorf("the daemon has ended before it was ready: %w", err)
}

// tellReady tells whoever waits that the daemon has started: the process that
// has put it into the background, and the service manager.
func tellReady(keepStderr bool) error {
	notify("READY=1")
	text := os.Getenv(readyVariable)
	if text == "" {
		return nil
	}
	_ = os.Unsetenv(readyVariable)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s: %w", readyVariable, err)
	}
	w := os.NewFile(uintptr(fd), "ready")
	if w == nil {
		return fmt.Errorf("%s: no file descriptor", readyVariable)
	}
	_, err = w.WriteString(readyWord)
	return errors.Join(err, w.Close(), detach(keepStderr))
}

// detach lets go of the terminal. Standard error stays if the log goes there.
func detach(keepStderr bool) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if f == os.Stderr && keepStderr {
			continue
		}
		if err := syscall.Dup3(int(null.Fd()), int(f.Fd()), 0); err != nil {
			return err
		}
	}
	return nil
}
