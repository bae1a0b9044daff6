//go:build integration

package nodes

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

const (
	packetEvery = 20 * time.Millisecond
	eventType   = 101 // of telephone events
)

// A phone is a plain SIP user agent over UDP with many lines. It takes what RFC 3261 and RFC 3264 say about order literally:
// requests of a dialog whose CSeq does not rise, and descriptions that change under the same version, are faults.
type phone struct {
	t     *testing.T
	conn  *net.UDPConn
	proxy *net.UDPAddr

	mu     sync.Mutex
	lines  map[string]*line // by Call-ID
	faults []string
	glare  atomic.Int32 // so many re-INVITEs are answered 491
	wg     sync.WaitGroup
}

// line is one call of a phone.
type line struct {
	p         *phone
	callID    string
	tag       string
	rtp       *net.UDPConn
	remote    atomic.Pointer[netip.AddrPort]
	last      atomic.Int64 // when the last packet came from remote, Unix ns
	version   int
	stop      chan struct{}
	final     chan *sip.Response
	confirmed chan struct{}

	// guarded by p.mu
	in, out          uint32 // CSeq
	from, to, target string
	routes           []string
	said             string // the last description of the peer
	reinvites        int
	infos            []string // bodies of INFO
	events           []byte   // codes of telephone events that have ended, once each
	eventAt          uint32   // timestamp of the last one
	ended            bool
}

func newPhone(t *testing.T, address, proxy string) *phone {
	t.Helper()
	local, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, lines: make(map[string]*line)}
	if p.conn, err = net.ListenUDP("udp", local); err != nil {
		t.Fatal(err)
	}
	_ = p.conn.SetReadBuffer(1 << 20)
	if p.proxy, err = net.ResolveUDPAddr("udp", proxy); err != nil {
		t.Fatal(err)
	}
	p.wg.Go(p.read)
	t.Cleanup(func() {
		p.mu.Lock()
		for _, l := range p.lines {
			l.close()
		}
		p.mu.Unlock()
		p.conn.Close()
		p.wg.Wait()
	})
	return p
}

func (p *phone) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// newLine opens a line with its RTP socket; the lock is held.
func (p *phone) newLine(callID, tag string) *line {
	host := p.conn.LocalAddr().(*net.UDPAddr).IP
	rtp, err := net.ListenUDP("udp", &net.UDPAddr{IP: host})
	if err != nil {
		p.fault("%v", err)
		return nil
	}
	l := &line{p: p, callID: callID, tag: tag, rtp: rtp, stop: make(chan struct{}), final: make(chan *sip.Response, 4), confirmed: make(chan struct{}, 1)}
	p.lines[callID] = l
	p.wg.Go(l.hear)
	p.wg.Go(l.speak)
	return l
}

func (l *line) close() {
	if !l.ended {
		l.ended = true
		close(l.stop)
		l.rtp.Close()
	}
}

func (l *line) hear() {
	buf := make([]byte, 2048)
	for {
		n, from, err := l.rtp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if remote := l.remote.Load(); n >= 12 && remote != nil && from == *remote {
			l.last.Store(time.Now().UnixNano())
			l.event(buf[:n])
		}
	}
}

