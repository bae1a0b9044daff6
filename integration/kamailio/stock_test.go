//go:build integration

package kamailio

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// stock is the file of Debian's package, as it was installed.
const stock = "/etc/kamailio/kamailio.cfg"

// answers sends an OPTIONS to Kamailio: any answer will do.
func (s *site) answers(p *harness.Process) error {
	conn, err := net.Dial("udp", proxySIP)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	id := time.Now().UnixNano()
	fmt.Fprintf(conn, "OPTIONS sip:x@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\n"+
		"To: <sip:x@y>\r\nCall-ID: ready-%d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", proxySIP, conn.LocalAddr(), id, id)
	buffer := make([]byte, 2000)
	if n, err := conn.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), "SIP/2.0") {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return nil
}

func TestStockConfiguration(t *testing.T) {
	s := newSite(t)
	if _, err := os.Stat(stock); err != nil {
		t.Fatalf("%v: integration/install.sh installs Kamailio", err)
	}
	// Nothing but what the stock file asks for: mediad where rtpengine was.
	media := s.media(t, "mediad", 2223, "--delete-delay=0")
	kamailio := s.kamailio(t, stock, "WITH_NAT", "WITH_RTPENGINE")
	alice := s.phone(t, "alice", callerHost, map[string]string{"alice": "tone"})
	bob := s.phone(t, "bob", calleeHost, map[string]string{"bob": "tone,ring=100ms", "busy": "silence,busy", "quiet": "silence,no-answer"})

	t.Run("calls, hold and resume", func(t *testing.T) {
		for _, call := range []struct {
			caller, callee *harness.Phone
			from, to       string
		}{{alice, bob, "alice", "bob"}, {bob, alice, "bob", "alice"}} {
			reset(t, alice, bob)
			must(t, call.caller.CallFrom(call.from, call.to))
			must(t, call.caller.Until(5*time.Second, "established"))
			talks(t, alice, bob)
			relayedBy(t, media, alice, bob)
			for _, holder := range []*harness.Phone{call.caller, call.callee} {
				must(t, holder.Hold("sendonly"))
				must(t, holder.Resume())
				talks(t, alice, bob)
			}
			must(t, call.callee.Hangup())
			must(t, call.caller.Until(5*time.Second, "ended"))
			media.idle(t, 3*time.Second)
		}
	})
	t.Run("refused and given up", func(t *testing.T) {
		reset(t, alice, bob)
		must(t, alice.CallFrom("alice", "busy"))
		must(t, alice.Until(5*time.Second, "ended"))
		media.idle(t, 3*time.Second)
		reset(t, alice, bob)
		must(t, alice.CallFrom("alice", "quiet"))
		must(t, alice.Until(5*time.Second, "ringing"))
		must(t, alice.Hangup())
		must(t, bob.Until(5*time.Second, "ended"))
		media.idle(t, 3*time.Second)
	})
	t.Run("twenty calls with media", func(t *testing.T) {
		must(t, register("sipp", calleeHost+":5062"))
		s.sipp(t, 20, 20)
		media.idle(t, 3*time.Second)
		if packets := media.total(t, "relayedpackets"); packets < 20*2*40 {
			t.Errorf("%d packets relayed", packets)
		}
	})
	t.Run("no errors in the log", func(t *testing.T) {
		log, err := os.ReadFile(kamailio.Log)
		must(t, err)
		for line := range strings.Lines(string(log)) {
			if strings.Contains(line, "rtpengine") && strings.Contains(line, "ERROR") {
				t.Error(line)
			}
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func reset(t *testing.T, phones ...*harness.Phone) {
	t.Helper()
	for _, p := range phones {
		must(t, p.Reset())
	}
}

// relayedBy fails unless both phones send their media to the node.
func relayedBy(t *testing.T, n *node, phones ...*harness.Phone) {
	t.Helper()
	for _, p := range phones {
		messages, err := p.Messages()
		must(t, err)
		last := ""
		for _, m := range messages {
			if !m.Sent && strings.Contains(m.Text, "m=audio") {
				last = m.Text
			}
		}
		if !strings.Contains(last, "c=IN IP4 "+proxyHost) {
			t.Errorf("%s was told to send elsewhere than to %s:\n%s", p.Name, n.Name, last)
		}
	}
}

// register tells Kamailio that user is at address, from that address.
func register(user, address string) error {
	local, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return err
	}
	remote, err := net.ResolveUDPAddr("udp", proxySIP)
	if err != nil {
		return err
	}
	conn, err := net.DialUDP("udp", local, remote)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(conn, "REGISTER sip:%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[3]s;branch=z9hG4bKregister\r\nMax-Forwards: 70\r\nFrom: <sip:%[2]s@%[1]s>;tag=1\r\n"+
		"To: <sip:%[2]s@%[1]s>\r\nCall-ID: register\r\nCSeq: 1 REGISTER\r\nContact: <sip:%[2]s@%[3]s>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n",
		harness.Domain, user, address)
	buffer := make([]byte, 2000)
	n, err := conn.Read(buffer)
	if err == nil && !strings.HasPrefix(string(buffer[:n]), "SIP/2.0 200") {
		err = fmt.Errorf("REGISTER: %.200s", buffer[:n])
	}
	return err
}

// sipp makes calls of a second with SIPp's media to a callee that echoes it. It fails the
// test if one call fails.
func (s *site) sipp(t *testing.T, calls, perSecond int) {
	t.Helper()
	scenarios, err := filepath.Abs("../load/scenarios")
	must(t, err)
	tone := make([]byte, 8000*10)
	must(t, os.WriteFile(filepath.Join(s.dir, "tone.pcma"), tone, 0o600))
	callee := s.run(t, "callees", "sipp", "-sf", filepath.Join(scenarios, "uas.xml"), "-i", calleeHost, "-p", "5062", "-mi", calleeHost, "-mp", "20000",
		"-rtp_echo", "-nostdin", "-trace_err", "-error_file", filepath.Join(s.dir, "callees-errors.log"))
	must(t, callee.Ready(func() error {
		ports, err := harness.UDPPorts(callee.PID(), 5062, 5062)
		if err == nil && len(ports) == 0 {
			err = errSilent
		}
		return err
	}))
	caller := s.run(t, "callers", "sipp", "-sf", filepath.Join(scenarios, "uac.xml"), "-i", callerHost, "-p", "5062", "-mi", callerHost, "-mp", "20000",
		"-s", "sipp", "-d", "1000", "-r", fmt.Sprint(perSecond), "-m", fmt.Sprint(calls), "-nostdin", "-timeout", "60s", "-timeout_error",
		"-trace_err", "-error_file", filepath.Join(s.dir, "callers-errors.log"), proxySIP)
	if err := caller.Wait(90 * time.Second); err != nil {
		text, _ := os.ReadFile(filepath.Join(s.dir, "callers-errors.log"))
		t.Errorf("sipp: %v\n%.2000s", err, text)
	}
	_ = callee.Stop()
}
