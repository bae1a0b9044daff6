package ngserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Datagrams serves another protocol over UDP: one datagram is answered with at
// most one, from the address that it was sent to. Make it with NewDatagrams,
// then Start, then Close.
type Datagrams struct {
	cfg     DatagramsConfig
	faults  limitedLog
	sockets []*socket
	ctx     context.Context
	cancel  context.CancelFunc
	stop    sync.Once
}

// DatagramsConfig configures Datagrams. Handle and Listen are required.
type DatagramsConfig struct {
	Listen []netip.AddrPort
	// Handle answers a datagram, which is valid during the call only; nil =
	// no answer. Those of one address come one after the other.
	Handle func(ctx context.Context, data []byte, client netip.AddrPort) []byte
	// Allow, if set, tells which clients may send; others are dropped unread.
	Allow func(netip.AddrPort) bool
	Log   *slog.Logger // nil discards
	TOS   int          // of answers; 0 leaves the system's
}

// NewDatagrams binds the sockets. They queue datagrams until Start.
func NewDatagrams(cfg DatagramsConfig) (*Datagrams, error) {
	if cfg.Handle == nil || len(cfg.Listen) == 0 {
		return nil, errors.New("ngserver: no handler or no address")
	}
	d := &Datagrams{cfg: cfg}
	d.faults.log = cfg.Log
	if d.faults.log == nil {
		d.faults.log = slog.New(slog.DiscardHandler)
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for _, addr := range cfg.Listen {
		sock, err := listen(addr, cfg.TOS)
		if err != nil {
			_ = d.Close()
			return nil, fmt.Errorf("%s: %w", addr, err)
		}
		d.sockets = append(d.sockets, sock)
	}
	return d, nil
}

// Addrs are the bound addresses, with the ports that were chosen for port 0.
func (d *Datagrams) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(d.sockets))
	for i, sock := range d.sockets {
		addrs[i] = sock.local
	}
	return addrs
}

// Start begins to serve.
func (d *Datagrams) Start() {
	for _, sock := range d.sockets {
		sock.readers.Go(func() { d.read(sock) })
	}
}

// Close waits for what is being answered and closes the sockets.
func (d *Datagrams) Close() error {
	d.stop.Do(func() {
		d.cancel()
		for _, sock := range d.sockets {
			sock.stopReading()
			sock.readers.Wait()
			sock.close()
		}
	})
	return nil
}

func (d *Datagrams) read(sock *socket) {
	in := newBatch(sock)
	for {
		n, err := in.receive()
		switch {
		case errors.Is(err, net.ErrClosed) || d.ctx.Err() != nil:
			return
		case err != nil:
			d.faults.warn("receive failed", slog.Any("error", err))
			time.Sleep(time.Millisecond) // a lasting fault must not spin
			continue
		}
		for i := range n {
			data, peer := in.datagram(i)
			d.datagram(data, peer)
		}
	}
}

// datagram answers one datagram; data is valid during the call only.
func (d *Datagrams) datagram(data []byte, peer destination) {
	if d.cfg.Allow != nil && !d.cfg.Allow(peer.addr) {
		d.faults.warn("client not allowed", slog.String("peer", peer.String()))
		return
	}
	answer := d.cfg.Handle(d.ctx, data, peer.addr)
	if len(answer) == 0 {
		return
	}
	if err := peer.deliver(answer); err != nil {
		d.faults.warn("answer not sent", slog.Any("error", err), slog.String("peer", peer.String()))
	}
}