// event notes the first end packet of a telephone event (RFC 4733).
func (l *line) event(pkt []byte) {
	if pkt[1]&0x7f != eventType || len(pkt) != 16 || pkt[13]&0x80 == 0 {
		return
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if at := binary.BigEndian.Uint32(pkt[4:]); len(l.events) == 0 || at != l.eventAt {
		l.events, l.eventAt = append(l.events, pkt[12]), at
	}
}

// press sends a telephone event of 160 ms, as phones do: beside the sound.
func (l *line) press(code byte) {
	to := *l.remote.Load()
	for i := range 11 {
		pkt := make([]byte, 16)
		pkt[0], pkt[1] = 0x80, eventType
		if i == 0 {
			pkt[1] |= 0x80
		}
		binary.BigEndian.PutUint16(pkt[2:], uint16(60000+i))
		binary.BigEndian.PutUint32(pkt[4:], 0x70000000)
		copy(pkt[8:12], l.tag)
		pkt[12], pkt[13] = code, 10
		if i >= 8 {
			pkt[13] |= 0x80
		}
		binary.BigEndian.PutUint16(pkt[14:], uint16(min(i+1, 8)*160))
		_, _ = l.rtp.WriteToUDPAddrPort(pkt, to)
		time.Sleep(packetEvery)
	}
}

func (l *line) speak() {
	tick := time.NewTicker(packetEvery)
	defer tick.Stop()
	pkt := make([]byte, 172)
	pkt[0] = 0x80
	copy(pkt[8:12], l.tag)
	for seq := uint16(0); ; seq++ {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		binary.BigEndian.PutUint16(pkt[2:], seq)
		binary.BigEndian.PutUint32(pkt[4:], uint32(seq)*160)
		if to := l.remote.Load(); to != nil {
			_, _ = l.rtp.WriteToUDPAddrPort(pkt, *to)
		}
	}
}

// describe is a new description of the line's media.
func (l *line) describe() string {
	l.version++
	addr := l.rtp.LocalAddr().(*net.UDPAddr)
	return fmt.Sprintf("v=0\r\no=phone %d %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\n"+
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n", addr.Port, l.version, addr.IP, addr.IP, addr.Port)
}

// hears takes a description of the peer; the lock is held.
func (l *line) hears(sdp string) {
	var ip, port string
	for s := range strings.Lines(sdp) {
		f := strings.Fields(s)
		switch {
		case strings.HasPrefix(s, "c=") && len(f) == 3:
			ip = f[2]
		case strings.HasPrefix(s, "m=") && len(f) > 2:
			port = f[1]
		}
	}
	remote, err := netip.ParseAddrPort(net.JoinHostPort(ip, port))
	if err != nil {
		l.p.fault("%s: description without address:\n%s", l.callID, sdp)
		return
	}
	was, is := origin(l.said), origin(sdp)
	if l.said != "" && l.said != sdp && (was[0] != is[0] || was[1] >= is[1]) {
		l.p.fault("%s: description changed, but its origin went from %s to %s", l.callID, was, is)
	}
	l.said = sdp
	l.remote.Store(&remote)
}

// origin is user and id, and version, of a description.
func origin(sdp string) [2]string {
	_, rest, _ := strings.Cut(sdp, "o=")
	f := strings.Fields(rest)
	if len(f) < 3 {
		return [2]string{}
	}
	return [2]string{f[0] + " " + f[1], fmt.Sprintf("%020s", f[2])}
}

func (p *phone) read() {
	buf := make([]byte, 65536)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		msg, err := sip.ParseMessage(bytes.Clone(buf[:n]))
		if err != nil {
			continue
		}
		p.mu.Lock()
		switch m := msg.(type) {
		case *sip.Request:
			p.request(m)
		case *sip.Response:
			l := p.lines[m.CallID().Value()]
			if l != nil && m.StatusCode >= 200 && !l.ended {
				select {
				case l.final <- m:
				default:
				}
			}
		}
		p.mu.Unlock()
	}
}

func (p *phone) request(r *sip.Request) {
	l := p.lines[r.CallID().Value()]
	seq := r.CSeq().SeqNo
	switch {
	case r.Method == sip.ACK:
		if l != nil {
			if seq != l.in {
				p.fault("%s: ACK %d for INVITE %d", l.callID, seq, l.in)
			}
			select {
			case l.confirmed <- struct{}{}:
			default:
			}
		}
		return
	case l == nil && r.Method == sip.INVITE && !strings.Contains(r.To().Value(), "tag="):
		if l = p.newLine(r.CallID().Value(), sip.GenerateTagN(8)); l == nil {
			return
		}
		l.from, l.to, l.target = r.To().Value()+";tag="+l.tag, r.From().Value(), r.Contact().Address.String()
		for _, h := range r.GetHeaders("Record-Route") {
			l.routes = append(l.routes, h.Value())
		}
	case l == nil:
		p.answer(r, 481, "Gone", "")
		return
	case seq == l.in:
		return // a repetition; its answer is on its way
	case seq < l.in:
		p.fault("%s: %s with CSeq %d after %d", l.callID, r.Method, seq, l.in)
		p.answer(r, 500, "CSeq", "")
		return
	default:
		l.reinvites++
	}
	l.in = seq
	switch r.Method {
	case sip.INVITE:
		if l.reinvites > 0 && p.glare.Add(-1) >= 0 {
			l.reinvites--
			p.answer(r, 491, "Request Pending", "")
			return
		}
		l.hears(string(r.Body()))
		p.answer(r, 200, "OK", l.describe())
	case sip.BYE:
		p.answer(r, 200, "OK", "")
		l.close()
	case sip.INFO:
		l.infos = append(l.infos, string(r.Body()))
		p.answer(r, 200, "OK", "")
	default:
		p.answer(r, 200, "OK", "")
	}
}

func (p *phone) answer(r *sip.Request, code int, reason, sdp string) {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", code, reason)
	for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
		for _, h := range r.GetHeaders(name) {
			v := h.Value()
			if l := p.lines[r.CallID().Value()]; name == "To" && l != nil && !strings.Contains(v, "tag=") {
				v += ";tag=" + l.tag
			}
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	p.finish(&b, sdp)
}

func (p *phone) finish(b *strings.Builder, sdp string) {
	fmt.Fprintf(b, "Contact: <sip:phone@%s>\r\n", p.conn.LocalAddr())
	if sdp != "" {
		kind := "application/sdp"
		if strings.HasPrefix(sdp, "Signal=") {
			kind = "application/dtmf-relay"
		}
		b.WriteString("Content-Type: " + kind + "\r\n")
	}
	fmt.Fprintf(b, "Content-Length: %d\r\n\r\n%s", len(sdp), sdp)
	_, _ = p.conn.WriteToUDP([]byte(b.String()), p.proxy)
}

// send sends a request of the line; the lock is held.
func (l *line) send(method string, seq uint32, sdp string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n", method, l.target, l.p.conn.LocalAddr(), sip.GenerateTagN(12))
	for _, r := range l.routes {
		fmt.Fprintf(&b, "Route: %s\r\n", r)
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n", l.from, l.to, l.callID, seq, method)
	l.p.finish(&b, sdp)
}

// transact sends a request and waits for its final response.
func (l *line) transact(method, sdp string) (*sip.Response, error) {
	l.p.mu.Lock()
	l.out++
	seq := l.out
	l.send(method, seq, sdp)
	l.p.mu.Unlock()
	limit := time.After(10 * time.Second)
	for {
		select {
		case res := <-l.final:
			if res.CSeq().SeqNo == seq && string(res.CSeq().MethodName) == method {
				return res, nil
			}
		case <-limit:
			return nil, fmt.Errorf("%s: no response to %s", l.callID, method)
		}
	}
}

// call makes a call and returns its line.
func (p *phone) call(to string) (*line, error) {
	p.mu.Lock()
	l := p.newLine(sip.GenerateTagN(16), sip.GenerateTagN(8))
	if l == nil {
		p.mu.Unlock()
		return nil, fmt.Errorf("no line: %v", p.faults)
	}
	l.target = to
	l.from, l.to = fmt.Sprintf("<sip:phone@%s>;tag=%s", p.conn.LocalAddr(), l.tag), "<"+to+">"
	sdp := l.describe()
	p.mu.Unlock()
	res, err := l.transact("INVITE", sdp)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %d %s", l.callID, res.StatusCode, res.Reason)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l.to, l.target = res.To().Value(), res.Contact().Address.String()
	for _, h := range res.GetHeaders("Record-Route") {
		l.routes = append([]string{h.Value()}, l.routes...)
	}
	l.hears(string(res.Body()))
	l.send("ACK", l.out, "")
	return l, nil
}

// refresh sends a re-INVITE of the line's own.
func (l *line) refresh() error {
	for range 40 {
		l.p.mu.Lock()
		sdp := l.describe()
		l.p.mu.Unlock()
		res, err := l.transact("INVITE", sdp)
		if err != nil {
			return err
		}
		if res.StatusCode == 491 {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if res.StatusCode != 200 {
			return fmt.Errorf("%s: re-INVITE: %d %s", l.callID, res.StatusCode, res.Reason)
		}
		l.p.mu.Lock()
		defer l.p.mu.Unlock()
		l.hears(string(res.Body()))
		l.send("ACK", l.out, "")
		return nil
	}
	return fmt.Errorf("%s: re-INVITE: 491 for ever", l.callID)
}

func (l *line) bye() error {
	res, err := l.transact("BYE", "")
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("%s: BYE: %d %s", l.callID, res.StatusCode, res.Reason)
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.close()
	return err
}

// live are the lines that are not over.
func (p *phone) live() []*line {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*line
	for _, l := range p.lines {
		if !l.ended {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *line) int { return strings.Compare(a.callID, b.callID) })
	return out
}

// silent are the lines that have heard nothing since then, or nothing lately.
func (p *phone) silent(since time.Time) []string {
	var out []string
	for _, l := range p.live() {
		if last := time.Unix(0, l.last.Load()); last.Before(since) || time.Since(last) > 10*packetEvery {
			out = append(out, l.callID)
		}
	}
	return out
}
