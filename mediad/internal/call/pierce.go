package call

import "time"

// pierceTime is how long after signalling empty packets are sent to a party that
// is not heard: by then it is not going to be.
const pierceTime = 30 * time.Second

// pierce sends empty packets to the parties that want them (ng flag pierce-NAT)
// and have not been heard yet: a NAT on our side lets theirs in then.
func (c *Call) pierce(now time.Time) {
	if now.Sub(c.lastSignal) > pierceTime {
		return
	}
	for _, p := range c.parties {
		for _, m := range p.present.medias {
			if m.pair == nil || !m.side.Local.Source.PierceNAT {
				continue
			}
			for _, s := range m.streams {
				if s.Totals().PacketsIn == 0 {
					_ = s.Send(nil, s.Destination()) // whether it gets through shows by what comes back
				}
			}
		}
	}
}
