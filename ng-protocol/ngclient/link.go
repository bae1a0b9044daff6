package ngclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// link is one connected UDP socket and the commands that wait for replies on it.
type link struct {
	conn net.Conn

	mu      sync.Mutex
	waiting map[string]*waiter
	max     int
	closed  bool
}

// waiter is one command that waits. Its channels hold one value each, so that
// the reader never blocks.
type waiter struct {
	reply   chan []byte
	refused chan struct{}
}

var errLinkClosed = errors.New("ngclient: link closed")

func newLink(conn net.Conn, max int) *link {
	return &link{conn: conn, waiting: make(map[string]*waiter), max: max}
}

// roundTrip sends message, repeats it at each tick and returns the body of the
// reply with the same cookie.
func (l *link) roundTrip(ctx context.Context, cookie string, message []byte, tick <-chan time.Time, impatient bool) ([]byte, error) {
	w, err := l.enter(cookie)
	if err != nil {
		return nil, err
	}
	defer l.leave(cookie)
	refused := w.refused
	if !impatient {
		refused = nil
	}
	for {
		if err := l.write(message); err != nil {
			return nil, err
		}
		select {
		case reply, ok := <-w.reply:
			if !ok {
				return nil, errLinkClosed
			}
			return reply, nil
		case <-refused:
			return nil, ErrRefused
		case <-ctx.Done():
			return nil, ErrTimeout
		case <-tick:
		}
	}
}

// write sends one datagram. A closed port is reported by the next call on the
// socket; the datagram of that call was not sent, so send it again.
func (l *link) write(message []byte) error {
	_, err := l.conn.Write(message)
	if errors.Is(err, syscall.ECONNREFUSED) {
		l.refuse()
		_, err = l.conn.Write(message)
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = nil
		}
	}
	return err
}

// send sends a command whose reply nobody waits for.
func (l *link) send(cookie string, req *ng.Request, format ng.Format) {
	if body, err := ng.EncodeRequest(req, format); err == nil {
		_, _ = l.conn.Write(append([]byte(cookie+" "), body...))
	}
}

func (l *link) enter(cookie string) (*waiter, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, errLinkClosed
	case len(l.waiting) >= l.max:
		return nil, fmt.Errorf("%w: %d", ErrBusy, l.max)
	}
	w := &waiter{reply: make(chan []byte, 1), refused: make(chan struct{}, 1)}
	l.waiting[cookie] = w
	return w, nil
}

func (l *link) leave(cookie string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, cookie)
}

// read hands replies to those who wait until the link is closed. Replies with
// an unknown cookie (late or forged) are dropped.
func (l *link) read() {
	buf := make([]byte, ng.MaxSize+1)
	for {
		n, err := l.conn.Read(buf)
		switch {
		case err == nil:
			l.deliver(buf[:n])
		case errors.Is(err, syscall.ECONNREFUSED):
			l.refuse()
		default:
			l.close()
			return
		}
	}
}

func (l *link) deliver(message []byte) {
	cookie, body, err := ng.SplitCookie(message)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.waiting[string(cookie)]
	if w == nil || l.closed {
		return
	}
	select {
	case w.reply <- append([]byte(nil), body...):
	default: // a second reply to a repeated command
	}
}

// refuse tells all who wait that the port is closed. Who listens decides.
func (l *link) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiting {
		select {
		case w.refused <- struct{}{}:
		default:
		}
	}
}

// close wakes all who wait.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, w := range l.waiting {
		close(w.reply)
	}
	l.conn.Close()
}
