package call

import ng "github.com/tandem-sbc/tandem/ng-protocol"

// mirror takes over what an offer or answer says of media that is not to go to
// the other side: "media echo" and "drop-traffic". Without such a key all stays
// as it is.
func (c *Call) mirror(d dialogue, req *ng.Request) {
	if req.DropTraffic != ng.SwitchAbsent {
		c.dropped = req.DropTraffic == ng.SwitchOn
	}
	if req.MediaEcho == ng.EchoAbsent {
		return
	}
	d.from.sunk, d.to.sunk = true, true
	d.from.echo = req.MediaEcho == ng.EchoBackwards || req.MediaEcho == ng.EchoBoth
	d.to.echo = req.MediaEcho == ng.EchoForward || req.MediaEcho == ng.EchoBoth
}
