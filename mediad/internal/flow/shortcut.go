package flow

import (
	"net/netip"
	"time"
)

// Shortcut is what a stream does with the media of one source, as far as an engine can do it without Handle: send it on from another port
// as it is. It never changes. What it does not describe, RTCP for example, must go through Handle.
type Shortcut struct {
	// Local is where the packets arrive, Source the only address whose packets may go; unset for any.
	Local, Source netip.AddrPort
	// Via is the stream whose port sends, From that port, and To where.
	Via      *Stream
	From, To netip.AddrPort
	// TOS is the DSCP/ECN byte of what is sent, −1 for the one that the engine gives all ports.
	TOS int
	// Drop says that packets count and go nowhere; Via, From, To and TOS are unset then.
	Drop bool
	// Opaque says that the media is not RTP: every packet from Source may go. What follows is unset then.
	Opaque bool
	// SSRC is the RTP source that may go, and Types a bitmap of its payload types that may, the lowest first.
	SSRC  uint32
	Types [payloadTypes / 64]uint64
	// Clock is the clock rate of its timestamps in Hz, 0 if it is not known.
	Clock uint32
	// LastSequence and LastTimestamp are those of SourceStatistics.
	LastSequence, LastTimestamp uint32
}

// Why a stream has no Shortcut, in words for the operator.
const (
	whyClosed      = "closed"
	whyControl     = "RTCP"
	whyICE         = "ICE"
	whyEncrypted   = "SRTP"
	whyReport      = "RTCP of our own"
	whyOutputs     = "several receivers"
	whyFilter      = "media is filtered"
	whyWait        = "receiver has not sent yet"
	whyDestination = "destination is not known"
	whyLearning    = "address is being learned"
	whySource      = "source is not known"
	whySilent      = "no media yet"
	whyFamilies    = "IPv4 on one side, IPv6 on the other"
	whyZone        = "link-local address"
)

// Shortcut is the one that the stream has now; ok is false if there is none, and reason says why. A Watcher learns when it is outdated.
func (s *Stream) Shortcut() (c Shortcut, reason string, ok bool) {
	r := s.route.Load()
	if reason = s.hindrance(r); reason != "" {
		return c, reason, false
	}
	c = Shortcut{Local: s.LocalAddr(), Opaque: r.Opaque, Drop: r.Drop || len(r.Media) == 0}
	if c.Source, reason = s.acceptedSource(r); reason != "" {
		return c, reason, false
	}
	if !c.Drop {
		if reason = c.send(&r.Media[0]); reason != "" {
			return c, reason, false
		}
	}
	if !c.Opaque {
		if reason = c.media(r, s.counters.sources.talking()); reason != "" {
			return c, reason, false
		}
	}
	return c, "", true
}

// hindrance is what of a route needs Handle; empty for nothing.
func (s *Stream) hindrance(r *Route) string {
	switch {
	case s.closed.Load():
		return whyClosed
	case r.Control:
		return whyControl
	case r.Encrypted:
		return whyEncrypted
	case r.ICE != nil:
		return whyICE
	case r.Report != nil:
		return whyReport
	case r.Drop || len(r.Media) == 0:
		return ""
	case len(r.Media) > 1:
		return whyOutputs
	}
	switch o := &r.Media[0]; {
	case o.Encrypted:
		return whyEncrypted
	case o.Report != nil:
		return whyReport
	case o.Filter != nil && (o.Filter.DropMedia || o.Filter.Silence || o.Filter.Player != nil):
		return whyFilter
	case o.Wait != nil && o.Wait.counters.packetsIn.Load() == 0:
		return whyWait
	}
	return ""
}

// acceptedSource is whose packets the stream takes, without learning more from them; unset for anybody's.
func (s *Stream) acceptedSource(r *Route) (src netip.AddrPort, reason string) {
	s.mu.Lock()
	learned := s.endpoints.learned
	s.mu.Unlock()
	switch {
	case r.Asymmetric && (!r.Strict || r.Handover):
		return netip.AddrPort{}, ""
	case r.Asymmetric:
		src = r.Endpoint
	case r.Learning == Off && r.Handover && learned.IsValid():
		src = learned
	case r.Learning == Off:
		src = r.Endpoint
	case s.latched.Load() != uint64(s.reopened.Load())+1:
		return src, whyLearning
	default:
		src = learned
	}
	if !src.IsValid() || src.Port() == 0 {
		return src, whySource
	}
	if src.Addr().Zone() != "" {
		return src, whyZone
	}
	return src, ""
}

