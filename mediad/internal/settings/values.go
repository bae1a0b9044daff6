package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
	"github.com/tandem-sbc/tandem/pkg/telemetry"
)

// maxSeconds bounds durations so that they cannot overflow.
const maxSeconds = 1 << 31

// An assign stores the text of a value in s.
type assign func(s *Settings, text string) error

func toString(field func(*Settings) *string) assign {
	return func(s *Settings, text string) error {
		*field(s) = text
		return nil
	}
}

func toBool(field func(*Settings) *bool) assign {
	return func(s *Settings, text string) (err error) {
		*field(s), err = parseBool(text)
		return err
	}
}

func toInt(least, most int, field func(*Settings) *int) assign {
	return func(s *Settings, text string) (err error) {
		*field(s), err = parseInt(text, least, most)
		return err
	}
}

// toSecondsOr stores seconds. What is not positive stands for fallback, as in
// rtpengine.
func toSecondsOr(fallback time.Duration, field func(*Settings) *time.Duration) assign {
	return func(s *Settings, text string) error {
		n, err := parseInt(text, -maxSeconds, maxSeconds)
		if *field(s) = time.Duration(n) * time.Second; n <= 0 {
			*field(s) = fallback
		}
		return err
	}
}

func toFloat(field func(*Settings) *float64) assign {
	return func(s *Settings, text string) (err error) {
		*field(s), err = parseFloat(text)
		return err
	}
}

// toLevel hands over a log level as number of syslog.
func toLevel(put func(*Settings, int)) assign {
	return func(s *Settings, text string) error {
		n, err := telemetry.ParseSeverity(text)
		put(s, n)
		return err
	}
}

func toFacility(field func(*Settings) *string) assign {
	return func(s *Settings, text string) error {
		*field(s) = strings.ToLower(strings.TrimSpace(text))
		_, err := telemetry.ParseFacility(*field(s))
		return err
	}
}

// toChoice stores one of several words, in the spelling that is given here.
func toChoice(field func(*Settings) *string, words ...string) assign {
	return func(s *Settings, text string) (err error) {
		*field(s), err = parseChoice(text, words)
		return err
	}
}

// toEndpoint stores host:port.
func toEndpoint(field func(*Settings) *netip.AddrPort) assign {
	return func(s *Settings, text string) (err error) {
		*field(s), err = parseEndpoint(text)
		return err
	}
}

func checkChoice(words ...string) assign {
	return func(_ *Settings, text string) error {
		_, err := parseChoice(text, words)
		return err
	}
}

// checkInt is for numbers that are read and not used.
func checkInt(_ *Settings, text string) error {
	_, err := parseInt(text, -1<<63, 1<<63-1)
	return err
}

func checkFloat(_ *Settings, text string) error {
	_, err := parseFloat(text)
	return err
}

// checkNumbers is for whole numbers separated by blanks.
func checkNumbers(s *Settings, text string) error {
	for word := range strings.FieldsSeq(text) {
		if err := checkInt(s, word); err != nil {
			return err
		}
	}
	return nil
}

func checkBool(_ *Settings, text string) error {
	_, err := parseBool(text)
	return err
}

func checkNothing(*Settings, string) error { return nil }

func parseBool(text string) (bool, error) {
	switch strings.TrimSpace(text) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not true or false", text)
}

// parseInt reads a whole number: decimal, hexadecimal after 0x, octal after 0.
func parseInt(text string, least, most int) (int, error) {
	text = strings.TrimSpace(text)
	n, err := strconv.ParseInt(text, 0, 64)
	if err != nil || strings.Contains(text, "_") {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	if int(n) < least || int(n) > most {
		return 0, fmt.Errorf("%d is not within %d to %d", n, least, most)
	}
	return int(n), nil
}

func parseFloat(text string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return n, nil
}

func parseChoice(text string, words []string) (string, error) {
	text = strings.TrimSpace(text)
	for _, w := range words {
		if strings.EqualFold(w, text) {
			return w, nil
		}
	}
	return "", fmt.Errorf("%q is not one of %s", text, strings.Join(words, ", "))
}

func toLogFormat(s *Settings, text string) error {
	word, err := parseChoice(text, []string{"default", "parsable"})
	s.Log.JSON = word == "parsable"
	return err
}

// setMaxSessions takes any negative number for no limit.
func setMaxSessions(s *Settings, text string) error {
	n, err := parseInt(text, -1<<31, 1<<31-1)
	s.Limits.MaxSessions = max(n, -1)
	return err
}

func setMaxBandwidth(s *Settings, text string) error {
	n, err := parseInt(text, -1<<63, 1<<63-1)
	s.Limits.MaxBandwidth = uint64(max(n, 0))
	return err
}

func setRTCPInterval(s *Settings, text string) error {
	n, err := parseInt(text, 1, 1<<31-1)
	s.Media.RTCPInterval = time.Duration(n) * time.Millisecond
	return err
}

func setEndpointLearning(s *Settings, text string) error {
	modes := map[string]ng.EndpointLearning{
		"off": ng.LearningOff, "immediate": ng.LearningImmediate,
		"delayed": ng.LearningDelayed, "heuristic": ng.LearningHeuristic,
	}
	mode, ok := modes[strings.ToLower(strings.TrimSpace(text))]
	if !ok {
		return fmt.Errorf("%q is not one of off, immediate, delayed, heuristic", text)
	}
	s.Media.EndpointLearning = mode
	return nil
}

// validate checks what one option alone cannot.
func (s *Settings) validate() error {
	switch n, c := &s.Network, &s.Control; {
	case len(c.NG)+len(c.NGTCP)+len(c.HTTP)+len(c.HTTPS)+len(c.Legacy) == 0:
		return errors.New("listen-ng, listen-tcp-ng: no address to receive commands on")
	case len(c.HTTPS) > 0 && c.HTTPSCert == "":
		return errors.New("listen-https: needs a certificate, see https-cert and https-key")
	case len(n.Interfaces) == 0:
		return errors.New("interface: no address for media")
	case n.AutoPortRange == 0 && n.PortMin > n.PortMax:
		return fmt.Errorf("port-min: %d is above port-max %d", n.PortMin, n.PortMax)
	}
	for _, i := range s.Network.Interfaces {
		if low, high := s.Network.Ports(i); low > high {
			return fmt.Errorf("interface %s: port-min %d is above port-max %d", i.Name, low, high)
		}
	}
	return nil
}

// Ports returns the range of ports of an interface: its own, else that of all.
func (n *Network) Ports(i Interface) (low, high int) {
	low, high = n.PortMin, n.PortMax
	if i.PortMin > 0 {
		low = i.PortMin
	}
	if i.PortMax > 0 {
		high = i.PortMax
	}
	return low, high
}
