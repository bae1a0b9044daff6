package app

import (
	"errors"
	"net/netip"
	"time"

	"github.com/tandem-sbc/tandem/mediad/internal/call"
	"github.com/tandem-sbc/tandem/mediad/internal/quality"
	"github.com/tandem-sbc/tandem/mediad/internal/report"
	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	"github.com/tandem-sbc/tandem/mediad/internal/teardown"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/ng-protocol/ngserver"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
	"go.uber.org/zap"
)

// exports is what the outside is told of calls, and the connections to syslog
// that it needs.
type exports struct {
	*report.Reporter
	teardown *teardown.Caller // nil without b2b-url
	closers  []func() error
}

// newExports starts the reporter. notify hands telephone events to ng clients.
func newExports(s *settings.Settings, notify func(ng.Dict), log *zap.Logger) (*exports, error) {
	r := &exports{}
	cfg := report.Config{
		Events: s.Export.DTMF,
		Homer: report.Homer{
			Address: s.Export.Homer, TCP: s.Export.HomerProtocol == "tcp", CaptureID: uint32(s.Export.HomerID),
			NoRTCP: s.Export.HomerNoRTCP, NG: s.Export.HomerNG, NGProtocol: uint8(s.Export.HomerNGProtocol),
		},
		CDR:   r.lines(&s.Log, s.Log.CDRFacility, log.Named("cdr")),
		Event: r.lines(&s.Log, s.Log.DTMFFacility, log.Named("dtmf")),
		RTCP:  r.lines(&s.Log, s.Log.RTCPFacility, log.Named("rtcp")),
		Log:   log.Named("report"),
	}
	if s.Export.DTMFOverNGTCP {
		cfg.Notify = notify
	}
	var err error
	if r.Reporter, err = report.New(cfg); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if s.Export.B2BURL != "" {
		r.teardown, err = teardown.New(teardown.Config{
			URL: s.Export.B2BURL, Format: teardown.Format(s.Export.XMLRPCFormat), Log: log.Named("teardown"),
		})
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// lines returns what writes lines to a facility of syslog, nil without one.
// Where there is no syslog daemon they go to the log.
func (r *exports) lines(l *settings.Log, facility string, log *zap.Logger) func(string) {
	if facility == "" {
		return nil
	}
	to, closeLog, err := telemetry.NewSyslogLogger(telemetry.SyslogConfig{
		Level: zap.NewAtomicLevel(), Facility: facility, Name: l.Name, MaxLine: l.MaxLine,
	})
	if err != nil {
		return func(line string) { log.Info(line) }
	}
	r.closers = append(r.closers, closeLog)
	return func(line string) { to.Info(line) }
}

// close tells what is still to be told and closes everything.
func (r *exports) close() error {
	r.teardown.Close()
	err := r.Reporter.Close()
	for _, c := range r.closers {
		err = errors.Join(err, c())
	}
	return err
}

// model is what the option mos names. The names of later versions stand for the
// kind of score that they compute.
// reporting is what ssrc-reporting asks for.
func reporting(name string) call.SSRCReporting {
	return call.SSRCReporting{Table: name == "full" || name == "global", Lists: name == "full" || name == "inline"}
}

func model(name string) quality.Model {
	if name == "LQ" {
		return quality.LQ
	}
	return quality.CQ
}

// capture shows ng messages to Homer, but for pings.
func (a *App) capture(c ngserver.Captured) {
	if c.Command == ng.CommandPing {
		return
	}
	own := netip.AddrPortFrom(unspecified(c.Client.Addr()), 0) // for clients of other transports
	for _, addr := range a.NG() {
		if addr.Addr().Is4() == c.Client.Addr().Is4() {
			own = addr
			break
		}
	}
	if src, dst := c.Client, own; c.Reply {
		a.exports.Message(c.CallID, c.Message, dst, src, time.Now())
	} else {
		a.exports.Message(c.CallID, c.Message, src, dst, time.Now())
	}
}

// unspecified is the address that stands for any of the family of another one.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
