package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// link carries whole SIP messages to and from the proxy.
type link interface {
	send(message []byte) error
	receive() (string, error)
	close()
}

// webLink is a WebSocket over TLS with as little memory as a generator of twenty thousand can do with.
type webLink struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex
}

const (
	opText, opClose, opPing, opPong = 0x1, 0x8, 0x9, 0xa
	handshakeTime                   = 20 * time.Second
)

// dialWeb connects from source; resumed tells whether the TLS session was.
func dialWeb(address, source string, config *tls.Config) (l *webLink, resumed bool, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: handshakeTime}
	raw, err := dialer.Dial("tcp4", address)
	if err != nil {
		return nil, false, err
	}
	_ = raw.SetDeadline(time.Now().Add(handshakeTime))
	conn := tls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		_ = raw.Close()
		return nil, false, fmt.Errorf("TLS: %w", err)
	}
	l = &webLink{conn: conn, in: bufio.NewReaderSize(conn, 1024)}
	if err := l.upgrade(address); err != nil {
		_ = raw.Close()
		return nil, false, err
	}
	_ = raw.SetDeadline(time.Time{})
	return l, conn.ConnectionState().DidResume, nil
}

func (l *webLink) upgrade(host string) error {
	if _, err := fmt.Fprintf(l.conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nOrigin: https://%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n", host, host); err != nil {
		return err
	}
	status, err := l.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("WebSocket handshake: %w", err)
	}
	if !strings.HasPrefix(status, "HTTP/1.1 101") {
		return fmt.Errorf("WebSocket handshake: %s", strings.TrimSpace(status))
	}
	for line := ""; line != "\r\n"; {
		if line, err = l.in.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

func (l *webLink) send(message []byte) error { return l.frame(opText, message) }

// frame writes one frame, masked by zeros.
func (l *webLink) frame(opcode byte, payload []byte) error {
	b := []byte{0x80 | opcode, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	if len(payload) > 125 {
		b = []byte{0x80 | opcode, 0x80 | 126, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(b[2:], uint16(len(payload)))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.conn.Write(append(b, payload...))
	return err
}

func (l *webLink) receive() (string, error) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(l.in, head[:]); err != nil {
			return "", err
		}
		length := int(head[1] & 0x7f)
		if length == 126 {
			var long [2]byte
			if _, err := io.ReadFull(l.in, long[:]); err != nil {
				return "", err
			}
			length = int(binary.BigEndian.Uint16(long[:]))
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(l.in, payload); err != nil {
			return "", err
		}
		switch head[0] & 0x0f {
		case opPing:
			if err := l.frame(opPong, payload); err != nil {
				return "", err
			}
		case opClose:
			return "", errors.New("closed by the proxy")
		case opText:
			return string(payload), nil
		}
	}
}

// close cuts the connection without a word, as a network does.
func (l *webLink) close() { _ = l.conn.(*tls.Conn).NetConn().Close() }

// phoneLink is UDP.
type phoneLink struct{ conn *net.UDPConn }

func dialPhone(address, source string) (*phoneLink, error) {
	remote, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)}, remote)
	return &phoneLink{conn}, err
}

func (l *phoneLink) send(message []byte) error {
	_, err := l.conn.Write(message)
	return err
}

func (l *phoneLink) receive() (string, error) {
	buf := make([]byte, 4096)
	n, err := l.conn.Read(buf)
	return string(buf[:n]), err
}

func (l *phoneLink) close() { _ = l.conn.Close() }
