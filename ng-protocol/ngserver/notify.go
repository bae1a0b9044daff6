package ngserver

import (
	"crypto/rand"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// cookieLength is that of the cookies of notifications.
const cookieLength = 16

// Notify sends a message that nobody has asked for to all clients that are
// connected over TCP, each with a cookie of its own. Who is slow to read misses
// it and is cut off, as with replies. The error says that d cannot be encoded.
func (s *Server) Notify(d ng.Dict) error {
	body, err := d.MarshalBencode()
	if err != nil {
		return err
	}
	message := append([]byte(rand.Text()[:cookieLength]+" "), body...)
	for _, l := range s.streams {
		for _, st := range l.connected() {
			_ = st.deliver(message)
		}
	}
	return nil
}

// connected returns the connections that are open.
func (l *streamListener) connected() []*stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*stream, 0, len(l.open))
	for st := range l.open {
		all = append(all, st)
	}
	return all
}