// send fills in where packets go.
func (c *Shortcut) send(o *Output) (reason string) {
	c.Via = o.Stream.Outlet()
	c.From, c.To, c.TOS = c.Via.LocalAddr(), c.Via.Destination(), int(c.Via.tos.Load())
	switch {
	case c.Via.closed.Load():
		return whyClosed
	case !c.To.IsValid() || c.To.Port() == 0:
		return whyDestination
	case c.To.Addr().Is4() != c.Local.Addr().Is4():
		return whyFamilies
	case c.To.Addr().Zone() != "" || c.From.Addr().Zone() != "":
		return whyZone
	}
	return ""
}

// media fills in which packets may go: those of the source that talks, but for the payload types of which somebody is to be told, or that
// the receiver gets changed.
func (c *Shortcut) media(r *Route, from *source) (reason string) {
	if from == nil {
		return whySilent
	}
	c.SSRC = from.ssrc.Load()
	position := from.position.Load()
	c.LastSequence, c.LastTimestamp = uint32(position>>32), uint32(position)
	if r.Payloads != nil {
		c.Clock = r.Payloads.Clock[from.payloadType.Load()]
	}
	for pt := range payloadTypes {
		if c.mayGo(r, from, pt) {
			c.Types[pt/64] |= 1 << (pt % 64)
		}
	}
	return ""
}

func (c *Shortcut) mayGo(r *Route, from *source, pt int) bool {
	if p := r.Payloads; p != nil {
		if p.Events[pt] && r.Observer != nil {
			return false
		}
		if p.Clock[pt] != 0 && r.Quality != nil && p.Clock[pt] != from.timing.told.Load() {
			return false
		}
	}
	if c.Drop {
		return true
	}
	f := r.Media[0].Filter
	return f == nil || !f.Events[pt] || f.Block == EventsPass
}

// Watcher is told what becomes of a stream's Shortcut. Its methods are called from any goroutine, the stream's worker among them, and must
// be quick.
type Watcher interface {
	// Changed tells that a Shortcut of the stream, and those of streams that send through it, may not be used any more. It returns
	// when they are not. Another one may be there.
	Changed(*Stream)
	// Ripened tells that the stream, or those that send through it, may have a Shortcut now, or another one; the one in use is not
	// wrong.
	Ripened(*Stream)
}

// Watch sets the watcher; nil for none.
func (s *Stream) Watch(w Watcher) {
	if w == nil {
		s.watcher.Store(nil)
		return
	}
	s.watcher.Store(&w)
}

func (s *Stream) changed() {
	if w := s.watcher.Load(); w != nil {
		(*w).Changed(s)
	}
}

func (s *Stream) ripened() {
	if w := s.watcher.Load(); w != nil {
		(*w).Ripened(s)
	}
}

// Sends are the streams that the Shortcut of s depends on, beside s.
func (s *Stream) Sends() (list []*Stream) {
	r := s.route.Load()
	if r.Control || len(r.Media) != 1 {
		return nil
	}
	o := &r.Media[0]
	list = append(list, o.Stream)
	if via := o.Stream.Outlet(); via != o.Stream {
		list = append(list, via)
	}
	if o.Wait != nil && o.Wait != o.Stream {
		list = append(list, o.Wait)
	}
	return list
}

// SetTOS changes the DSCP/ECN byte of the packets that leave the port from now on.
func (s *Stream) SetTOS(tos uint8) error {
	if err := s.port.SetTOS(tos); err != nil {
		return err
	}
	s.tos.Store(int32(tos))
	s.changed()
	return nil
}

// wall is the Unix time in nanoseconds, 0 for no time.
func wall(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
