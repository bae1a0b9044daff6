package secure

import (
	"crypto/tls"

	"github.com/pion/logging"
)

type tlsCertificate = tls.Certificate

// peerAddr stands for the peer where pion wants an address: a View is written to by function, wherever the peer is by then.
type peerAddr struct{}

func (peerAddr) Network() string { return "udp" }
func (peerAddr) String() string  { return "peer" }

// silence is a logger factory whose loggers say nothing.
type silence struct{}

func (silence) NewLogger(string) logging.LeveledLogger { return mute{} }

type mute struct{}

func (mute) Trace(string)          {}
func (mute) Tracef(string, ...any) {}
func (mute) Debug(string)          {}
func (mute) Debugf(string, ...any) {}
func (mute) Info(string)           {}
func (mute) Infof(string, ...any)  {}
func (mute) Warn(string)           {}
func (mute) Warnf(string, ...any)  {}
func (mute) Error(string)          {}
func (mute) Errorf(string, ...any) {}
