//go:build integration

package integration

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tandem-sbc/tandem/integration/harness"
)

// body is what follows the header of a SIP message.
func body(message string) string {
	_, body, _ := strings.Cut(message, "\r\n\r\n")
	return body
}

// method is a request's method, or the method in a response's CSeq.
func method(message string) string {
	fields := strings.Fields(header(message, "CSeq"))
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// header is the value of the first header field called name, in its long form.
func header(message, name string) string {
	head, _, _ := strings.Cut(message, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n") {
		if got, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(got), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ofFirstCall leaves the messages of the call whose INVITE comes first: what an
// earlier call's peers retransmit late is not of interest.
func ofFirstCall(messages []harness.Message) []harness.Message {
	var call string
	for _, m := range messages {
		if strings.HasPrefix(m.Text, "INVITE ") && !strings.Contains(header(m.Text, "To"), ";tag=") {
			call = header(m.Text, "Call-ID")
			break
		}
	}
	var kept []harness.Message
	for _, m := range messages {
		if call != "" && header(m.Text, "Call-ID") == call {
			kept = append(kept, m)
		}
	}
	return kept
}

// status is a response's code as text; empty for a request.
func status(message string) string {
	if rest, ok := strings.CutPrefix(message, "SIP/2.0 "); ok && len(rest) > 3 {
		return rest[:3]
	}
	return ""
}

// received are the SDP bodies that came to this side, in order.
func received(messages []harness.Message) []string { return bodies(messages, false) }

// sent are the SDP bodies that this side sent, in order.
func sent(messages []harness.Message) []string { return bodies(messages, true) }

func bodies(messages []harness.Message, sent bool) []string {
	var found []string
	for _, m := range ofFirstCall(messages) {
		if sdp := body(m.Text); m.Sent == sent && strings.HasPrefix(sdp, "v=0") {
			found = append(found, sdp)
		}
	}
	return found
}

// attribute is the value of the first a=name:value line; ok also for a flag.
func attribute(sdp, name string) (value string, ok bool) {
	for _, line := range strings.Split(sdp, "\n") {
		rest, found := strings.CutPrefix(strings.TrimRight(line, "\r"), "a="+name)
		if found && (rest == "" || rest[0] == ':') {
			return strings.TrimPrefix(rest, ":"), true
		}
	}
	return "", false
}

// profile is the transport of the audio line.
func profile(sdp string) string {
	for _, line := range strings.Split(sdp, "\n") {
		if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "m=audio" {
			return fields[2]
		}
	}
	return ""
}

// direction is the audio's direction attribute; sendrecv when there is none.
func direction(sdp string) string {
	for _, name := range []string{"sendonly", "recvonly", "inactive"} {
		if _, ok := attribute(sdp, name); ok {
			return name
		}
	}
	return "sendrecv"
}

// browserSDP checks a body that was sent to a browser.
func browserSDP(sdp string) error {
	var faults []error
	if p := profile(sdp); p != "UDP/TLS/RTP/SAVPF" {
		faults = append(faults, fmt.Errorf("profile towards the browser is %q", p))
	}
	for _, name := range []string{"candidate", "ice-ufrag", "ice-pwd", "fingerprint", "setup", "rtcp-mux"} {
		if _, ok := attribute(sdp, name); !ok {
			faults = append(faults, fmt.Errorf("no a=%s towards the browser", name))
		}
	}
	if _, ok := attribute(sdp, "crypto"); ok {
		faults = append(faults, errors.New("a=crypto towards the browser"))
	}
	return withSDP(faults, sdp)
}

// phoneSDP checks a body that was sent to a plain phone.
func phoneSDP(sdp string) error {
	var faults []error
	if p := profile(sdp); p != "RTP/AVP" {
		faults = append(faults, fmt.Errorf("profile towards the phone is %q", p))
	}
	for _, name := range []string{"candidate", "ice-ufrag", "ice-pwd", "fingerprint", "setup", "rtcp-mux", "crypto", "group"} {
		if _, ok := attribute(sdp, name); ok {
			faults = append(faults, fmt.Errorf("a=%s towards the phone", name))
		}
	}
	return withSDP(faults, sdp)
}

func withSDP(faults []error, sdp string) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w\n%s", errors.Join(faults...), sdp)
}
