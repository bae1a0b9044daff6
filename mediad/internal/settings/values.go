package settings

import (
	"errors"
	"fmt"
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

func toSeconds(field func(*Settings) *time.Duration) assign {
	return func(s *Settings, text string) error {
		n, err := parseInt(text, 0, maxSeconds)
		*field(s) = time.Duration(n) * time.Second
		return err
	}
}

// checkInt is for numbers that are read and not used.
func checkInt(_ *Settings, text string) error {
	_, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("%q is not a whole number", text)
	}
	return nil
}

func checkFloat(_ *Settings, text string) error {
	if _, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
		return fmt.Errorf("%q is not a number", text)
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

func parseInt(text string, least, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is not within %d–%d", n, least, most)
	}
	return n, nil
}

func setLogLevel(s *Settings, text string) (err error) {
	s.Log.Level, err = telemetry.ParseLevel(text)
	return err
}

func setLogFacility(s *Settings, text string) error {
	s.Log.Facility = text
	_, err := telemetry.ParseFacility(text)
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
	return nil
}
