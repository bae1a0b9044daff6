package traffic

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

const (
	replyTime = 2 * time.Second // before a command is repeated
	tries     = 5
)

var (
	// ErrSilent says that the daemon has not answered a command, repeats included.
	ErrSilent = errors.New("traffic: no reply")
	// ErrRefused says that the daemon has answered with an error.
	ErrRefused = errors.New("traffic: refused")
)

// Control sends ng commands, one at a time, from a socket of its own.
type Control struct {
	conn   net.Conn
	prefix string
	count  int
	buf    []byte
}

// Dial makes a socket towards the ng address of a daemon, host:port.
func Dial(address string) (*Control, error) {
	conn, err := net.Dial("udp", address)
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	prefix := port + strconv.FormatInt(time.Now().UnixNano(), 36)
	return &Control{conn: conn, prefix: prefix, buf: make([]byte, ng.MaxSize)}, nil
}

// Close ends the socket.
func (c *Control) Close() error { return c.conn.Close() }

// Do sends a command and waits for its reply. The error wraps ErrSilent or ErrRefused.
func (c *Control) Do(req *ng.Request) (ng.Reply, error) {
	body, err := ng.EncodeRequest(req, ng.FormatBencode)
	if err != nil {
		return nil, err
	}
	c.count++
	cookie := c.prefix + "-" + strconv.Itoa(c.count)
	message := append([]byte(cookie+" "), body...)
	for range tries {
		if _, err := c.conn.Write(message); err != nil {
			return nil, fmt.Errorf("traffic: %s: %w", req.Command, err)
		}
		reply, err := c.await(cookie)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("traffic: %s: %w", req.Command, err)
		}
		decoded, err := ng.DecodeReply(req.Command, reply)
		if err != nil {
			return nil, fmt.Errorf("traffic: %s: %w", req.Command, err)
		}
		if f, failed := decoded.(*ng.Failure); failed {
			return nil, fmt.Errorf("%w: %s: %s", ErrRefused, req.Command, f.Reason)
		}
		return decoded, nil
	}
	return nil, fmt.Errorf("%w to %s", ErrSilent, req.Command)
}

func (c *Control) await(cookie string) ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(replyTime)); err != nil {
		return nil, err
	}
	for {
		n, err := c.conn.Read(c.buf)
		if err != nil {
			return nil, err
		}
		if got, body, err := ng.SplitCookie(c.buf[:n]); err == nil && string(got) == cookie {
			return body, nil
		}
	}
}

// Calls returns how many calls the daemon says it has, at most limit.
func (c *Control) Calls(limit int) (int, error) {
	reply, err := c.Do(&ng.Request{Command: ng.CommandList, Limit: &limit})
	if err != nil {
		return 0, err
	}
	list, ok := reply.(*ng.ListReply)
	if !ok {
		return 0, fmt.Errorf("%w: list: %T", ErrRefused, reply)
	}
	return len(list.Calls), nil
}

// Dialer makes a Control.
type Dialer func() (*Control, error)

// To is the Dialer of an ng address.
func To(address string) Dialer { return func() (*Control, error) { return Dial(address) } }

// each runs f for 0 … n-1 with a number of controls at a time, and returns the first error.
func each(dial Dialer, inFlight, n int, f func(c *Control, i int) error) error {
	var next atomic.Int64
	errs := make(chan error, inFlight)
	for range inFlight {
		go func() {
			c, err := dial()
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					errs <- nil
					return
				}
				if err := f(c, i); err != nil {
					next.Store(int64(n))
					errs <- err
					return
				}
			}
		}()
	}
	var first error
	for range inFlight {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
